//! Tests how the page of a sale shows the limit for each buyer.

use serde_json::json;

use super::driver::Browser;
use super::{BUY, STATE, link, sale};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

#[tokio::test]
async fn a_buyer_at_the_limit_sees_how_much_of_it_is_used() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({"limit_per_buyer": 3})).await;
    for (buyer, units) in [("ann", 2), ("ben", 3)] {
        let bought = fixture.buy(&PurchaseSpec::new(buyer, "k", "open", units).item("lamp")).await;
        assert_eq!(bought.status, 201, "{bought}");
    }
    Browser::with_browser(async |browser| {
        let (ann, ben) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/open", "ann")).await;
        ann.click("#more").await;
        ann.click(BUY).await;
        ann.says(STATE, "You already have 2 of 3").await;
        ann.says("#say-text", "You can still buy 1").await;
        assert_eq!(ann.eval("document.querySelector('#units').value").await, "1");

        ben.go(&link(fixture.address, "/sale/open", "ben")).await;
        ben.click(BUY).await;
        ben.says(STATE, "You’ve reached the limit of 3").await;
        ben.says(BUY, "Limit reached").await;
        ben.click("#see").await;
        ben.says("#orders-list", "3 × Ora lamp").await;

        // A buyer who buys twice on the same page sees that both purchases count for the limit.
        let cleo = browser.tab().await;
        cleo.go(&link(fixture.address, "/sale/open", "cleo")).await;
        cleo.click("#more").await;
        cleo.click(BUY).await;
        cleo.says(STATE, "2 reserved for you").await;
        cleo.click("#act").await;
        cleo.has("#units", "max", "1").await;
        cleo.says(BUY, "Buy now").await;
        cleo.click(BUY).await;
        cleo.says(STATE, "1 reserved for you").await;
        cleo.until("document.querySelector('#act').hidden").await;
    })
    .await;
}
