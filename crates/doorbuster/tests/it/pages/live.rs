//! Tests that visitors who only look at a page see a sale's changes as they happen.

use serde_json::json;

use super::driver::Browser;
use super::flaky_proxy::{FlakyProxy, Mode};
use super::{BUY, STATE, draft, in_secs, link, plain, sale, states, streams};
use crate::crash_windows::client::{PurchaseSpec, request};
use crate::crash_windows::fixture::ServerFixture;

#[tokio::test]
async fn a_pause_a_resume_and_the_close_are_shown_as_they_happen() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        streams(&fixture, 1).await;
        // From here on, the page's requests get no answer. So the page can learn of a change only
        // by an event.
        tab.eval("window.fetch = () => new Promise(() => {})").await;
        fixture.step("open", "pause").await;
        tab.says(STATE, "The sale is paused").await;
        tab.has(BUY, "aria-disabled", "true").await;
        tab.says("#pill", "Paused").await;
        fixture.step("open", "resume").await;
        tab.says(BUY, "Buy now").await;
        tab.has(BUY, "aria-disabled", "false").await;
        fixture.step("open", "close").await;
        tab.says(BUY, "The sale has ended").await;
        tab.says("#pill", "Ended").await;
        tab.says("#clock", "Ended").await;
        tab.says("#stock", "100 of 100 not sold").await;
    })
    .await;
}

#[tokio::test]
async fn a_changed_price_limit_and_title_are_shown_before_the_opening() {
    let fixture = ServerFixture::start();
    let (_, later) = in_secs(7_200);
    draft(&fixture, "soon", json!({}), json!({"starts_at": later})).await;
    fixture.step("soon", "schedule").await;
    let change = async |title: &str, price: u32, limit: u32| {
        let item = json!({"id": "lamp", "limit_per_buyer": limit,
            "price": {"amount_minor": price, "currency": "EUR"}});
        let patch = json!({"title": title, "items": [item]});
        let changed = fixture.admin("PATCH", "/v1/admin/sales/soon", Some(&patch)).await;
        assert_eq!(changed.status, 200, "{changed}");
    };
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/soon", "ann")).await;
        tab.says("#price", "€49.00").await;
        tab.says("#rule", "Up to 2 per person").await;
        change("Winter drop", 3_900, 1).await;
        // The event `online` makes the page read the status at once.
        tab.eval("dispatchEvent(new Event('online'))").await;
        tab.says("#price", "€39.00").await;
        tab.says("#rule", "Up to 1 per person").await;
        tab.says("#edition", "Winter drop").await;
        // The browser may use its copy of the page for a minute. This copy has the old price, but
        // the page must show the new one.
        change("Summer drop", 2_900, 3).await;
        tab.go(&link(fixture.address, "/sale/soon", "ann")).await;
        tab.says("#price", "€29.00").await;
        tab.says("#rule", "Up to 3 per person").await;
    })
    .await;
}

#[tokio::test]
async fn a_removed_closing_time_is_not_shown_any_more() {
    let fixture = ServerFixture::start();
    let (_, later) = in_secs(7_200);
    draft(&fixture, "open", json!({}), json!({"ends_at": later})).await;
    fixture.step("open", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says("#full-time", "Closes ").await;
        let patch = json!({"ends_at": null});
        let changed = fixture.admin("PATCH", "/v1/admin/sales/open", Some(&patch)).await;
        assert_eq!(changed.status, 200, "{changed}");
        tab.until("document.querySelector('#full-time').classList.contains('is-off')").await;
    })
    .await;
}

/// Makes the browser behave as on Android, where only a service worker can show a notification.
const NO_NOTIFICATION: &str = "window.Notification = class {
    static permission = 'granted';
    static requestPermission() { return Promise.resolve('granted'); }
    constructor() { throw new TypeError('Illegal constructor'); }
  };
  ServiceWorkerContainer.prototype.getRegistration = () =>
    Promise.resolve({ showNotification: words => { window.shown = words; } });";

#[tokio::test]
async fn a_browser_without_the_constructor_is_notified_and_the_page_continues() {
    let fixture = ServerFixture::start();
    let (_, later) = in_secs(60);
    draft(&fixture, "soon", json!({}), json!({"starts_at": later})).await;
    fixture.step("soon", "schedule").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(NO_NOTIFICATION).await;
        tab.go(&link(fixture.address, "/sale/soon", "ann")).await;
        tab.click("#notify").await;
        tab.has("#notify", "aria-pressed", "true").await;
        streams(&fixture, 1).await;
        tab.eval("Object.defineProperty(document, 'hidden', { get: () => true }) && true").await;
        fixture.step("soon", "open").await;
        tab.says(BUY, "Buy now").await;
        tab.until("window.shown === 'The sale is open'").await;
        fixture.step("soon", "pause").await;
        tab.says(STATE, "The sale is paused").await;
    })
    .await;
}

#[tokio::test]
async fn held_units_may_return_and_sold_units_do_not() {
    let fixture = ServerFixture::start();
    sale(&fixture, "two", json!({"stock": 2, "id": "phone"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/two", "ann")).await;
        tab.says("#stock", "2 left of 2").await;
        streams(&fixture, 1).await;
        let spec = PurchaseSpec::new("ben", "k", "two", 2);
        let bought = fixture.buy(&spec).await;
        tab.says(BUY, "Join the waitlist").await;
        tab.says("#stock-more", "2 reserved, not paid yet").await;
        tab.says("#say-text", "Those go to the waitlist first").await;

        fixture.ask(&spec.order("POST", &bought.id(), "/cancel")).await;
        tab.says(BUY, "Buy now").await;
        assert_eq!(fixture.adjust("two", "a", -2).await.status, 200);
        tab.says(BUY, "Sold out").await;
        tab.says(STATE, "Sold out").await;
        tab.has(BUY, "aria-disabled", "true").await;
        assert_eq!(fixture.adjust("two", "b", 5).await.status, 200);
        tab.says("#stock", "5 left of 5").await;
        tab.says(BUY, "Buy now").await;
    })
    .await;
}

#[tokio::test]
async fn a_refusal_shows_the_remaining_units_and_orders_nothing() {
    let fixture = ServerFixture::start();
    sale(&fixture, "few", json!({"stock": 3, "limit_per_buyer": 5})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/few", "ann")).await;
        tab.run("const field = document.querySelector('#units'); field.value = 5; field.onchange(); arguments[0]();")
            .await;
        tab.says(BUY, "€245.00").await;
        tab.click(BUY).await;
        tab.says(STATE, "Only 3 left right now").await;
        tab.says("#say-text", "nothing was ordered").await;
        assert!(states(&fixture, "few").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_lost_server_is_reported_and_reservations_are_shown_when_it_is_back() {
    let mut fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let (page, order) = (browser.tab().await, browser.tab().await);
        page.go(&link(flaky_proxy.address, "/sale/open", "ann")).await;
        page.click(BUY).await;
        page.says(STATE, "1 reserved for you").await;
        let id = fixture.orders("open").await[0]["id"].as_str().expect("an id").to_owned();
        order.go(&link(flaky_proxy.address, &format!("/order/{id}"), "ann")).await;
        streams(&fixture, 2).await;

        fixture.kill();
        page.says(STATE, "You’re offline").await;
        page.says("#stock-more", "As of ").await;
        order.says("#text", "You are offline. Your reservation stands").await;
        fixture.restart();
        flaky_proxy.set_target(fixture.address);
        page.says(STATE, "1 reserved for you").await;
        order.says("#text", "Pay by ").await;
        assert_eq!(states(&fixture, "open").await, ["reserved"]);

        // When the page is online again, it must no longer say "offline".
        flaky_proxy.set(Mode::Shut);
        page.click("#act").await;
        page.says(BUY, "Reconnecting").await;
        flaky_proxy.set(Mode::Open);
        // The test presses the retry button, unless the page has already reconnected by itself and
        // has no such button.
        page.eval("document.querySelector('#act[data-does=retry]')?.click()").await;
        page.until("!document.querySelector('#say-title').textContent.includes('offline')").await;
    })
    .await;
}

#[tokio::test]
async fn views_of_a_sale_do_not_read_the_store() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, "/")).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        streams(&fixture, 1).await;
    })
    .await;
    assert_eq!(fixture.metric("doorbuster_tickets_settled_total").await, 0);
    let page = fixture.ask(&request("GET", "/metrics", "", None)).await;
    let page = String::from_utf8(page.body).expect("text");
    let requests = page.lines().filter_map(|line| {
        line.strip_prefix("doorbuster_http_requests_total{route=\"")?.split_once('"')
    });
    // The routes of requests that the server answers without a read of the store.
    let memory =
        ["page", "asset", "list_sales", "get_sale", "get_status", "keep_buyer", "open_websocket"];
    let operators = ["create_sale", "open_sale", "metrics"];
    let others: Vec<_> = requests
        .filter(|(route, _)| !memory.contains(route) && !operators.contains(route))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(page.contains("route=\"get_status\"") && page.contains("route=\"page\""), "{page}");
}

#[tokio::test]
async fn the_list_shows_available_items_first_and_the_buyers_orders() {
    let fixture = ServerFixture::start();
    let (_, later) = in_secs(3_600);
    sale(&fixture, "open", json!({})).await;
    draft(&fixture, "later", json!({}), json!({"starts_at": later, "title": "Opening later"}))
        .await;
    fixture.step("later", "schedule").await;
    draft(&fixture, "over", json!({}), json!({"ends_at": later, "title": "Over"})).await;
    for step in ["open", "close"] {
        fixture.step("over", step).await;
    }
    draft(&fixture, "draft", json!({}), json!({"title": "Not announced"})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 2).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        let titles = tab
            .eval("[...document.querySelectorAll('#sales .ticket')].map(t => t.querySelector('h2').textContent)")
            .await;
        assert_eq!(titles, json!(["Lamps of the small workshop", "Opening later", "Over"]));
        let over = tab.text("#sales li:last-child").await;
        assert!(over.contains("Ended") && !over.contains("Close"), "wrong card of the closed sale: {over}");
        tab.says("#orders-list", "2 × Ora lamp").await;
        tab.says("#orders-list", "Reserved").await;
        tab.click("#orders-list a").await;
        tab.says("#state", "Reserved for you").await;
    })
    .await;
}

/// Makes the page read the status at once, and is true if the page shows that there is no such
/// sale.
const IS_LOST: &str = "(dispatchEvent(new Event('online')),
    document.querySelector('#lost-title').checkVisibility()
      && document.querySelector('#lost-title').textContent === 'There is no such sale')";

#[tokio::test]
async fn a_removed_sale_is_not_shown_any_more_and_is_loaded_again_when_it_is_back() {
    let fixture = ServerFixture::start();
    let (_, later) = in_secs(7_200);
    draft(&fixture, "soon", json!({}), json!({"starts_at": later})).await;
    fixture.step("soon", "schedule").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/soon", "ann")).await;
        tab.says("#name", "Ora lamp").await;
        tab.eval("window.old = true").await;
        fixture.step("soon", "unschedule").await;
        tab.until(IS_LOST).await;
        // The event `offline` makes the page draw its state at once.
        let title = tab.eval("(dispatchEvent(new Event('offline')), document.title)").await;
        assert_eq!(title, "There is no such sale");
        fixture.step("soon", "schedule").await;
        tab.until("(dispatchEvent(new Event('online')), !window.old)").await;
        tab.until("document.querySelector('#name').checkVisibility()").await;
        tab.says("#pill", "Opens").await;
    })
    .await;
}

#[tokio::test]
async fn an_order_that_ends_during_a_gap_in_the_stream_is_not_shown_any_more() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(flaky_proxy.address, "/sale/open", "ann")).await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        streams(&fixture, 1).await;
        flaky_proxy.set(Mode::Shut);
        streams(&fixture, 0).await;
        let id = fixture.orders("open").await[0]["id"].as_str().expect("an id").to_owned();
        let cancel = PurchaseSpec::new("ann", "k", "open", 1).order("POST", &id, "/cancel");
        assert_eq!(fixture.ask(&cancel).await.status, 200);
        flaky_proxy.set(Mode::Open);
        tab.says(BUY, "Buy now").await;
    })
    .await;
}
