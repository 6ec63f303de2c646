//! Tests the page of the waiting room: the draw, the queue, the admission, and the state after a
//! reload.

use serde_json::json;

use super::driver::Browser;
use super::passes::{guarded, noted, opening, sent};
use super::{BUY, STATE, draft, in_secs, link, prepared_before_opening, states};
use crate::crash_windows::client::{request, signed_in};
use crate::crash_windows::fixture::ServerFixture;

/// The control that selects the first item.
const LAMP: &str = "#items-list label:nth-child(1)";
/// The control that selects the second item.
const BULB: &str = "#items-list label:nth-child(2)";

#[tokio::test]
async fn a_visitor_before_the_opening_is_in_the_draw_and_buys_when_admitted() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        let (soon, ()) = prepared_before_opening(14, async |soon, secs| {
            opening(&fixture, &soon, secs, json!({"waiting_room": "always"})).await;
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.says(STATE, "You are in the draw").await;
            tab.says(BUY, "Opens in ").await;
            tab.reload().await;
            tab.says(STATE, "You are in the draw").await;
            assert!(
                sent(&tab, "/waiting-room").await.is_empty(),
                "the page must not request a position that it already has"
            );
        })
        .await;
        tab.says(STATE, "It’s your turn").await;
        tab.says("#clock-label", "Your turn ends in").await;
        tab.says("#pill", "Your turn").await;
        tab.says("#announce", "It’s your turn").await;
        tab.has(BUY, "aria-disabled", "false").await;
        tab.reload().await;
        tab.says(STATE, "It’s your turn").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(states(&fixture, &soon).await, ["reserved"]);
    })
    .await;
}

#[tokio::test]
async fn a_page_takes_part_in_the_draw_of_a_sale_that_opens_earlier_than_planned() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        prepared_before_opening(20, async |soon, secs| {
            opening(&fixture, &soon, 1_200, json!({"waiting_room": "always"})).await;
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.says(BUY, "Opens in ").await;
            assert!(
                sent(&tab, "/waiting-room").await.is_empty(),
                "the page must not request a position so long before the start"
            );
            let path = format!("/v1/admin/sales/{soon}");
            let earlier = json!({"starts_at": in_secs(secs).1});
            assert_eq!(fixture.admin("PATCH", &path, Some(&earlier)).await.status, 200);
            // The event `online` makes the page read the status at once.
            tab.eval("dispatchEvent(new Event('online'))").await;
            tab.says(STATE, "You are in the draw").await;
        })
        .await;
    })
    .await;
}

/// Records the delay of the page's longest timer, in milliseconds.
const NOTE_TIMERS: &str = "{ window.longest = 0;
    const wait = window.setTimeout;
    window.setTimeout = (run, ms, ...more) => {
      window.longest = Math.max(window.longest, ms || 0);
      return wait(run, ms, ...more);
    }; }";

#[tokio::test]
async fn a_page_in_the_draw_of_a_sale_in_forty_days_reads_its_position_once_an_hour() {
    let fixture = ServerFixture::start();
    opening(&fixture, "far", 40 * 86_400, json!({"waiting_room": "always"})).await;
    let enter = request("POST", "/v1/sales/far/waiting-room", &signed_in("ann"), None);
    assert_eq!(fixture.ask(&enter).await.status, 201);
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(NOTE_TIMERS).await;
        // If the address contains `turn`, the page reads its position at once.
        tab.go(&format!("{}&turn", link(fixture.address, "/sale/far", "ann"))).await;
        tab.says(STATE, "You are in the draw").await;
        tab.until("longest === 3_600_000").await;
    })
    .await;
}

#[tokio::test]
async fn a_later_visitor_waits_while_all_units_are_held_and_is_admitted_when_one_returns() {
    let fixture = ServerFixture::start();
    draft(
        &fixture,
        "one",
        json!({"stock": 1, "limit_per_buyer": 1}),
        json!({"front_door": {"waiting_room": "always"}}),
    )
    .await;
    fixture.step("one", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, ben) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/one", "ann")).await;
        ann.says(BUY, "Join the waiting room").await;
        ann.click(BUY).await;
        ann.says(STATE, "It’s your turn").await;
        ben.go(&link(fixture.address, "/sale/one", "ben")).await;
        ben.click(BUY).await;
        ben.says("#clock-label", "Your position").await;
        ben.has(BUY, "aria-disabled", "true").await;
        ben.says("#clock", "1").await;
        ben.reload().await;
        ben.says("#clock-label", "Your position").await;
        ben.says("#clock", "1").await;
        ben.says("#stock", "You joined at position 1").await;
        ben.says("#act", "Leave the waiting room").await;
        // The page may replace its text about the failure soon. So the test records every text.
        ben.eval(
            "(window.said = [], new MutationObserver(() => \
            said.push(document.querySelector('#say-text')?.textContent)).observe( \
            document.body, {childList: true, characterData: true, subtree: true}), true)",
        )
        .await;
        ben.eval(
            "(window.ask = window.fetch, window.fetch = (path, how) => how?.method === 'DELETE' \
            ? Promise.reject(new Error('gone')) : ask(path, how), true)",
        )
        .await;
        ben.click("#act").await;
        ben.until("window.said.join().includes('You are still in the waiting room')").await;
        ben.eval("(window.fetch = window.ask, true)").await;
        ben.click("#act").await;
        ben.says(BUY, "Join the waiting room").await;
        ben.reload().await;
        ben.says(BUY, "Join the waiting room").await;
        ben.click(BUY).await;
        ben.says("#clock", "1").await;

        ann.click(BUY).await;
        ann.says(STATE, "1 reserved for you").await;
        ben.says(BUY, "Waiting for more").await;
        ben.says("#say-text", "You keep your position").await;
        let order = fixture.orders("one").await[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            fixture.admin("POST", &format!("/v1/admin/orders/{order}/cancel"), None).await.status,
            200
        );
        ben.says(STATE, "It’s your turn").await;
        ben.click(BUY).await;
        ben.says(STATE, "1 reserved for you").await;
    })
    .await;
    assert_eq!(states(&fixture, "one").await, ["reserved", "cancelled"]);
}

/// Removes the cookie from the page's requests about the position and the session, and puts an
/// expired token into them.
const EXPIRE_TOKEN: &str = "(window.ask = window.fetch, window.fetch = (path, how = {}) =>
    ask(path, /waiting-room|session/.test(path) ? { ...how, credentials: 'omit',
      headers: { ...how.headers, Authorization: 'Bearer expired' } } : how), true)";

#[tokio::test]
async fn a_visitor_whose_token_expires_in_the_waiting_room_is_asked_to_sign_in() {
    let fixture = ServerFixture::start();
    let door = json!({"front_door": {"waiting_room": "always"}});
    draft(&fixture, "one", json!({"stock": 1}), door).await;
    fixture.step("one", "open").await;
    let enter = request("POST", "/v1/sales/one/waiting-room", &signed_in("ann"), None);
    assert_eq!(fixture.ask(&enter).await.status, 201);
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/one", "ben")).await;
        tab.click(BUY).await;
        tab.says("#clock-label", "Your position").await;
        tab.eval(EXPIRE_TOKEN).await;
        // The event `online` makes the page read its position at once.
        tab.eval("dispatchEvent(new Event('online'))").await;
        tab.says(BUY, "Sign in to buy").await;
        assert_eq!(tab.eval("sessionStorage['doorbuster.token'] ?? null").await, json!(null));
    })
    .await;
}

#[tokio::test]
async fn an_admitted_visitor_gets_the_check_if_the_sale_requires_one() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "both", json!({"waiting_room": "always", "challenge": "pow"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/both?lang=zh", "ann")).await;
        tab.says(BUY, "开始排队").await;
        tab.click(BUY).await;
        tab.says(STATE, "轮到你了").await;
        tab.says(BUY, "开始验证").await;
        tab.click(BUY).await;
        tab.click("#work-start").await;
        tab.says(BUY, "立即抢购").await;
        tab.click(BUY).await;
        tab.says(STATE, "已为你保留 1 件").await;
    })
    .await;
}

#[tokio::test]
async fn a_single_visitor_does_not_meet_an_automatic_waiting_room() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "auto", json!({"waiting_room": "auto"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/auto", "ann")).await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        tab.until("document.querySelector('#say-title').textContent.includes('reserved') || document.querySelector('#say-title').textContent.includes('your turn')").await;
        assert!(!tab.text("#pill").await.contains("Waiting"));
    })
    .await;
}

#[tokio::test]
async fn a_missed_admission_is_reported_and_a_new_position_is_offered() {
    // A pass is valid for ten seconds. This is long enough for a slow machine to use a pass, and
    // short enough for a pass to expire during the test.
    let fixture = ServerFixture::with(&[("DOORBUSTER_PASS__TTL_SECS", "10")]);
    guarded(&fixture, "open", json!({"waiting_room": "always"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.click(BUY).await;
        tab.says(STATE, "It’s your turn").await;
        tab.says(STATE, "Your time to buy is over").await;
        tab.says(BUY, "Join the waiting room").await;
        tab.click(BUY).await;
        tab.says(STATE, "It’s your turn").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
}

#[tokio::test]
async fn without_events_the_page_polls_its_position() {
    let fixture = ServerFixture::start();
    draft(
        &fixture,
        "one",
        json!({"stock": 1, "id": "phone"}),
        json!({"front_door": {"waiting_room": "always"}}),
    )
    .await;
    fixture.step("one", "open").await;
    let enter = request("POST", "/v1/sales/one/waiting-room", &signed_in("ann"), None);
    assert_eq!(fixture.ask(&enter).await.status, 201);
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(
            "window.WebSocket = class { constructor() { throw new Error('not now'); } };",
        )
        .await;
        tab.go(&link(fixture.address, "/sale/one", "ben")).await;
        tab.click(BUY).await;
        tab.says("#clock-label", "Your position").await;
        assert_eq!(fixture.adjust("one", "more", 5).await.status, 200);
        tab.says(STATE, "It’s your turn").await;
    })
    .await;
}

#[tokio::test]
async fn a_visitor_who_waits_for_one_item_gets_a_turn_for_another_item() {
    let fixture = ServerFixture::start();
    let item = |id: &str, title: &str, stock: u32| {
        json!({"id": id, "title": title, "price": {"amount_minor": 4900, "currency": "EUR"},
               "stock": stock, "limit_per_buyer": 1})
    };
    let items = [item("lamp", "Ora lamp", 1), item("bulb", "Warm bulb", 5)];
    let door = json!({"waiting_room": "always", "rooms": "items"});
    draft(&fixture, "two", json!({}), json!({"items": items, "front_door": door})).await;
    fixture.step("two", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, ben) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/two", "ann")).await;
        ann.click(BUY).await;
        ann.says(STATE, "It’s your turn").await;
        ben.go(&link(fixture.address, "/sale/two", "ben")).await;
        ben.click(BUY).await;
        ben.says("#clock-label", "Your position").await;
        ann.click(BUY).await;
        ann.says(STATE, "1 reserved for you").await;
        ben.says(BUY, "Waiting for more").await;
        ben.click(BULB).await;
        ben.says(BUY, "Join the waiting room").await;
        ben.click(BUY).await;
        ben.says(STATE, "It’s your turn").await;
        // The buyer looks at the first item again. The page must not switch back to the second item
        // by itself.
        ben.click(LAMP).await;
        ben.says(BUY, "Waiting for more").await;
        ben.click(BULB).await;
        ben.says(STATE, "It’s your turn").await;
        ben.click(BUY).await;
        ben.says(STATE, "1 reserved for you").await;
    })
    .await;
    assert_eq!(states(&fixture, "two").await, ["reserved", "reserved"]);
}
