//! Tests the accessibility of every page in each of its states. In both languages and colour
//! schemes, on a phone and on a desktop, axe-core must find no violation. On the smallest phone, no
//! page needs sideways scrolling.

mod brand;
mod console;
mod console_changes;
mod console_form;
mod console_live;
mod console_orders;
mod console_report;
mod console_session;
mod front;
mod paying;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::driver::Browser;
use super::flaky_proxy::{FlakyProxy, Mode};
use super::tab::Tab;
use super::{BUY, STATE, draft, in_secs, link, plain, sale};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::faults::MachineFaults;
use crate::crash_windows::fixture::ServerFixture;

const AXE: &str = include_str!("../../vendor/axe-core/axe.min.js");
/// Runs axe-core with the rules that replace `$`. Returns each finding with its elements, and the
/// number of rules that applied. The bar with the button covers other controls, so the bar scrolls
/// with the page while the script runs.
pub(super) const LOOK: &str = "const bar = document.querySelector('.deal > .press');
    if (bar) bar.style.position = 'static';
    const done = found => { bar?.style.removeProperty('position'); arguments[0](found); };
    const place = node => node.target.join(' ') + ': ' + [...node.any, ...node.all, ...node.none].map(c => c.message).join('; ');
    axe.run(document, { runOnly: [$], resultTypes: ['violations'] }).then(
      found => done({ rules: found.passes.length, violations: found.violations.map(v => v.id + ' at ' + v.nodes.map(place).join(' | ')) }),
      error => done({ violations: [String(error)] }));";
/// The colour schemes. Each has the rules to check, and the minimum number of rules that must
/// apply. The minimum is the number of rules that apply on the emptiest page. The dark scheme
/// differs only in colours, so only the colour rules are checked in it.
pub(super) const SCHEMES: [(&str, &str, u64); 2] = [
    ("light", "'wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'", 15),
    ("dark", "'cat.color'", 1),
];
const WIDTHS: [u32; 2] = [360, 1440];
/// Returns the width of the page, or the width of an open dialog if the dialog is wider. Both
/// widths include the parts outside of the window.
const WIDEST: &str = "Math.max(document.documentElement.scrollWidth,
    ...[...document.querySelectorAll('dialog[open]')].map(d => innerWidth + d.scrollWidth - d.clientWidth))";
/// The width of the smallest phone, and of a desktop window at a zoom of 400 %.
const NARROW: u32 = 320;
/// The environment variable that names a folder. The tests save a picture of every state there.
const SHOTS: &str = "DOORBUSTER_SHOTS";

/// Returns the languages to check. The current language is last, so that the page has this language
/// again after the checks. If a page cannot change its language without a reload, returns only one
/// language.
const LANGUAGES: &str = "(() => {
    const own = document.documentElement.lang.slice(0, 2);
    return document.querySelector('.tongue a')?.onclick ? [own === 'zh' ? 'en' : 'zh', own] : [own];
  })()";

/// Finds a contradiction: some parts of a sale's page say that units can be bought, and other parts
/// say the opposite. Returns the texts of these parts, or an empty list if there is no
/// contradiction.
const CONTRADICTION: &str = "(() => {
    const words = sel => { const el = document.querySelector(sel); return el?.checkVisibility() ? el.textContent : ''; };
    const parts = ['#stage .pill', '#clock', '#stock', '#buy', '#say-title'].map(words);
    const open = /Open now|On sale now|Buy now|正在抢购$|立即抢购|抢购已开始/,
      shut = /Paused|Sold out|None left|Ended|has ended|is paused|已暂停|已售罄|暂时无货|已结束/;
    return parts.some(part => open.test(part)) && parts.some(part => shut.test(part)) ? parts : [];
  })()";

pub(super) async fn tab(browser: &Browser) -> Tab<'_> {
    let tab = browser.tab().await;
    tab.add_init_script(AXE).await;
    tab
}

pub(super) async fn inspect(tab: &Tab<'_>, state: &str) {
    inspect_in(tab, state, &SCHEMES).await;
}

async fn inspect_in(tab: &Tab<'_>, state: &str, schemes: &[(&str, &str, u64)]) {
    let languages = tab.eval(LANGUAGES).await;
    let languages: Vec<&str> =
        languages.as_array().expect("a list").iter().flat_map(Value::as_str).collect();
    for &language in &languages {
        if languages.len() > 1 {
            speak(tab, language).await;
        }
        let state = format!("{state}-{language}");
        for &(scheme, rules, rules_min) in schemes {
            tab.scheme(scheme).await;
            for width in WIDTHS {
                // Colours do not depend on the language. So a language that is not the page's
                // current one is checked with one scheme and width. A run that saves pictures
                // checks every combination.
                let is_other = languages.last() != Some(&language);
                if is_other && shots().is_none() && (scheme, width) != ("light", WIDTHS[0]) {
                    continue;
                }
                tab.width(width).await;
                let found = tab.run(&LOOK.replace('$', rules)).await;
                keep_picture(tab, &format!("{state}-{width}-{scheme}.png")).await;
                assert_eq!(found["violations"], json!([]), "{state}, {width} px, {scheme}");
                assert!(
                    found["rules"].as_u64() >= Some(rules_min),
                    "{state}: {} rules applied",
                    found["rules"]
                );
            }
        }
        assert_eq!(
            tab.eval(CONTRADICTION).await,
            json!([]),
            "{state}: two parts contradict each other"
        );
        tab.width(NARROW).await;
        let wide = tab.eval(WIDEST).await;
        assert!(
            wide.as_u64() <= Some(u64::from(NARROW)),
            "{state} is {wide} px wide on a screen of {NARROW} px"
        );
    }
}

pub(super) async fn speak(tab: &Tab<'_>, language: &str) {
    tab.eval(&format!("document.querySelector('.tongue a[lang^={language}]').click()")).await;
    tab.until(&format!("document.documentElement.lang.startsWith('{language}')")).await;
}

pub(super) fn shots() -> Option<PathBuf> {
    std::env::var_os(SHOTS).map(PathBuf::from)
}

pub(super) async fn keep_picture(tab: &Tab<'_>, name: &str) {
    let Some(folder) = shots() else { return };
    let metrics = tab.protocol("Page.getLayoutMetrics", json!({})).await;
    let size = &metrics["cssContentSize"];
    let clip =
        json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
    let whole = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
    let taken = tab.protocol("Page.captureScreenshot", whole).await;
    let png = decoded(taken["data"].as_str().expect("a picture"));
    assert!(png.starts_with(b"\x89PNG"), "{name} is not a PNG picture");
    std::fs::create_dir_all(&folder).expect("a folder for pictures");
    // The name of a state may contain the `/` of a time zone, such as Asia/Kathmandu.
    let path = folder.join(name.replace('/', " "));
    assert!(!path.exists(), "two states have the name {name}");
    std::fs::write(path, png).expect("the picture is written");
}

fn decoded(base64: &str) -> Vec<u8> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("{letter} is not a base64 character"),
    };
    let fours = base64.trim_end_matches('=').as_bytes().chunks(4);
    let bytes = fours.flat_map(|four| {
        let bits = four.iter().fold(0_u32, |bits, letter| (bits << 6) | u32::from(digit(*letter)));
        // A last group with fewer than four characters has fewer than 24 bits, which move to the
        // top.
        let bytes = (bits << (6 * (4 - four.len()))).to_be_bytes();
        bytes.into_iter().skip(1).take(four.len() - 1)
    });
    bytes.collect()
}

/// Buys without a browser. Returns the order's id.
async fn buy(fixture: &ServerFixture, buyer: &str, sale: &str, units: u32) -> String {
    let bought = fixture
        .buy(&PurchaseSpec::new(buyer, &format!("k-{sale}-{units}"), sale, units).item("lamp"))
        .await;
    assert_eq!(bought.status, 201, "{bought}");
    bought.id()
}

#[tokio::test]
async fn every_state_of_a_sale_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    let lamp = |id: &str, stock: Value| json!({"id": id, "title": "有机棉手工灯罩 with a long name", "price": {"amount_minor": 1200, "currency": "CNY"}, "stock": stock});
    let many =
        json!([lamp("shade", json!(10)), lamp("bulb", json!("unlimited")), lamp("none", json!(0))]);
    let (soon, days, end) = (in_secs(3_000).1, in_secs(300_000).1, in_secs(400_000).1);
    for (name, starts_at) in [("soon", soon), ("days", days)] {
        draft(&fixture, name, json!({}), json!({ "starts_at": starts_at, "ends_at": end })).await;
        fixture.step(name, "schedule").await;
    }
    draft(&fixture, "many", json!({}), json!({ "items": many })).await;
    for (name, item) in
        [("open", json!({})), ("held", json!({"stock": 1})), ("sold", json!({"stock": 0}))]
    {
        draft(&fixture, name, item, json!({ "ends_at": end })).await;
    }
    for name in ["many", "open", "held", "sold"] {
        fixture.step(name, "open").await;
    }
    buy(&fixture, "ben", "held", 1).await;
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        let states = [
            ("soon", "", BUY, "Opens in 49:"),
            ("days", "?lang=zh", BUY, "3 天"),
            ("many", "?lang=en#item=bulb", "#stock", "On sale"),
            ("open", "", BUY, "Buy now"),
            ("held", "?lang=zh", BUY, "加入候补"),
            ("sold", "?lang=en", STATE, "Sold out"),
        ];
        for (name, query, place, words) in states {
            tab.go(&link(fixture.address, &format!("/sale/{name}{query}"), "ann")
                .replace("bulb#", "bulb&"))
                .await;
            tab.says(place, words).await;
            inspect(&tab, &format!("a sale, {name}")).await;
        }
        tab.go(&link(fixture.address, "/sale/held?lang=en", "ann")).await;
        tab.says(BUY, "Join the waitlist").await;
        tab.click(BUY).await;
        tab.says(STATE, "You are next").await;
        inspect(&tab, "on the waitlist").await;
        let place = tab
            .eval("Object.values(JSON.parse(localStorage['doorbuster.waitlist.held']).places)[0]")
            .await;
        tab.go(&link(
            fixture.address,
            &format!("/order/{}", place.as_str().expect("an id")),
            "ann",
        ))
        .await;
        tab.says("#state", "You are on the waitlist").await;
        inspect(&tab, "a waitlist entry").await;
        tab.click("#side").await;
        tab.says("#state", "You left the waitlist").await;
        inspect(&tab, "a waitlist entry after leaving").await;
        for (step, words) in [("pause", "The sale is paused"), ("close", "The sale has ended")] {
            fixture.step("open", step).await;
            tab.go(&link(fixture.address, "/sale/open", "ann")).await;
            tab.says(STATE, words).await;
            inspect(&tab, step).await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_answer_to_a_press_is_usable_by_everyone() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    sale(&fixture, "open", json!({"stock": 3, "limit_per_buyer": 4})).await;
    // The payment window in this sale ends during the test.
    sale(&fixture, "brief", json!({"hold_secs": 15})).await;
    sale(&fixture, "plenty", json!({"limit_per_buyer": 4})).await;
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        // Each press is in a new browser window, because after a press the button is disabled for a
        // while.
        let visit = async |sale: &str, buyer: &str, units: &str| {
            let tab = tab(browser).await;
            tab.go(&link(flaky_proxy.address, &format!("/sale/{sale}"), buyer)).await;
            let choose =
                format!("const field = document.querySelector('#units'); field.value = {units}; field.onchange();");
            tab.run(&format!("{choose} arguments[0]();")).await;
            tab.click(BUY).await;
            tab
        };
        let brief = visit("brief", "ann", "1").await;
        brief.says(STATE, "1 reserved for you").await;
        // The delay is long enough for the page to show the queue, and shorter than the ten seconds
        // in which a request must be decided.
        faults.slow_disk(Duration::from_secs(8));
        let tab = visit("open", "ann", "1").await;
        tab.says(STATE, "Your request is in").await;
        inspect(&tab, "queued").await;
        faults.slow_disk(Duration::ZERO);
        tab.says(STATE, "1 reserved for you").await;
        inspect(&tab, "reserved").await;
        let tab = visit("plenty", "dora", "1").await;
        tab.says(STATE, "1 reserved for you").await;
        tab.click("#act").await;
        tab.says(BUY, "Try again in ").await;
        inspect(&tab, "resting").await;
        let tab = visit("open", "ben", "3").await;
        tab.says(STATE, "Only 2 left right now").await;
        inspect(&tab, "fewer than asked for").await;
        buy(&fixture, "cleo", "plenty", 1).await;
        let tab = visit("plenty", "cleo", "4").await;
        tab.says(STATE, "You already have 1 of 4").await;
        inspect(&tab, "a part of the limit").await;
        brief.says(STATE, "Your time to pay is over").await;
        inspect(&brief, "too late to pay").await;
        buy(&fixture, "ann", "plenty", 4).await;
        let tab = visit("plenty", "ann", "1").await;
        tab.says(STATE, "You’ve reached the limit of 4").await;
        inspect(&tab, "the limit").await;
        flaky_proxy.set(Mode::Shut);
        tab.says(STATE, "You’re offline").await;
        inspect(&tab, "not connected").await;
    })
    .await;
}

#[tokio::test]
async fn every_state_of_an_order_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    sale(&fixture, "brief", json!({"hold_secs": 1})).await;
    let (order, brief) =
        (buy(&fixture, "ann", "open", 2).await, buy(&fixture, "ann", "brief", 1).await);
    let flaky_proxy = FlakyProxy::to(fixture.address).await;
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.go(&link(flaky_proxy.address, &format!("/order/{order}"), "ann")).await;
        tab.says("#state", "Reserved for you").await;
        inspect(&tab, "an order").await;
        tab.click("#side").await;
        tab.until("document.querySelector('dialog').open").await;
        inspect(&tab, "the question").await;
        tab.click("dialog button[value=keep]").await;
        flaky_proxy.set(Mode::Shut);
        tab.says("#side", "Try now").await;
        inspect(&tab, "an order, not connected").await;
        flaky_proxy.set(Mode::Open);
        // Presses the retry button if there is one. The page may have reconnected by itself.
        tab.eval("document.querySelector('#side[data-does=retry]')?.click()").await;
        tab.says("#side", "Cancel order").await;
        tab.click("#side").await;
        tab.click("dialog button[value=yes]").await;
        tab.says("#state", "Order cancelled").await;
        inspect(&tab, "cancelled").await;
        tab.go(&link(fixture.address, &format!("/order/{brief}?lang=zh"), "ann")).await;
        tab.says("#state", "付款时间已过").await;
        inspect(&tab, "an order in Chinese, expired").await;
        // The page shows `Little time left` in the last quarter of the payment window.
        sale(&fixture, "soon", json!({"hold_secs": 40})).await;
        let ending = buy(&fixture, "ann", "soon", 1).await;
        tab.go(&link(fixture.address, &format!("/order/{ending}?lang=en"), "ann")).await;
        tab.says("#state", "Little time left").await;
        inspect(&tab, "ending").await;
        tab.go(&link(fixture.address, "/order/ord_nothing", "ann")).await;
        inspect(&tab, "no such order").await;
    })
    .await;
}

#[tokio::test]
async fn the_lists_and_the_sign_in_pages_are_usable_by_everyone() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_AUTH__SIGN_IN_URL", "/sign-in")]);
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.go(&plain(fixture.address, "/")).await;
        tab.says("#none-title", "No sales right now").await;
        inspect(&tab, "no sales").await;
        let days = in_secs(300_000).1;
        draft(&fixture, "days", json!({}), json!({ "starts_at": days })).await;
        fixture.step("days", "schedule").await;
        sale(&fixture, "open", json!({})).await;
        let visits = [
            ("/sale/nothing", "#lost-title", "There is no such sale", "no such sale"),
            ("/sale/open", STATE, "Sign in to buy", "a stranger at a sale"),
            ("/order/ord_1", "#state", "Sign in to see your order", "a stranger at an order"),
        ];
        for (path, place, words, state) in visits {
            tab.go(&plain(fixture.address, path)).await;
            tab.says(place, words).await;
            inspect(&tab, state).await;
        }
        buy(&fixture, "ann", "open", 2).await;
        tab.go(&link(fixture.address, "/", "ann")).await;
        tab.says("#orders-list", "2 × Ora lamp").await;
        inspect(&tab, "sales and orders").await;
    })
    .await;
}
