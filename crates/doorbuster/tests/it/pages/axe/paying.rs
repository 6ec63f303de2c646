//! Tests the accessibility of the checkout and of the order page in every state of the payment.

use serde_json::json;

use super::super::{link, sale};
use super::{Browser, ServerFixture, buy, inspect, tab};

#[tokio::test]
async fn every_state_of_paying_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    for name in ["open", "twice", "refund", "lost"] {
        sale(&fixture, name, json!({})).await;
    }
    sale(&fixture, "brief", json!({"hold_secs": 2})).await;
    let at = async |sale: &str, query: &str| {
        let order = buy(&fixture, "ann", sale, 1).await;
        (link(fixture.address, &format!("/order/{order}{query}"), "ann"), order)
    };
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        let to_payment = async |url: &str| {
            tab.go(url).await;
            tab.has("#pay", "aria-disabled", "false").await;
            tab.click("#pay").await;
            tab.until("document.querySelector('#do')?.checkVisibility()").await;
        };
        let (url, _) = at("open", "").await;
        to_payment(&url).await;
        inspect(&tab, "the payment page").await;
        tab.click("[data-does=fail]").await;
        tab.says("#state", "The payment failed").await;
        inspect(&tab, "a payment that failed").await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "Paid. It’s yours.").await;
        inspect(&tab, "paid").await;
        let (url, _) = at("twice", "?lang=zh").await;
        to_payment(&url).await;
        inspect(&tab, "the payment page in Chinese").await;
        tab.click("[data-does=twice]").await;
        tab.until("document.querySelector('#back').checkVisibility()").await;
        inspect(&tab, "the payment page after paying").await;
        tab.click("#back").await;
        tab.says("#steps", "已退回").await;
        inspect(&tab, "paid twice").await;
        let (url, _) = at("lost", "?lang=en&back=paid").await;
        tab.go(&url).await;
        tab.says("#state", "Checking your payment").await;
        inspect(&tab, "back from paying").await;
        let (url, order) = at("refund", "").await;
        to_payment(&url).await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "Paid. It’s yours.").await;
        let refunded =
            fixture.admin("POST", &format!("/v1/admin/orders/{order}/refund"), None).await;
        assert_eq!(refunded.status, 200, "{refunded}");
        tab.says("#steps", "Refund sent").await;
        inspect(&tab, "refunded").await;
        let (url, _) = at("brief", "").await;
        tab.go(&url).await;
        tab.says("#pill", "Expired").await;
        inspect(&tab, "expired").await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        tab.says("#orders-list", "Pay €49.00").await;
        inspect(&tab, "orders in many states").await;
    })
    .await;
}
