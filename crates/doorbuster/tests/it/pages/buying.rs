//! Tests how a visitor buys: the countdown, the button, the press, the server's answer, the result.

use std::time::Duration;

use serde_json::json;

use super::driver::Browser;
use super::flaky_proxy::{FlakyProxy, Mode};
use super::{BUY, STATE, draft, in_secs, link, prepared_before_opening, sale, states, streams};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::faults::MachineFaults;
use crate::crash_windows::fixture::ServerFixture;

/// Makes the clock of the device wrong by five hours. The page must then use the server's clock.
const WRONG_CLOCK: &str = "const True = Date; const wrong = () => True.now() + 5 * 3600e3;
    window.Date = class extends True { constructor(...of) { super(...(of.length ? of : [wrong()])); } static now() { return wrong(); } };";
/// Keeps the page from opening an event stream.
const NO_EVENTS: &str =
    "window.WebSocket = class { constructor() { throw new Error('not now'); } };";
/// Blocks all answers to the page, and records the time at which the button is enabled. This time
/// does not come from `Date`, which the test has changed.
const RECORD_ENABLING: &str = "window.ask = fetch; window.fetch = () => new Promise(() => {});
    window.WebSocket = class { constructor() { throw new Error('not now'); } };
    window.button = document.querySelector('#buy');
    new MutationObserver(() => {
      if (button.getAttribute('aria-disabled') === 'false') window.woke ??= performance.timeOrigin + performance.now();
    }).observe(button, { attributes: true });
    arguments[0]();";
/// Presses the button as soon as it is enabled.
const PRESS_WHEN_ENABLED: &str = "const button = document.querySelector('#buy');
    new MutationObserver(() => { if (button.getAttribute('aria-disabled') === 'false') button.click(); })
      .observe(button, { attributes: true });
    arguments[0]();";
/// Records the texts for screen readers with their times, and the button's texts. A replaced setter
/// records the times, because a `MutationObserver` sees a text too late on a busy machine.
const RECORD_TEXTS: &str = "window.told = []; window.drawn = [];
    const button = document.querySelector('#buy'), { get, set } = Object.getOwnPropertyDescriptor(Node.prototype, 'textContent');
    Object.defineProperty(document.querySelector('#announce'), 'textContent', {
      get, set(words) { told.push([words, performance.now()]); set.call(this, words); } });
    new MutationObserver(() => drawn.push(button.textContent)).observe(button,
      { childList: true, characterData: true, subtree: true });
    arguments[0]();";
/// Records the page's requests, and whether the cancel dialog has been closed.
const RECORD_REQUESTS: &str = "const ask = fetch; window.asked = [];
    window.fetch = (...what) => { asked.push(what[0]); return ask(...what); };
    document.querySelector('#sure').addEventListener('close', () => { window.answered = true; });
    arguments[0]();";
/// Texts for screen readers, except verdicts, must be at least this many milliseconds apart.
const APART_MS: f64 = 4_995.0;
/// The button must be enabled less than this time after the sale's start. The page's clock can be
/// wrong by up to the time that an answer takes.
const LATE_MS: f64 = 500.0;
/// The button may be enabled at most 50 ms before the sale's start, which is the time 0.
const EARLY_MS: f64 = -50.0;
/// The number of attempts. If the button is enabled too late in all of them, the test fails.
const STARTS_MAX: usize = 3;
/// The length of a payment window, in seconds. The window ends during the test. Even on a slow
/// machine, the page shows the window before the window ends.
const SEEN_SECS: u32 = 10;
const TIMEOUT: Duration = Duration::from_secs(60);
/// After a press, the page keeps the button disabled for this time.
const DISABLED_AFTER_PRESS: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_button_is_enabled_at_the_start_by_the_servers_clock() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(WRONG_CLOCK).await;
        let waits_for_the_start = async |soon: String, secs| {
            let (starts, starts_at) = in_secs(secs);
            draft(&fixture, &soon, json!({}), json!({ "starts_at": starts_at })).await;
            fixture.step(&soon, "schedule").await;
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.run(RECORD_ENABLING).await;
            tab.has(BUY, "aria-disabled", "true").await;
            tab.says(BUY, "Opens in 00:0").await;
            tab.click(BUY).await;
            assert!(states(&fixture, &soon).await.is_empty(), "a disabled button must not buy");
            starts.as_millisecond() as f64
        };
        let mut lates = Vec::new();
        let soon = loop {
            let (soon, starts) = prepared_before_opening(8, &waits_for_the_start).await;
            let late = tab.until("window.woke").await.as_f64().expect("a time") - starts;
            assert!(late >= EARLY_MS, "enabled too early; ms since the start: {late}");
            if late < LATE_MS {
                break soon;
            }
            // Tries again with another sale: other load on the machine may delay one attempt.
            lates.push(late);
            assert!(lates.len() < STARTS_MAX, "the button was enabled too late, in ms: {lates:?}");
        };
        tab.says(BUY, "Buy now · €49.00").await;
        tab.eval("window.fetch = window.ask").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(states(&fixture, &soon).await, ["reserved"]);
    })
    .await;
}

#[tokio::test]
async fn a_screen_reader_gets_each_countdown_text_once_and_one_text_in_five_seconds() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        let (soon, ()) = prepared_before_opening(45, async |soon, secs| {
            draft(&fixture, &soon, json!({}), json!({ "starts_at": in_secs(secs).1 })).await;
            fixture.step(&soon, "schedule").await;
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.run(RECORD_TEXTS).await;
            // The text is never shown if the page loads too late or the machine pauses. In this
            // case, the preparation takes too long and is repeated with another sale.
            while tab.eval("drawn.includes('Opens in 00:10')").await != true {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        tab.until("told.at(-1)?.[0].startsWith('On sale now')").await;
        let opened = async || {
            (fixture.get_ok(&format!("/v1/admin/sales/{soon}")).await["phase"] == "open")
                .then_some(())
        };
        fixture.until("the server has opened it", TIMEOUT, opened).await;
        streams(&fixture, 1).await;
        // The text about the pause comes soon after another text, so its announcement must wait.
        fixture.step(&soon, "pause").await;
        tab.until("told.at(-1)[0].startsWith('The sale is paused')").await;
        fixture.step(&soon, "resume").await;
        tab.until("told.at(-1)[0].startsWith('On sale now')").await;
        let texts: Vec<(String, f64)> =
            serde_json::from_value(tab.eval("told").await).expect("texts with times");
        let words = texts.iter().map(|(words, _)| words.as_str());
        let counted: Vec<_> = words.filter(|words| words.ends_with(" seconds")).collect();
        let from_30 = tab.eval("drawn.includes('Opens in 00:30')").await == true;
        let due = ["Opens in 30 seconds", "Opens in 10 seconds"];
        assert_eq!(counted, due[usize::from(!from_30)..], "of {texts:?}");
        assert!(texts.windows(2).all(|pair| pair[1].1 - pair[0].1 >= APART_MS), "{texts:?}");
        let regions = "document.querySelectorAll('[role=status], [role=alert], \
             [aria-live]:not([aria-live=off])').length";
        assert_eq!(tab.eval(regions).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_press_at_the_start_is_not_too_early_even_if_the_sale_opens_late() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        let (soon, before) = prepared_before_opening(4, async |soon, secs| {
            faults.slow_disk(Duration::ZERO);
            let before = flaky_proxy.keys().len();
            draft(&fixture, &soon, json!({}), json!({ "starts_at": in_secs(secs).1 })).await;
            fixture.step(&soon, "schedule").await;
            tab.go(&link(flaky_proxy.address, &format!("/sale/{soon}"), "ann")).await;
            faults.slow_disk(Duration::from_millis(500));
            tab.run(PRESS_WHEN_ENABLED).await;
            before
        })
        .await;
        tab.says(STATE, "1 reserved for you").await;
        let keys = &flaky_proxy.keys()[before..];
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(states(&fixture, &soon).await, ["reserved"]);
    })
    .await;
}

#[tokio::test]
async fn a_press_reserves_and_the_order_page_counts_down_the_payment_window() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({"hold_secs": 600})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.click("#more").await;
        tab.says(BUY, "Buy now · €98.00").await;
        tab.click(BUY).await;
        tab.says(STATE, "2 reserved for you").await;
        tab.says("#clock-label", "Pay within").await;
        tab.says("#stock", "98 left of 100").await;
        tab.says("#announce", "2 reserved for you").await;
        tab.reload().await;
        tab.says(STATE, "2 reserved for you").await;

        tab.click("#go").await;
        tab.says("#state", "Reserved for you").await;
        let order = &fixture.orders("open").await[0];
        assert!(tab.url().await.ends_with(order["id"].as_str().expect("an id")));
        assert_eq!(tab.text("#units").await, "2");
        assert_eq!(tab.text("#sum").await, "€98.00");
        tab.says("#clock-label", "Pay within").await;
        let seconds = "document.querySelector('#clock').textContent.split(':').reduce((m, s) => m * 60 + +s, 0)";
        let first = tab.eval(seconds).await;
        let pay_by: jiff::Timestamp = order["pay_by"].as_str().expect("a time").parse().expect("a time");
        let left = || pay_by.duration_since(jiff::Timestamp::now()).as_secs_f64();
        let before = left();
        let next = tab.until(&format!("{seconds} < {first} && {seconds}")).await.as_f64().expect("seconds");
        let after = left();
        assert!((after - 2.0..before + 2.0).contains(&next), "the clock shows {next} s, but {before} to {after} s are left");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_order_gives_its_unit_back_and_another_visitor_buys_it() {
    let fixture = ServerFixture::start();
    sale(&fixture, "last", json!({"stock": 1})).await;
    Browser::with_browser(async |browser| {
        let (ann, ben) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/last", "ann")).await;
        ann.click(BUY).await;
        ann.says(STATE, "1 reserved for you").await;
        ben.go(&link(fixture.address, "/sale/last", "ben")).await;
        ben.says(BUY, "Join the waitlist").await;
        streams(&fixture, 2).await;

        ann.click("#go").await;
        ann.says("#side", "Cancel order").await;
        ann.click("#side").await;
        ann.click("dialog button[value=keep]").await;
        ann.until("!document.querySelector('dialog').open").await;
        ann.says("#state", "Reserved for you").await;
        let before = states(&fixture, "last").await;
        assert_eq!(before, ["reserved"], "the order must not be cancelled before the confirmation");
        ann.click("#side").await;
        ann.says("#sure-title", "Cancel this order?").await;
        ann.click("dialog button[value=yes]").await;
        ann.says("#state", "Order cancelled").await;
        ann.says("#clock", "€0.00").await;

        ben.says(BUY, "Buy now").await;
        // A parked request may be refused before the returned unit is in a slot, so wait for the
        // unit.
        let is_back = async || (fixture.stock("last").await.in_slots == 1).then_some(());
        fixture.until("the unit is in a slot", TIMEOUT, is_back).await;
        ben.click(BUY).await;
        ben.says(STATE, "1 reserved for you").await;
        assert_eq!(states(&fixture, "last").await, ["reserved", "cancelled"]);
        ann.click("#go").await;
        ann.says(BUY, "Join the waitlist").await;
    })
    .await;
}

#[tokio::test]
async fn the_cancel_dialog_works_by_keys_and_esc_cancels_nothing() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 1).item("lamp")).await;
    assert_eq!(bought.status, 201, "{bought}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, &format!("/order/{}", bought.id()), "ann")).await;
        tab.says("#side", "Cancel order").await;
        tab.run(RECORD_REQUESTS).await;
        tab.keys_to("#side", "\u{e007}").await;
        tab.until("document.querySelector('#sure:modal')?.contains(document.activeElement)").await;
        tab.keys("\u{e00c}").await;
        tab.until("window.answered && document.activeElement.id === 'side'").await;
        assert_eq!(tab.eval("document.querySelector('#sure').open").await, false);
        assert_eq!(tab.eval("asked.filter(path => path.endsWith('/cancel'))").await, json!([]));
        assert_eq!(states(&fixture, "open").await, ["reserved"]);

        tab.keys("\u{e007}").await;
        tab.until("document.activeElement.value === 'keep'").await;
        tab.keys("\u{e004}").await;
        tab.until("document.activeElement.value === 'yes'").await;
        tab.keys("\u{e007}").await;
        tab.says("#state", "Order cancelled").await;
        assert_eq!(states(&fixture, "open").await, ["cancelled"]);
    })
    .await;
}

#[tokio::test]
async fn a_hold_that_ends_is_shown_as_expired_and_its_unit_comes_back() {
    let fixture = ServerFixture::start();
    let item = json!({"stock": 1, "hold_secs": SEEN_SECS, "limit_per_buyer": 1});
    sale(&fixture, "brief", item).await;
    Browser::with_browser(async |browser| {
        let (page, order) = (browser.tab().await, browser.tab().await);
        // This page gets no events, so it must find out by a request that the order has ended.
        page.add_init_script(NO_EVENTS).await;
        page.go(&link(fixture.address, "/sale/brief", "ann")).await;
        page.click(BUY).await;
        page.says(STATE, "1 reserved for you").await;
        let id = fixture.orders("brief").await[0]["id"].as_str().expect("an id").to_owned();
        order.go(&link(fixture.address, &format!("/order/{id}"), "ann")).await;
        order.says("#clock-label", "Pay within").await;
        order.says("#state", "Your time to pay is over").await;
        order.says("#pill", "Expired").await;
        order.says("#steps", "Expired and released").await;
        page.says(STATE, "Your time to pay is over").await;
        page.says("#stock", "1 left of 1").await;
        page.click("#act").await;
        // The page has not read all orders again yet. Even so, the expired order must no longer
        // count for the limit.
        let words = page.eval("document.querySelector('#buy').textContent").await;
        let may_buy =
            |words: &str| ["Buy now", "Try again in"].iter().any(|w| words.starts_with(w));
        assert!(words.as_str().is_some_and(may_buy), "{words}");
        page.has(BUY, "aria-disabled", "false").await;
        assert_eq!(states(&fixture, "brief").await, ["expired"]);
    })
    .await;
}

#[tokio::test]
async fn a_press_keeps_its_key_over_lost_answers_and_a_reload_and_orders_once() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(flaky_proxy.address, "/sale/open", "ann")).await;
        flaky_proxy.set(Mode::LosesAnswers);
        tab.click(BUY).await;
        tab.says(BUY, "Reconnecting").await;
        tab.until("document.querySelector('#say-text').textContent.includes('never orders twice')")
            .await;
        assert_eq!(
            states(&fixture, "open").await,
            ["reserved"],
            "the first request must have made an order"
        );
        tab.reload().await;
        tab.until("document.querySelector('#buy').dataset.mode !== 'go'").await;
        let before = flaky_proxy.keys().len();
        fixture
            .until("the page repeats the request after the reload", TIMEOUT, async || {
                (flaky_proxy.keys().len() > before).then_some(())
            })
            .await;
        flaky_proxy.set(Mode::Open);
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(states(&fixture, "open").await, ["reserved"]);
        let keys = flaky_proxy.keys();
        assert!(keys.len() > 2 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    })
    .await;
}

#[tokio::test]
async fn the_button_takes_one_press_in_ten_seconds_each_with_a_key_of_its_own() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(flaky_proxy.address, "/sale/open", "ann")).await;
        let pressed = std::time::Instant::now();
        tab.run("const button = document.querySelector('#buy'); button.click(); button.click(); arguments[0]();").await;
        tab.says(STATE, "1 reserved for you").await;
        tab.click("#act").await;
        tab.says(BUY, "Try again in ").await;
        tab.has(BUY, "aria-disabled", "true").await;
        tab.click(BUY).await;
        tab.reload().await;
        tab.says(BUY, "Try again in ").await;
        tab.click(BUY).await;
        assert_eq!(flaky_proxy.keys().len(), 1, "a disabled button must send nothing");
        tab.says(BUY, "Buy now").await;
        let rested = pressed.elapsed();
        let least = DISABLED_AFTER_PRESS - Duration::from_millis(200);
        assert!(rested > least, "the button was disabled for only {rested:?}");
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        let keys = flaky_proxy.keys();
        assert!(keys.len() == 2 && keys[0] != keys[1], "{keys:?}");
        assert_eq!(states(&fixture, "open").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_queued_press_shows_that_its_position_is_no_promise_and_then_its_verdict() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let (tab, order) = (browser.tab().await, browser.tab().await);
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        // The delay is long enough to show the queue, and shorter than the ten seconds until the
        // deadline.
        faults.slow_disk(Duration::from_secs(8));
        tab.click(BUY).await;
        tab.says(BUY, "Reserving 1").await;
        tab.says(STATE, "Your request is in").await;
        let id = tab.eval("JSON.parse(sessionStorage.getItem('doorbuster.press.open')).id").await;
        let path = format!("/order/{}", id.as_str().expect("an id"));
        order.go(&link(fixture.address, &path, "ann")).await;
        order.says("#state", "Your request is in").await;
        order.says("#clock-label", "Answer within").await;
        faults.slow_disk(Duration::ZERO);
        tab.says(STATE, "1 reserved for you").await;
        order.says("#state", "Reserved for you").await;
        assert_eq!(states(&fixture, "open").await, ["reserved"]);
    })
    .await;
}
