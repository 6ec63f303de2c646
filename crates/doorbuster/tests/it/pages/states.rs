//! Draws the pages in every state that they can have. No two parts of a page may contradict each
//! other, no words may be cut or missing, and axe-core must find no violation.

mod serve;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::axe::{LOOK, SCHEMES, inspect, keep_picture, shots, speak, tab};
use super::driver::Browser;
use super::plain;
use super::tab::Tab;

/// The widths of a small phone and of a desktop.
const WIDTHS: [u32; 2] = [360, 1440];
const LANGUAGES: [&str; 2] = ["en", "zh"];
/// If the script draws fewer states than this, the script is broken.
const STATES_MIN: usize = 1_000;
/// After this many milliseconds, a call of the script begins no further checks with axe-core. The
/// next call continues with the remaining checks.
const LOOK_MS: u32 = 8_000;
/// Words that must occur in the names of the drawn states, so that axe-core checks these states.
const CHECKED: &str = "asking before blocked busy busyall busyme came check checknow code drawing \
    drawn due ended endedx gone goneout heldout identifying join joining lapsed late less level \
    limit live maywaitlist members next nosignin offline paid paused queued ready refused reserved \
    retrying roomstuck share signin soldout stuck turn undated undecided unknown waiting \
    waitlistbusy waitlisted waitlistedx waitlistfull waitlistlimit waitlistlost waitlistonce \
    waitlistover";

fn places(state: &Value) -> Vec<i64> {
    let places = state["places"].as_array().expect("a list");
    places.iter().map(|place| place.as_i64().expect("a number")).collect()
}

/// Draws the page in all its states, and fails if a state has a fault. Returns the states.
async fn walk(tab: &Tab<'_>, place: &str) -> Vec<Value> {
    let walked = tab.eval("states.walk()").await;
    let states = walked.as_array().expect("a list");
    let wrong: Vec<_> =
        states.iter().filter(|state| state["faults"] != json!([])).take(20).collect();
    assert!(wrong.is_empty(), "{place}: {wrong:#?}");
    states.clone()
}

fn stay(states: &[&Value], place: &str) {
    let first = places(states[0]);
    for state in states {
        // A part that is not shown has a negative position, which the test does not compare.
        let moved = places(state)
            .into_iter()
            .zip(&first)
            .any(|(is, was)| is != *was && is >= 0 && *was >= 0);
        assert!(!moved, "{place}: a part of {state} moved from its position in {first:?}");
    }
}

/// Checks one state of each kind with axe-core. All checks together take minutes. So only a test
/// run that saves pictures makes all of them.
async fn look(tab: &Tab<'_>, page: &str, language: &str, width: u32) {
    if width != WIDTHS[0] && shots().is_none() {
        return;
    }
    for (scheme, rules, rules_min) in SCHEMES {
        if scheme == "dark" && language != LANGUAGES[0] && shots().is_none() {
            continue;
        }
        tab.scheme(scheme).await;
        let look = LOOK.replace('$', rules).replace("arguments[0]", "given");
        let mut next = json!(0);
        while !next.is_null() {
            let how = json!({"scheme": scheme, "from": next, "budget_ms": LOOK_MS});
            let script = format!("states.look(given => {{ {look} }}, {how}).then(arguments[0]);");
            let found = tab.run(&script).await;
            for state in found["findings"].as_array().expect("a list") {
                assert_eq!(
                    state["violations"],
                    json!([]),
                    "{page}, {language}, {width} px: {state}"
                );
                assert!(
                    state["rules"].as_u64() >= Some(rules_min),
                    "{state}: too few rules applied"
                );
            }
            next = found["next"].clone();
        }
        if shots().is_some() {
            let names = tab.eval("states.names()").await;
            for name in names.as_array().expect("a list").iter().flat_map(Value::as_str) {
                tab.eval(&format!("states.draw({})", json!(name))).await;
                keep_picture(tab, &format!("{page}, {name}-{language}-{width}-{scheme}.png")).await;
            }
        }
    }
    tab.scheme("light").await;
}

#[tokio::test]
async fn in_every_state_the_parts_of_a_sales_page_agree_and_stay_in_their_places() {
    let (address, server) = serve::start().await;
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.go(&plain(address, "/states?lang=en")).await;
        for width in WIDTHS {
            tab.width(width).await;
            for language in LANGUAGES {
                speak(&tab, language).await;
                let place = format!("{width} px, {language}");
                let states = walk(&tab, &place).await;
                assert!(states.len() >= STATES_MIN, "too few states: {}", states.len());
                let (zoned, other): (Vec<_>, Vec<_>) =
                    states.iter().partition(|state| state["zone"] != "");
                stay(&zoned, &place);
                stay(&other, &place);
                look(&tab, "a sale", language, width).await;
            }
        }
        let names = tab.eval("states.names()").await;
        let names = names.as_array().expect("a list").iter().flat_map(Value::as_str);
        let names: BTreeSet<_> = names.flat_map(|name| name.split(' ')).collect();
        let missing: Vec<_> =
            CHECKED.split_whitespace().filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "no state was drawn with these words: {missing:?}");
        tab.go(&plain(address, "/sale/far?lang=en")).await;
        tab.says("#lost-title", "The page could not be loaded").await;
        inspect(&tab, "a sale that could not be loaded").await;
    })
    .await;
    server.abort();
}

#[tokio::test]
async fn in_every_state_the_parts_of_an_orders_page_agree() {
    let (address, server) = serve::start().await;
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.go(&plain(address, "/order-states?lang=en")).await;
        for width in WIDTHS {
            tab.width(width).await;
            for language in LANGUAGES {
                speak(&tab, language).await;
                walk(&tab, &format!("{width} px, {language}")).await;
                look(&tab, "an order", language, width).await;
            }
        }
    })
    .await;
    server.abort();
}

/// Returns the texts of each sale's card, and the `data-light` value of the card's picture.
const CARDS: &str = "[...document.querySelectorAll('#sales .ticket')].map(card => {
    const words = sel => card.querySelector(sel)?.textContent ?? '';
    return { name: words('h2'), pill: words('.pill'), price: words('.ticket__price'),
      more: words('p.soft'), light: card.querySelector('.door').dataset.light };
  })";
/// What the card of a sale must show in each state of `serve::CASES`: words of its label, and the
/// `data-light` value of its picture.
const SHOWN: [(&str, [&str; 3], &str); 6] = [
    ("soon", ["Opens ", " 开抢", "Coming soon敬请期待"], "before"),
    ("open", ["Open now", "正在抢购", ""], "on"),
    ("none_left", ["None left now", "暂时无货", ""], "low"),
    ("sold_out", ["Sold out", "已售罄", ""], "off"),
    ("paused", ["Paused", "已暂停", ""], "low"),
    ("ended", ["Ended", "已结束", ""], "off"),
];
/// Words about a past time. The card of a sale that has not started must not have these words.
/// [`AHEAD`] has words about a future time, which the card of an ended sale must not have.
const PAST: [&str; 4] = ["Opened ", "Closed ", "已开抢", "已于"];
const AHEAD: [&str; 3] = ["Closes ", "Opens ", "2026"];

async fn cards_agree(tab: &Tab<'_>, cases: &[Value]) {
    let cards = tab.eval(CARDS).await;
    let cards = cards.as_array().expect("a list");
    assert_eq!(cards.len(), cases.len(), "{cards:#?}");
    for card in cards {
        let case = cases.iter().find(|case| case["name"] == card["name"]).expect("a case");
        let (shown, words, light) =
            SHOWN.iter().find(|(shown, ..)| case["shown"] == *shown).expect("a known state");
        let text = |part: &str| card[part].as_str().unwrap_or_default().to_owned();
        let (pill, more) = (text("pill"), text("more"));
        let says = words[..2].iter().any(|word| pill.contains(word)) || words[2].contains(&pill);
        assert!(says && !pill.is_empty(), "{shown}: {card}");
        assert_eq!(text("light"), *light, "{card}");
        assert!(text("price").contains("49"), "{card}");
        let is = |words: &[&str]| words.iter().any(|word| more.contains(word));
        assert!(*shown != "ended" || !is(&AHEAD), "{card}");
        assert!(*shown != "soon" || !is(&PAST), "{card}");
    }
}

#[tokio::test]
async fn the_list_the_sales_page_and_the_page_without_a_script_show_the_same_state() {
    let (address, server) = serve::start().await;
    let cases: Vec<Value> = serde_json::from_str(serve::CASES).expect("the cases are valid");
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.go(&plain(address, "/states?lang=en")).await;
        for (case, sale) in cases.iter().zip(serve::sales()) {
            let shown = tab.eval(&format!("states.shownOf({sale})")).await;
            assert_eq!(shown, case["shown"], "the sale's page shows another state for {case}");
        }
        tab.go(&list(address, "?lang=zh#token=x")).await;
        tab.says("#orders-list", "付款时间已过").await;
        for language in ["zh", "en"] {
            speak(&tab, language).await;
            cards_agree(&tab, &cases).await;
        }
        inspect(&tab, "the list in every state").await;
        assert_eq!(tab.eval("document.querySelector('#search').hidden").await, false);
        tab.eval("document.querySelector('#searched').value = 'nothing'").await;
        tab.click("#search button").await;
        tab.says("#none-title", "No sale matches.").await;
        inspect(&tab, "a search without a match").await;
        tab.go(&list(address, "?far&lang=en")).await;
        tab.says("#none-title", "The list could not be loaded").await;
        inspect(&tab, "a list that could not be loaded").await;
    })
    .await;
    server.abort();
}

fn list(address: SocketAddr, query: &str) -> String {
    plain(address, &format!("/{query}"))
}
