//! Tests the pages behind a cache, as in `docs/front-door.md`. Visitors use the same address for
//! the pages and for the API. A visitor waits for the opening, buys and cancels.

use serde_json::json;

use super::driver::Browser;
use super::{BUY, STATE, draft, in_secs, link, plain, prepared_before_opening, states, streams};
use crate::crash_windows::fixture::ServerFixture;
use crate::export::{Cdn, export};

#[tokio::test]
async fn a_visitor_who_waits_behind_a_cache_buys_at_the_opening_and_cancels_there() {
    let fixture = ServerFixture::start();
    let cdn = Cdn::start(&fixture, &export(&fixture, &[]));
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        let (soon, ()) = prepared_before_opening(10, async |soon, secs| {
            draft(&fixture, &soon, json!({"stock": 1}), json!({ "starts_at": in_secs(secs).1 }))
                .await;
            fixture.step(&soon, "schedule").await;
            export(&fixture, &["--sale", soon.as_str()]);
            tab.go(&link(cdn.address, &format!("/sale/{soon}"), "ann")).await;
            tab.has(BUY, "aria-disabled", "true").await;
            tab.says(BUY, "Opens in 0").await;
            tab.eval("window.same = true").await;
        })
        .await;
        tab.has(BUY, "aria-disabled", "false").await;
        tab.says(BUY, "Buy now · €49.00").await;
        assert_eq!(tab.eval("window.same").await, true, "the page must not be reloaded");
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(states(&fixture, &soon).await, ["reserved"]);
        // The event stream must come through the cache too.
        streams(&fixture, 1).await;

        tab.click("#go").await;
        tab.says("#state", "Reserved for you").await;
        let id = fixture.orders(&soon).await[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(tab.url().await, plain(cdn.address, &format!("/order/{id}")));
        tab.says("#side", "Cancel order").await;
        tab.click("#side").await;
        tab.click("dialog button[value=yes]").await;
        tab.says("#state", "Order cancelled").await;
        assert_eq!(states(&fixture, &soon).await, ["cancelled"]);

        tab.click("#go").await;
        tab.says("#stock", "1 left of 1").await;
        tab.says(BUY, "Buy now").await;
        tab.has(BUY, "aria-disabled", "false").await;
        assert!(tab.url().await.starts_with(&plain(cdn.address, &format!("/sale/{soon}"))));
    })
    .await;
}
