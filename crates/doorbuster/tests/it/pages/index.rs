//! Tests the list of sales: the state on each card, the search, the button for more sales, and the
//! buyer's orders.

use serde_json::json;

use super::driver::Browser;
use super::tab::Tab;
use super::{draft, in_secs, link, plain, sale};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// The number of sales on the first page of the list.
const LISTED: usize = 48;
/// Drops every timer of 20 seconds or more, so that no timer makes the page read the list again.
/// Also extends each timer of one second to a minute: the page normally waits one second for the
/// orders, and a slow machine may need more time.
const NO_LONG_TIMERS: &str = "{ const wait = window.setTimeout;
    window.setTimeout = (run, ms) =>
      ms >= 20_000 ? 0 : wait(run, ms === 1_000 ? 60_000 : ms); }";

async fn card(tab: &Tab<'_>, sale: &str, words: &[&str]) {
    tab.until(&format!(
        "(text => {}.every(words => text.includes(words)))(
           document.querySelector('#sales a[href=\"/sale/{sale}\"]').closest('li').innerText)",
        json!(words)
    ))
    .await;
}

async fn count(tab: &Tab<'_>, cards: usize) {
    tab.until(&format!("document.querySelectorAll('#sales > li').length === {cards}")).await;
}

async fn search(tab: &Tab<'_>, words: &str) {
    let words = json!(words);
    tab.eval(&format!("document.querySelector('#searched').value = {words}")).await;
    tab.click("#search button").await;
}

/// Returns the order's id.
async fn bought(fixture: &ServerFixture, key: &str, sale: &str) -> String {
    let bought = fixture.buy(&PurchaseSpec::new("ann", key, sale, 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    bought.id()
}

/// Creates more sales than the first page shows, among them one in each state. The oldest sale is
/// `old`.
async fn many_sales(fixture: &ServerFixture) {
    draft(fixture, "old", json!({"title": "Oldest lamp"}), json!({"title": "Oldest"})).await;
    fixture.step("old", "open").await;
    for n in 0..LISTED - 3 {
        sale(fixture, &format!("filler-{n}"), json!({})).await;
    }
    sale(fixture, "sold", json!({"stock": 0})).await;
    sale(fixture, "held", json!({"stock": 1, "price": {"amount_minor": 1200, "currency": "EUR"}}))
        .await;
    for (name, step) in [("paused", "pause"), ("closed", "close")] {
        sale(fixture, name, json!({})).await;
        fixture.step(name, step).await;
    }
}

#[tokio::test]
async fn the_list_shows_each_state_and_price_and_can_be_searched_and_continued() {
    let fixture = ServerFixture::start();
    many_sales(&fixture).await;
    let cancelled = bought(&fixture, "k", "old").await;
    let done = fixture
        .ask(&PurchaseSpec::new("ann", "k", "old", 1).order("POST", &cancelled, "/cancel"))
        .await;
    assert_eq!(done.status, 200, "{done}");
    bought(&fixture, "l", "old").await;
    bought(&fixture, "m", "held").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(NO_LONG_TIMERS).await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        // As soon as the page is shown, it must show the unpaid orders above the sales.
        let orders = tab.text("#orders-list > li:first-child").await;
        assert!(orders.contains("Reserved") && orders.contains("Pay by "), "{orders}");
        let first = "document.querySelector('#orders').getBoundingClientRect().bottom
            <= document.querySelector('#sales').getBoundingClientRect().top";
        assert_eq!(tab.eval(first).await, true, "unpaid orders must come first");
        let titles = tab.text("#orders-list").await;
        assert_eq!(titles.matches("1 × Oldest lamp").count(), 2, "{titles}");
        assert!(titles.contains("Cancelled "), "{titles}");
        let requests = "[...new Set(performance.getEntriesByType('resource')
            .map(one => new URL(one.name).pathname)
            .filter(path => path.startsWith('/v1/sales') || path.startsWith('/v1/orders')))]";
        assert_eq!(tab.eval(requests).await, json!(["/v1/sales", "/v1/orders"]));

        count(&tab, LISTED).await;
        card(&tab, "paused", &["Paused", "€49.00"]).await;
        card(&tab, "sold", &["Sold out", "€49.00"]).await;
        card(&tab, "held", &["None left now", "€12.00"]).await;
        card(&tab, "closed", &["Ended", "€49.00"]).await;
        card(&tab, "filler-40", &["Open now", "€49.00"]).await;
        let light = "document.querySelector('#sales a[href=\"/sale/sold\"]').closest('li')
            .querySelector('.door').dataset.light";
        assert_eq!(tab.eval(light).await, "off");
        tab.click("#more").await;
        count(&tab, LISTED + 2).await;
        tab.until("document.querySelector('#more').hidden").await;
        card(&tab, "old", &["Oldest", "Open now"]).await;
        search(&tab, "OLDEST").await;
        count(&tab, 1).await;
        card(&tab, "old", &["Oldest"]).await;
        search(&tab, "no such sale").await;
        tab.says("#none-title", "No sale matches.").await;
        count(&tab, 0).await;
        // Without long timers, only the start of this sale makes the page read the list again.
        draft(&fixture, "soon", json!({}), json!({"starts_at": in_secs(15).1})).await;
        fixture.step("soon", "schedule").await;
        // The server may answer from a cache for a moment. Waits until the server's list has the
        // new sale.
        tab.until(
            "fetch('/v1/sales?limit=48', { cache: 'reload' }).then(answer => answer.json())
               .then(({ sales }) => sales.some(sale => sale.id === 'soon'))",
        )
        .await;
        tab.reload().await;
        card(&tab, "soon", &["Opens"]).await;
        card(&tab, "soon", &["Open now"]).await;
    })
    .await;
}

/// Holds back the answers to requests for more sales and to searches for "workshop", until the test
/// calls the answer's function in `window.held`. `window.read` is the number of these answers that
/// the page has processed.
const HOLD_ANSWERS: &str = "{ const ask = window.fetch;
    window.held = [];
    window.read = 0;
    window.fetch = async (path, options) => {
      const answer = await ask(path, options);
      if (!/cursor=|q=workshop/.test(path)) return answer;
      const data = await answer.json();
      await new Promise(release => held.push(release));
      answer.json = async () => {
        setTimeout(() => (window.read += 1));
        return data;
      };
      return answer;
    }; }";

#[tokio::test]
async fn a_search_drops_late_answers_to_earlier_requests() {
    let fixture = ServerFixture::start();
    many_sales(&fixture).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(HOLD_ANSWERS).await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        count(&tab, LISTED).await;
        tab.click("#more").await;
        tab.until("held.length === 1").await;
        search(&tab, "workshop").await;
        tab.until("held.length === 2").await;
        search(&tab, "OLDEST").await;
        count(&tab, 1).await;
        tab.eval("(held.forEach(release => release()), true)").await;
        tab.until("window.read === 2").await;
        let cards = tab.eval("document.querySelectorAll('#sales > li').length").await;
        assert_eq!(cards, 1, "the list must show only the sale of the newest search");
    })
    .await;
}

/// Makes the page's first request for the buyer's orders fail.
const LOSE_FIRST_ORDERS: &str = "{ const ask = window.fetch;
    window.lost = 0;
    window.fetch = (path, options) => {
      if (!String(path).includes('/v1/orders') || window.lost) return ask(path, options);
      window.lost += 1;
      return Promise.reject(new TypeError('lost'));
    }; }";

#[tokio::test]
async fn the_orders_are_read_again_after_a_failed_read() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    bought(&fixture, "k", "open").await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(LOSE_FIRST_ORDERS).await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        tab.says("#orders-list", "1 × Ora lamp").await;
        assert_eq!(tab.eval("window.lost").await, 1, "the page must lose one request");
    })
    .await;
}

#[tokio::test]
async fn a_list_with_an_expired_token_uses_the_cookie_of_another_tab() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    bought(&fixture, "k", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/open", "ann")).await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        other.go(&plain(fixture.address, "/#token=expired")).await;
        other.says("#orders-list", "1 × Ora lamp").await;
        assert_eq!(other.eval("sessionStorage['doorbuster.token'] ?? null").await, json!(null));
    })
    .await;
}

#[tokio::test]
async fn a_list_that_becomes_visible_again_shows_the_newest_orders() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        tab.says("#orders-none", "You have no orders yet").await;
        // The buyer has no order, so the page has no stream and does not learn of this order.
        bought(&fixture, "k", "open").await;
        tab.eval("document.dispatchEvent(new Event('visibilitychange'))").await;
        tab.says("#orders-list", "1 × Ora lamp").await;
        // After the buyer goes back in the history, the browser may show a stored copy of the page.
        tab.eval(
            "(window.old = true,
              dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })))",
        )
        .await;
        tab.until("!window.old").await;
        tab.says("#orders-list", "1 × Ora lamp").await;
    })
    .await;
}
