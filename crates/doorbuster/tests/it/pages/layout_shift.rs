//! Tests that the pages do not jump: when a page changes from one state to the next, its parts stay
//! in their places.

use serde_json::json;

use super::driver::Browser;
use super::tab::Tab;
use super::{BUY, STATE, draft, in_secs, link, sale, streams};
use crate::crash_windows::client::{PurchaseSpec, request};
use crate::crash_windows::fixture::ServerFixture;

/// Adds up the layout shifts of the page (see the Layout Instability API of browsers). In contrast
/// to the usual sum, this sum includes the shifts after a click.
const RECORD_SHIFTS: &str = "window.shift = 0; window.moved = [];
    new PerformanceObserver(list => { for (const one of list.getEntries()) {
      window.shift += one.value;
      moved.push(...one.sources.map(({ node, previousRect: a, currentRect: b }) =>
        `${node?.id || node?.className || node?.nodeName} from ${a.y}+${a.height} to ${b.y}+${b.height}`));
    } }).observe({ type: 'layout-shift', buffered: true });";
/// Waits until the page has been drawn. Returns the sum of the shifts since the last call, and the
/// parts that moved.
const TAKE: &str = "const done = arguments[0];
    requestAnimationFrame(() => requestAnimationFrame(() => { const sum = [shift, moved.join(', ')]; shift = 0; moved = []; done(sum); }));";
/// The largest shift that the test allows between two states. Browsers rate a page as good if its
/// whole shift is at most 0.1.
const SHIFT_MAX: f64 = 0.02;

/// Waits for the state with these words, and checks the shift since the last state.
async fn settled(tab: &Tab<'_>, place: &str, words: &str, width: u32) {
    tab.says(place, words).await;
    let taken = tab.run(TAKE).await;
    let shift = taken[0].as_f64().expect("a number");
    assert!(
        shift <= SHIFT_MAX,
        "at {width} px, parts moved by {shift} when {words:?} appeared: {}",
        taken[1]
    );
}

#[tokio::test]
async fn a_sales_page_does_not_move_between_its_states() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        for width in [360, 1280] {
            let (one, two) = (format!("one-{width}"), format!("two-{width}"));
            let soon = json!({ "starts_at": in_secs(3_000).1 });
            draft(&fixture, &one, json!({"stock": 1, "limit_per_buyer": 1}), soon).await;
            draft(
                &fixture,
                &two,
                json!({"stock": 1, "limit_per_buyer": 1}),
                json!({"front_door": {"waiting_room": "always"}}),
            )
            .await;
            fixture.step(&one, "schedule").await;
            let (ann, ben) = (browser.tab().await, browser.tab().await);
            for (tab, buyer) in [(&ann, "ann"), (&ben, "ben")] {
                tab.add_init_script(RECORD_SHIFTS).await;
                tab.width(width).await;
                tab.go(&link(fixture.address, &format!("/sale/{one}"), buyer)).await;
                settled(tab, BUY, "Opens", width).await;
            }
            fixture.step(&one, "open").await;
            settled(&ann, BUY, "Buy now", width).await;
            settled(&ben, BUY, "Buy now", width).await;
            ann.click(BUY).await;
            settled(&ann, STATE, "1 reserved for you", width).await;
            settled(&ben, "#pill", "None left now", width).await;
            ben.click(BUY).await;
            settled(&ben, "#act", "Leave the waitlist", width).await;
            fixture.step(&one, "pause").await;
            settled(&ben, "#pill", "Paused", width).await;
            fixture.step(&one, "resume").await;
            settled(&ben, "#act", "Leave the waitlist", width).await;
            fixture.step(&one, "close").await;
            settled(&ben, "#pill", "Ended", width).await;
            room(&fixture, &ann, &ben, &two, width).await;
        }
    })
    .await;
}

/// Checks the shifts between the states of a sale with a waiting room.
async fn room(fixture: &ServerFixture, ann: &Tab<'_>, ben: &Tab<'_>, sale: &str, width: u32) {
    fixture.step(sale, "open").await;
    for (tab, buyer) in [(ann, "ann"), (ben, "ben")] {
        tab.go(&link(fixture.address, &format!("/sale/{sale}"), buyer)).await;
        settled(tab, BUY, "Join the waiting room", width).await;
    }
    ann.click(BUY).await;
    settled(ann, STATE, "It’s your turn", width).await;
    ben.click(BUY).await;
    settled(ben, "#clock-label", "Your position", width).await;
    ann.click(BUY).await;
    settled(ann, STATE, "1 reserved for you", width).await;
    settled(ben, BUY, "Waiting for more", width).await;
    ben.click("#act").await;
    settled(ben, "#pill", "None left now", width).await;
}

/// Makes every timer of 20 seconds or more forty times faster, so that the page soon reads the list
/// again. Also extends each timer of one second to a minute: the page normally waits one second for
/// the orders, and a slow machine may need more time.
const SHORT_TIMERS: &str = "{ const wait = window.setTimeout;
    window.setTimeout = (run, ms) =>
      wait(run, ms >= 20_000 ? ms / 40 : ms === 1_000 ? 60_000 : ms); }";

#[tokio::test]
async fn the_list_of_sales_does_not_move_when_sales_and_orders_change() {
    let fixture = ServerFixture::start();
    let times = json!({"starts_at": in_secs(3_000).1, "ends_at": in_secs(300_000).1});
    draft(&fixture, "soon", json!({}), times).await;
    fixture.step("soon", "schedule").await;
    for name in ["one", "two"] {
        sale(&fixture, name, json!({})).await;
    }
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "two", 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    Browser::with_browser(async |browser| {
        let tabs = [browser.tab().await, browser.tab().await];
        let widths = [360, 1280];
        for (tab, width) in tabs.iter().zip(widths) {
            tab.add_init_script(RECORD_SHIFTS).await;
            tab.add_init_script(SHORT_TIMERS).await;
            tab.width(width).await;
            tab.go(&link(fixture.address, "/", "ann")).await;
            settled(tab, "#orders-list", "Pay by", width).await;
        }
        let card = |sale: &str| format!("#sales li:has([href=\"/sale/{sale}\"])");
        for (sale, step, words) in
            [("soon", "open", "Closes"), ("one", "pause", "Paused"), ("one", "close", "Ended")]
        {
            fixture.step(sale, step).await;
            for (tab, width) in tabs.iter().zip(widths) {
                settled(tab, &card(sale), words, width).await;
            }
        }
        let later = json!({ "starts_at": in_secs(4_000).1 });
        draft(&fixture, "new", json!({}), later).await;
        fixture.step("new", "schedule").await;
        for (tab, width) in tabs.iter().zip(widths) {
            settled(tab, "#sales > li:last-child", "Opens", width).await;
        }
        fixture.step("new", "unschedule").await;
        for tab in &tabs {
            tab.until("document.querySelectorAll('#sales > li').length === 3").await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_orders_page_does_not_move_when_the_waitlist_serves_it_or_the_order_ends() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        for width in [360, 1280] {
            let name = format!("last-{width}");
            sale(&fixture, &name, json!({"stock": 1})).await;
            let held = PurchaseSpec::new("zoe", &name, &name, 1).item("lamp");
            let first = fixture.buy(&held).await.id();
            let signed = PurchaseSpec::new("ann", "k", &name, 1).signed;
            let path = format!("/v1/sales/{name}/items/lamp/waitlist");
            let lines = format!("{signed}Idempotency-Key: {name}\r\n");
            let entry = fixture.ask(&request("POST", &path, &lines, None)).await.id();
            let tab = browser.tab().await;
            tab.add_init_script(RECORD_SHIFTS).await;
            tab.width(width).await;
            tab.go(&link(fixture.address, &format!("/order/{entry}"), "ann")).await;
            settled(&tab, "#state", "You are on the waitlist", width).await;
            streams(&fixture, 1).await;
            let cancelled = fixture.ask(&held.order("POST", &first, "/cancel")).await;
            assert_eq!(cancelled.status, 200, "{cancelled}");
            settled(&tab, "#state", "Reserved for you", width).await;
            let path = format!("/v1/admin/orders/{entry}/cancel");
            assert_eq!(fixture.admin("POST", &path, None).await.status, 200);
            settled(&tab, "#state", "Order cancelled", width).await;
            tab.load("about:blank").await;
            streams(&fixture, 0).await;
        }
    })
    .await;
}
