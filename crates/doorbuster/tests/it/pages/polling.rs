//! Tests pages that get no event stream. They poll the server instead.

use serde_json::json;

use super::driver::Browser;
use super::{link, plain, sale, streams};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// Refuses every event stream, like a proxy that does not support WebSockets.
const NO_STREAM: &str = "
    window.refused = 0;
    window.WebSocket = class {
      constructor() { window.refused += 1; setTimeout(() => this.onclose?.(), 0); }
      close() {}
    };";

#[tokio::test]
async fn a_page_without_a_stream_polls_and_shows_the_result_of_its_order() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let (anns, bens) = (
        PurchaseSpec::new("ann", "k", "open", 1).item("lamp"),
        PurchaseSpec::new("ben", "k", "open", 1).item("lamp"),
    );
    let (paid, cancelled) = (fixture.buy(&anns).await.id(), fixture.buy(&bens).await.id());
    Browser::with_browser(async |browser| {
        let (ann, ben, bank) = (browser.tab().await, browser.tab().await, browser.tab().await);
        for (tab, order, buyer) in [(&ann, &paid, "ann"), (&ben, &cancelled, "ben")] {
            tab.add_init_script(NO_STREAM).await;
            tab.go(&link(fixture.address, &format!("/order/{order}"), buyer)).await;
            tab.says("#state", "Reserved for you").await;
            tab.until("window.refused > 1").await;
            tab.eval("window.same = true").await;
        }
        streams(&fixture, 0).await;
        // Changes both orders. The pages of these orders are not used meanwhile.
        let cancel = bens.order("POST", &cancelled, "/cancel");
        assert_eq!(fixture.ask(&cancel).await.status, 200);
        let checkout = fixture.ask(&anns.order("POST", &paid, "/checkout")).await.json();
        let (_, checkout) = checkout["checkout_url"]
            .as_str()
            .expect("an address")
            .split_once("/sandbox/")
            .expect("the page of the order");
        bank.go(&plain(fixture.address, &format!("/sandbox/{checkout}"))).await;
        bank.click("[data-does=pay]").await;
        ann.says("#state", "Paid. It’s yours.").await;
        ben.says("#state", "Order cancelled").await;
        for tab in [&ann, &ben] {
            assert_eq!(tab.eval("window.same").await, true, "the page must not be reloaded");
        }
        assert_eq!(fixture.metric("doorbuster_events_websockets").await, 0);
    })
    .await;
}
