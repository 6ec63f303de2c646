//! Tests the way from the order to the payment page and back, with paid, unpaid, late and repeated
//! payments.

use serde_json::json;

use super::driver::Browser;
use super::flaky_proxy::{FlakyProxy, Mode};
use super::tab::Tab;
use super::{BUY, STATE, link, plain, sale, states, streams};
use crate::crash_windows::client::{PurchaseSpec, request};
use crate::crash_windows::fixture::ServerFixture;

pub(super) const PAY: &str = "#pay";

/// Payment windows in seconds. The first window is long enough to reach the payment page. The
/// second window is long enough to reach the payment page and to return.
const ONE_WAY_SECS: u32 = 16;
const TWO_WAYS_SECS: u32 = 30;

/// Buys without a browser. Returns the order's id.
pub(super) async fn bought(fixture: &ServerFixture, buyer: &str, key: &str, sale: &str) -> String {
    let bought = fixture.buy(&PurchaseSpec::new(buyer, key, sale, 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    bought.id()
}

pub(super) async fn to_payment(tab: &Tab<'_>) {
    tab.has(PAY, "aria-disabled", "false").await;
    tab.click(PAY).await;
    tab.until("location.pathname.startsWith('/sandbox/checkout/')").await;
    tab.says("#pill", "Waiting for you").await;
}

async fn press(tab: &Tab<'_>, does: &str) {
    tab.click(&format!("[data-does={does}]")).await;
    tab.click("#back").await;
    tab.until("location.pathname.startsWith('/order/')").await;
}

async fn step(tab: &Tab<'_>, words: &str) {
    tab.says("#steps", words).await;
}

#[tokio::test]
async fn a_buyer_goes_from_the_sale_to_paying_and_an_event_shows_the_order_as_paid() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let (tab, other) = (browser.tab().await, browser.tab().await);
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.click(BUY).await;
        tab.says("#go", "Go to payment · €49.00").await;
        tab.click("#go").await;
        tab.says("#state", "Reserved for you").await;
        tab.says(PAY, "Pay €49.00").await;
        tab.says("#sandbox", "you won’t be charged").await;
        let order = tab.eval("location.pathname").await.as_str().expect("a path").to_owned();
        to_payment(&tab).await;
        tab.says("#sum", "€49.00").await;
        // The order is also open in another window of the buyer. An event must update the order in
        // that window.
        other.go(&link(fixture.address, &order, "ann")).await;
        other.says("#state", "Reserved for you").await;
        streams(&fixture, 1).await;
        other.eval("window.same = true").await;
        tab.click("[data-does=pay]").await;
        tab.until("location.pathname.startsWith('/order/')").await;
        tab.says("#state", "Paid. It’s yours.").await;
        step(&tab, "Paid").await;
        assert_eq!(
            tab.url().await,
            plain(fixture.address, &order),
            "the page must remove the result from the address"
        );
        other.says("#state", "Paid. It’s yours.").await;
        assert_eq!(other.eval("window.same").await, true, "the page must not be reloaded");
        other
            .until(
                "document.querySelector('#pay').hidden && document.querySelector('#side').dataset.does === 'print'",
            )
            .await;
        assert_eq!(states(&fixture, "open").await, ["paid"]);
    })
    .await;
}

#[tokio::test]
async fn a_failed_payment_can_be_repeated_and_a_closed_window_loses_nothing() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&tab).await;
        let checkout = tab.url().await;
        tab.click("[data-does=fail]").await;
        tab.says("#state", "The payment failed").await;
        tab.click("#leave").await;
        tab.until("location.pathname.startsWith('/order/')").await;
        tab.says("#state", "Reserved for you").await;
        tab.says("#text", "did not go through").await;
        let other = browser.tab().await;
        other.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&other).await;
        assert_eq!(other.url().await, checkout);
        other.keys_to("[data-does=pay]", "\u{e007}").await;
        other.says("#state", "Paid. It’s yours.").await;
        tab.says("#state", "Paid. It’s yours.").await;
        // A buyer who goes back to the checkout in the browser's history must see that the order is
        // paid.
        other.load(&checkout).await;
        other.says("#state", "Paid").await;
        // The payment is reversed. The order must stay paid until an operator changes it.
        other.click("[data-does=return]").await;
        other.says("#state", "Sent back").await;
        other.click("#back").await;
        other.says("#state", "Paid. It’s yours.").await;
    })
    .await;
}

#[tokio::test]
async fn a_return_address_that_claims_payment_is_not_trusted() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        let come = link(fixture.address, &format!("/order/{order}?back=paid"), "ann");
        tab.go(&come).await;
        tab.says("#state", "Checking your payment").await;
        tab.has(PAY, "aria-disabled", "true").await;
        step(&tab, "Waiting for confirmation").await;
        assert_eq!(tab.url().await, plain(fixture.address, &format!("/order/{order}")));
        tab.reload().await;
        tab.says("#state", "Checking your payment").await;
        assert_eq!(states(&fixture, "open").await, ["reserved"]);
        // The buyer has not paid. The page must still offer the payment page, although the address
        // said `back=paid`.
        tab.says("#side", "Open the payment page").await;
        tab.click("#side").await;
        tab.until("location.pathname.startsWith('/sandbox/checkout/')").await;
        tab.click("#leave").await;
        tab.until("location.pathname.startsWith('/order/')").await;
        tab.says("#state", "Reserved for you").await;
        tab.has(PAY, "aria-disabled", "false").await;
    })
    .await;
}

#[tokio::test]
async fn a_buyer_who_pays_twice_sees_that_the_second_payment_is_refunded() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&tab).await;
        press(&tab, "twice").await;
        tab.says("#state", "Paid. It’s yours.").await;
        tab.says("#text", "You paid more than once. €49.00 was sent back to you").await;
        step(&tab, "Paid again").await;
        step(&tab, "Refund sent").await;
        assert_eq!(states(&fixture, "open").await, ["paid"]);
    })
    .await;
}

#[tokio::test]
async fn a_late_payment_buys_or_is_refunded_and_the_buyer_sees_which() {
    let fixture = ServerFixture::start();
    sale(&fixture, "plenty", json!({"hold_secs": TWO_WAYS_SECS})).await;
    sale(&fixture, "last", json!({"hold_secs": TWO_WAYS_SECS, "stock": 1})).await;
    let (plenty, last) =
        (bought(&fixture, "ann", "k", "plenty").await, bought(&fixture, "ann", "l", "last").await);
    Browser::with_browser(async |browser| {
        let (lucky, tab) = (browser.tab().await, browser.tab().await);
        lucky.go(&link(fixture.address, &format!("/order/{plenty}"), "ann")).await;
        tab.go(&link(fixture.address, &format!("/order/{last}"), "ann")).await;
        for tab in [&lucky, &tab] {
            to_payment(tab).await;
            press(tab, "late").await;
        }
        // Another buyer takes the unit of the order that has expired. The late payment then finds
        // no unit.
        let taken = async || {
            let spec = PurchaseSpec::new("ben", "k", "last", 1).item("lamp");
            (fixture.buy(&spec).await.status == 201).then_some(())
        };
        fixture.until("the unit is returned", std::time::Duration::from_secs(120), taken).await;
        tab.says("#state", "Too late, so refunded").await;
        tab.says("#text", "€49.00 was sent back to you").await;
        step(&tab, "Expired and released").await;
        step(&tab, "Payment arrived too late").await;
        step(&tab, "Refund sent").await;
        tab.says("#clock-label", "Refunded").await;
        lucky.says("#state", "Paid. It’s yours after all.").await;
        step(&lucky, "Paid late, still yours").await;
    })
    .await;
}

#[tokio::test]
async fn a_hold_that_ends_during_the_checkout_ends_both() {
    let fixture = ServerFixture::start();
    sale(&fixture, "brief", json!({"hold_secs": ONE_WAY_SECS})).await;
    Browser::with_browser(async |browser| {
        let (tab, checkout) = (browser.tab().await, browser.tab().await);
        let order = bought(&fixture, "ann", "k", "brief").await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        checkout.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&checkout).await;
        tab.says("#state", "Your time to pay is over").await;
        tab.says("#pill", "Expired").await;
        tab.says("#go", "Back to the sale").await;
        checkout.says("#text", "accepts no more payments").await;
        checkout.click("#back").await;
        checkout.says("#pill", "Expired").await;
        step(&checkout, "Expired and released").await;
    })
    .await;
}

#[tokio::test]
async fn a_payment_with_a_lost_message_is_found_before_the_hold_ends() {
    let fixture = ServerFixture::start();
    sale(&fixture, "brief", json!({"hold_secs": ONE_WAY_SECS})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        let order = bought(&fixture, "ann", "k", "brief").await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&tab).await;
        press(&tab, "lose").await;
        tab.says("#state", "Checking your payment").await;
        tab.says("#state", "Paid. It’s yours.").await;
        assert_eq!(states(&fixture, "brief").await, ["paid"]);
    })
    .await;
}

/// Records the texts about the payment at each change of the page, because some of them are shown
/// only briefly.
const RECORD_TEXTS: &str = "(window.said = [], new MutationObserver(() => {
      const [words, pay] = ['#text', '#pay'].map(sel => document.querySelector(sel));
      said.push([words.textContent, pay.textContent.trim(), pay.ariaDisabled].join(' '));
    }).observe(document.body, { subtree: true, childList: true, attributes: true }))";

#[tokio::test]
async fn a_payment_page_that_does_not_open_is_reported_and_nothing_is_lost() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(flaky_proxy.address, &format!("/order/{order}"), "ann")).await;
        tab.has(PAY, "aria-disabled", "false").await;
        tab.eval(RECORD_TEXTS).await;
        flaky_proxy.set(Mode::DropsCheckouts);
        tab.eval("document.querySelector('#pay').focus()").await;
        tab.keys("\u{e007}").await;
        tab.until("said.some(words => /Opening the payment page.* true$/.test(words))").await;
        tab.until("said.some(words => words.includes('You were not charged'))").await;
        tab.until("document.activeElement.id === 'pay'").await;
        flaky_proxy.set(Mode::Open);
        // The order is cancelled by a request that does not come from this page. The page's button
        // must then take no money.
        let cancelled = PurchaseSpec::new("ann", "k", "open", 1).order("POST", &order, "/cancel");
        assert_eq!(fixture.ask(&cancelled).await.status, 200);
        tab.eval("document.querySelector('#pay:not([hidden])')?.click()").await;
        tab.says("#state", "Order cancelled").await;
    })
    .await;
}

#[tokio::test]
async fn an_operators_refund_cancellation_and_extension_are_shown() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let (paid, given) =
        (bought(&fixture, "ann", "k", "open").await, bought(&fixture, "ann", "l", "open").await);
    Browser::with_browser(async |browser| {
        let (tab, other) = (browser.tab().await, browser.tab().await);
        tab.go(&link(fixture.address, &format!("/order/{paid}"), "ann")).await;
        to_payment(&tab).await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "Paid. It’s yours.").await;
        other.go(&link(fixture.address, &format!("/order/{given}"), "ann")).await;
        other.says("#state", "Reserved for you").await;
        let act = async |order: &str, step: &str, body: Option<serde_json::Value>| {
            let done = fixture
                .admin("POST", &format!("/v1/admin/orders/{order}/{step}"), body.as_ref())
                .await;
            assert_eq!(done.status, 200, "{done}");
        };
        act(&paid, "refund", None).await;
        tab.says("#state", "Refunded").await;
        tab.says("#text", "€49.00 was sent back to you").await;
        step(&tab, "Refund by the shop").await;
        act(&given, "extend", Some(json!({"secs": 600}))).await;
        step(&other, "More time to pay").await;
        act(&given, "cancel", None).await;
        other.says("#state", "Order cancelled").await;
        other.says("#text", "The shop cancelled this order").await;
        step(&other, "Cancelled by the shop").await;
    })
    .await;
}

#[tokio::test]
async fn an_order_is_paid_in_chinese_and_the_sale_page_shows_it() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ann")).await;
        tab.click(BUY).await;
        tab.says("#go", "去付款 · €49.00").await;
        tab.click("#go").await;
        tab.says(PAY, "付款 €49.00").await;
        tab.click(PAY).await;
        tab.says("#state", "为订单付款").await;
        tab.click("[data-does=pay]").await;
        tab.says("#state", "付款成功").await;
        tab.load(&plain(fixture.address, "/sale/open")).await;
        tab.says(STATE, "付款成功").await;
    })
    .await;
}

#[tokio::test]
async fn pages_of_unknown_sales_and_orders_are_html_with_status_404() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    for (path, status) in [
        ("/sale/open".to_owned(), 200),
        ("/sale/nothing".to_owned(), 404),
        (format!("/order/{order}"), 200),
        ("/order/ord_nothing".to_owned(), 404),
    ] {
        let shown = fixture.ask(&request("GET", &path, "Accept: text/html\r\n", None)).await;
        assert_eq!(
            (shown.status, shown.header("content-type")),
            (status, Some("text/html; charset=utf-8")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_sandbox_reports_that_its_buttons_are_switched_off() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        to_payment(&tab).await;
        tab.eval(
            "window.fetch = async () => new Response('{\"code\":\"forbidden\"}', { status: 403 })",
        )
        .await;
        tab.click("#pay").await;
        tab.says("#state", "The buttons are off").await;
        tab.says("#announce", "payment.sandbox_page").await;
    })
    .await;
}

/// Answers each request for a checkout like a server whose payment provider refuses the order.
const REFUSE_CHECKOUTS: &str = "(window.ask = window.fetch, window.fetch = (path, how) =>
    !path.endsWith('/checkout') ? ask(path, how) : Promise.resolve(new Response(
      JSON.stringify({ code: 'wrong_state', state: 'reserved' }), { status: 409 })), true)";

#[tokio::test]
async fn a_buyer_whose_order_the_provider_refuses_is_sent_to_the_shop() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = bought(&fixture, "ann", "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, &format!("/order/{order}"), "ann")).await;
        tab.has(PAY, "aria-disabled", "false").await;
        tab.eval(REFUSE_CHECKOUTS).await;
        tab.click(PAY).await;
        tab.says("#text", "Please contact the shop").await;
    })
    .await;
}
