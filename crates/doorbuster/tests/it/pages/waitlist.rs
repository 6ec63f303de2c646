//! Tests the waitlist on the page of a sale: joining, leaving, and the order that a buyer gets from
//! a returned unit.

use std::time::Duration;

use serde_json::json;

use super::driver::Browser;
use super::{BUY, STATE, draft, link, sale, states, streams};
use crate::crash_windows::client::{PurchaseSpec, Reply, request};
use crate::crash_windows::fixture::ServerFixture;

const ACT: &str = "#act";

/// Allows notifications, and stores the title of the newest one in `window.shown`.
const NOTIFICATION: &str = "window.Notification = class {
    static permission = 'granted';
    static requestPermission() { return Promise.resolve('granted'); }
    constructor(words) { window.shown = words; }
  };";

/// Creates a sale of two lamps, and buys both lamps for two buyers, who do not pay. Returns the id
/// of the second order.
async fn held_out(fixture: &ServerFixture, hold_secs: u32) -> String {
    sale(fixture, "last", json!({"stock": 2, "hold_secs": hold_secs})).await;
    let kept = fixture.buy(&PurchaseSpec::new("xia", "k", "last", 1).item("lamp")).await;
    assert_eq!(kept.status, 201, "{kept}");
    let bought = fixture.buy(&PurchaseSpec::new("zoe", "k", "last", 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    bought.id()
}

/// Sends a waitlist request of this buyer, without a browser.
async fn line(fixture: &ServerFixture, method: &str, buyer: &str) -> Reply {
    let lines =
        format!("{}Idempotency-Key: line\r\n", PurchaseSpec::new(buyer, "k", "last", 1).signed);
    fixture.ask(&request(method, "/v1/sales/last/items/lamp/waitlist", &lines, None)).await
}

async fn cancel(fixture: &ServerFixture, buyer: &str, order: &str) {
    let reply = fixture
        .ask(&PurchaseSpec::new(buyer, "k", "last", 1).order("POST", order, "/cancel"))
        .await;
    assert_eq!(reply.status, 200, "{reply}");
}

#[tokio::test]
async fn a_waiting_buyer_is_led_to_the_order_from_the_waitlist() {
    let fixture = ServerFixture::start();
    let first = held_out(&fixture, 900).await;
    let before = line(&fixture, "POST", "yan").await;
    assert_eq!(before.status, 201, "{before}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/last", "ann")).await;
        tab.says("#clock", "None left").await;
        tab.says(BUY, "Join the waitlist").await;
        // Joins with the keyboard alone, and checks the text for screen readers too.
        tab.keys_to(BUY, "\u{e007}").await;
        tab.says(STATE, "1 person ahead of you").await;
        tab.says("#announce", "1 person ahead of you").await;
        tab.says(BUY, "On the waitlist").await;
        tab.has(BUY, "aria-disabled", "true").await;
        tab.says("#clock", "2").await;
        tab.says(ACT, "Leave the waitlist").await;
        tab.until("document.activeElement.id === 'buy'").await;
        tab.reload().await;
        tab.says(STATE, "1 person ahead of you").await;
        assert_eq!(line(&fixture, "GET", "ann").await.json()["ahead"], 1);

        assert_eq!(line(&fixture, "DELETE", "yan").await.status, 204);
        tab.says(STATE, "You are next").await;
        tab.says("#say-text", "reserved for you for 5 minutes").await;
        streams(&fixture, 1).await;
        cancel(&fixture, "zoe", &first).await;
        tab.says(STATE, "One came back for you").await;
        tab.says("#announce", "One came back for you").await;
        tab.says("#clock-label", "Pay within").await;
        tab.says("#clock", "04:").await;
        tab.click("#go").await;
        tab.says("#state", "Reserved for you").await;
        tab.says("#pay", "Pay €49.00").await;
        assert_eq!(states(&fixture, "last").await, ["reserved", "cancelled", "reserved"]);
    })
    .await;
}

#[tokio::test]
async fn a_waitlist_entry_is_left_on_either_page_and_never_by_a_double_press() {
    let fixture = ServerFixture::start();
    held_out(&fixture, 900).await;
    Browser::with_browser(async |browser| {
        let (tab, order) = (browser.tab().await, browser.tab().await);
        tab.go(&link(fixture.address, "/sale/last", "ann")).await;
        tab.says(BUY, "Join the waitlist").await;
        tab.run(
            "const buy = document.querySelector('#buy'), again = new MutationObserver(() => {
               if (buy.dataset.mode === 'busy') { again.disconnect(); buy.click(); arguments[0](); }
             });
             again.observe(buy, { attributes: true });
             buy.click();",
        )
        .await;
        tab.says(STATE, "You are next").await;
        let place = line(&fixture, "GET", "ann").await;
        assert_eq!(place.status, 200, "a double press must not leave: {place}");
        let id = place.id();

        order.go(&link(fixture.address, &format!("/order/{id}"), "ann")).await;
        order.says("#state", "You are on the waitlist").await;
        order.says("#clock-label", "People ahead of you").await;
        order.says("#clock", "0").await;
        order.says("#steps", "Joined the waitlist").await;
        order.click("#side").await;
        order.says("#state", "You left the waitlist").await;
        order.says("#go", "Back to the sale").await;
        assert_eq!(line(&fixture, "GET", "ann").await.status, 404);
        tab.says(BUY, "Join the waitlist").await;

        tab.click(BUY).await;
        tab.says(STATE, "You are next").await;
        tab.until("performance.now() > 0 && new Promise(done => setTimeout(done, 1_100, true))")
            .await;
        tab.click(ACT).await;
        tab.says(BUY, "Join the waitlist").await;
        assert_eq!(line(&fixture, "GET", "ann").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_waitlist_entry_from_another_device_is_found_and_its_order_is_shown_in_chinese() {
    let fixture = ServerFixture::start();
    let first = held_out(&fixture, 900).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        assert_eq!(line(&fixture, "POST", "ann").await.status, 201);
        tab.go(&link(fixture.address, "/sale/last?lang=zh", "ann")).await;
        tab.says(BUY, "加入候补").await;
        tab.click(BUY).await;
        tab.says(STATE, "下一个就是你").await;
        streams(&fixture, 1).await;
        let id = line(&fixture, "GET", "ann").await.id();
        // The buyer has the order page open, but looks at another tab. So the order page must
        // attract the buyer's attention.
        let order = browser.tab().await;
        order.add_init_script(NOTIFICATION).await;
        order.go(&link(fixture.address, &format!("/order/{id}?lang=zh"), "ann")).await;
        order.click("#notify").await;
        order.has("#notify", "aria-pressed", "true").await;
        order.eval("Object.defineProperty(document, 'hidden', { get: () => true }) && true").await;
        streams(&fixture, 2).await;
        cancel(&fixture, "zoe", &first).await;
        tab.says(STATE, "有货了！已为你保留").await;
        tab.has("#go", "href", &format!("/order/{id}")).await;
        order.until("window.shown === '有货了，已为你保留'").await;
        order.until("document.title === '有货了，已为你保留 – 你的订单 – Ora lamp'").await;
        order.until("document.querySelector('link[rel=icon]').href.startsWith('data:')").await;
    })
    .await;
}

#[tokio::test]
async fn the_entry_checks_precede_a_waitlist_entry() {
    let fixture = ServerFixture::start();
    let flaky_proxy = json!({"front_door": {"challenge": "pow"}});
    draft(&fixture, "last", json!({"stock": 1}), json!({})).await;
    fixture.step("last", "open").await;
    let bought = fixture.buy(&PurchaseSpec::new("zoe", "k", "last", 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    let patched = fixture.admin("PATCH", "/v1/admin/sales/last", Some(&flaky_proxy)).await;
    assert_eq!(patched.status, 200, "{patched}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/last", "ann")).await;
        tab.says(BUY, "Join the waitlist").await;
        tab.click(BUY).await;
        tab.until("document.querySelector('#check').open").await;
        tab.click("#work-start").await;
        // The challenge is solved. The page then joins the waitlist without another press.
        tab.says(STATE, "You are next").await;
        tab.until("!document.querySelector('#check').open").await;
        assert_eq!(line(&fixture, "GET", "ann").await.status, 200);
    })
    .await;
}

/// Makes every request for the list of orders fail. So the page does not know the buyer's orders.
const NO_ORDERS: &str = "{ const ask = window.fetch;
    window.fetch = (path, how) => String(path).includes('/v1/orders?')
      ? Promise.reject(new TypeError('lost')) : ask(path, how); }";

#[tokio::test]
async fn a_buyer_at_the_limit_may_join_the_waitlist_after_an_order_has_ended() {
    let fixture = ServerFixture::start();
    sale(&fixture, "last", json!({"stock": 2, "limit_per_buyer": 1})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "last", 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    let other = fixture.buy(&PurchaseSpec::new("ben", "k", "last", 1).item("lamp")).await;
    assert_eq!(other.status, 201, "{other}");
    // `yan` waits for a unit too, and gets the unit that ann returns. So no unit is free, and ann
    // can join the waitlist.
    assert_eq!(line(&fixture, "POST", "yan").await.status, 201);
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(NO_ORDERS).await;
        tab.go(&link(fixture.address, "/sale/last", "ann")).await;
        tab.says(BUY, "Join the waitlist").await;
        tab.click(BUY).await;
        tab.says(STATE, "You’ve reached the limit").await;
        tab.has(BUY, "aria-disabled", "true").await;
        streams(&fixture, 1).await;
        cancel(&fixture, "ann", &bought.id()).await;
        let served = async || (states(&fixture, "last").await.len() == 3).then_some(());
        fixture.until("the next buyer gets the unit", Duration::from_secs(30), served).await;
        tab.has(BUY, "aria-disabled", "false").await;
        tab.says(BUY, "Join the waitlist").await;
        tab.click(BUY).await;
        tab.says(STATE, "You are next").await;
    })
    .await;
}
