//! Tests what a visitor sees of passes, access codes, minimum levels and limits: the conditions
//! before the press, and the text of each refusal.

use std::time::Duration;

use serde_json::{Value, json};

use super::driver::Browser;
use super::tab::Tab;
use super::{BUY, STATE, draft, in_secs, link, link_with_claims, prepared_before_opening, states};
use crate::crash_windows::fixture::ServerFixture;

/// Records the page's requests and their times. The recorded times come from a clock that the page
/// cannot change.
const NOTE: &str = "window.sent = []; const ask = window.fetch; window.fetch = (path, how = {}) => {
    sent.push({ at: performance.timeOrigin + performance.now(), path, method: how.method, key: how.headers?.['Idempotency-Key'],
      pass: how.headers?.['Purchase-Pass'] ?? null, body: how.body ? JSON.parse(how.body) : null });
    return ask(path, how);
  };";
/// Presses the button as soon as it is enabled.
const PRESS_WHEN_ENABLED: &str = "const button = document.querySelector('#buy');
    new MutationObserver(() => { if (button.textContent.startsWith('Buy now') && button.getAttribute('aria-disabled') === 'false') button.click(); })
      .observe(button, { attributes: true, childList: true, subtree: true, characterData: true });
    arguments[0]();";

/// Leaves the page's requests for the status without an answer.
const BLOCK_STATUS: &str = "const asked = window.fetch;
    window.fetch = (path, how) => (path.includes('/status') ? new Promise(() => {}) : asked(path, how)); arguments[0]();";

/// Opens a window that records the requests of its pages.
pub async fn noted(browser: &Browser) -> Tab<'_> {
    let tab = browser.tab().await;
    tab.add_init_script(NOTE).await;
    tab
}

/// Returns the `POST` requests whose address ends with `end` and that the page has sent since it
/// was loaded. Omits requests for the session.
pub async fn sent(tab: &Tab<'_>, end: &str) -> Vec<Value> {
    let sent = tab
        .eval(&format!("sent.filter(s => s.method === 'POST' && s.path !== '/v1/session' && s.path.endsWith({}))", json!(end)))
        .await;
    sent.as_array().expect("a list").clone()
}

/// Creates a sale with these requirements, and opens it.
pub async fn guarded(fixture: &ServerFixture, name: &str, front_door: Value) -> String {
    draft(fixture, name, json!({}), json!({ "front_door": front_door })).await;
    fixture.step(name, "open").await;
    name.to_owned()
}

/// Creates a sale that has these requirements at its front door and opens in `secs` seconds.
/// Returns the time of its start.
pub async fn opening(fixture: &ServerFixture, name: &str, secs: i64, front_door: Value) -> f64 {
    let (starts, starts_at) = in_secs(secs);
    draft(fixture, name, json!({}), json!({ "starts_at": starts_at, "front_door": front_door }))
        .await;
    fixture.step(name, "schedule").await;
    starts.as_millisecond() as f64
}

#[tokio::test]
async fn a_pass_is_requested_before_the_opening_and_purchases_start_with_it() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        let (soon, starts) = prepared_before_opening(12, async |soon, secs| {
            let starts = opening(&fixture, &soon, secs, json!({"pass": "required"})).await;
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.run(PRESS_WHEN_ENABLED).await;
            tab.until("sent.some(s => s.path.endsWith('/passes'))").await;
            starts
        })
        .await;
        tab.says(STATE, "1 reserved for you").await;
        let (passes, orders) = (sent(&tab, "/passes").await, sent(&tab, "/orders").await);
        let early = |request: &Value| starts - request["at"].as_f64().expect("a time");
        assert!(
            passes.len() == 1 && early(&passes[0]) > 1_000.0,
            "the page must request one pass before the start at {starts}: {passes:?}"
        );
        assert!(
            orders.iter().all(|order| order["pass"].is_string() && early(order) < 50.0),
            "{orders:?}"
        );
        assert_eq!(states(&fixture, &soon).await, ["reserved"]);
    })
    .await;
}

#[tokio::test]
async fn an_invalid_pass_is_replaced_once_within_the_press_under_the_same_key() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"pass": "required"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        let far = in_secs(3_600).1;
        let forged = json!({"buyer": "ann", "passes": {"lamp": {"pass": "forged", "item": "lamp", "expires_at": far}}});
        tab.eval(&format!("sessionStorage.setItem('doorbuster.passes.open', {})", json!(forged.to_string()))).await;
        tab.reload().await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        let orders = sent(&tab, "/orders").await;
        assert!(orders.len() == 2 && orders[0]["pass"] == "forged" && orders[1]["pass"] != "forged", "{orders:?}");
        assert_eq!(orders[0]["key"], orders[1]["key"]);
        assert_eq!(sent(&tab, "/passes").await.len(), 1);
        assert_eq!(states(&fixture, "open").await, ["reserved"]);
        // The page must use this pass again, after a reload and for another press of the button.
        tab.reload().await;
        tab.click("#act").await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(sent(&tab, "/passes").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_expired_pass_is_replaced_within_the_press() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_PASS__TTL_SECS", "5")]);
    guarded(&fixture, "open", json!({"pass": "required"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        for presses in 1..=2 {
            if presses > 1 {
                tab.click("#act").await;
            }
            tab.says(BUY, "Buy now").await;
            tab.click(BUY).await;
            tab.says(STATE, "1 reserved for you").await;
            // The page must replace an expired pass before the purchase. With the expired pass, it
            // would send the purchase twice.
            assert_eq!(
                (sent(&tab, "/passes").await.len(), sent(&tab, "/orders").await.len()),
                (presses, presses)
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_requirement_added_while_a_page_is_open_is_met_within_the_press() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.add_init_script(
            "window.WebSocket = class { constructor() { throw new Error('not now'); } };",
        )
        .await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        // The page gets neither events nor the status, so it does not learn of the change.
        tab.run(BLOCK_STATUS).await;
        let changed = json!({"front_door": {"pass": "required"}});
        assert_eq!(
            fixture.admin("PATCH", "/v1/admin/sales/open", Some(&changed)).await.status,
            200
        );
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(sent(&tab, "/passes").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_newly_required_check_opens_by_itself_after_the_press() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.add_init_script("window.WebSocket = class { constructor() { throw new Error('not now'); } };").await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Buy now").await;
        tab.run(BLOCK_STATUS).await;
        let changed = json!({"front_door": {"challenge": "image"}});
        assert_eq!(fixture.admin("PATCH", "/v1/admin/sales/open", Some(&changed)).await.status, 200);
        tab.click(BUY).await;
        tab.until("document.querySelector('#check').open && document.querySelector('#letters').naturalWidth > 0").await;
        tab.says("#tab-seen", "Picture").await;
        tab.click("#tab-work").await;
        tab.click("#work-start").await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
}

#[tokio::test]
async fn an_access_code_is_requested_checked_at_once_and_spent_with_the_pass() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "secret", json!({"access_codes": "required"})).await;
    let made = fixture
        .admin("POST", "/v1/admin/sales/secret/access-codes", Some(&json!({"count": 1, "uses": 1})))
        .await;
    let code = made.json()["codes"][0].as_str().expect("a code").to_owned();
    Browser::with_browser(async |browser| {
        let (ann, ben) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/secret", "ann")).await;
        ann.says(STATE, "You need an access code").await;
        ann.click(BUY).await;
        ann.until("document.activeElement.id === 'code-typed'").await;
        ann.keys("\u{e00c}").await;
        ann.until("!document.querySelector('#code').open && document.activeElement.id === 'buy'")
            .await;
        ann.keys("\u{e007}").await;
        ann.keys("0000-0000-0000-0000\u{e007}").await;
        ann.says("#code-said", "This code is not valid").await;
        ann.says("#code #announce", "This code is not valid").await;
        ann.has("#code-typed", "aria-invalid", "true").await;
        ann.keys(&format!("{}\u{e007}", code.to_lowercase())).await;
        ann.says(BUY, "Buy now").await;
        ann.until("!document.querySelector('#code').open && document.activeElement.id === 'buy'")
            .await;
        ann.click(BUY).await;
        ann.says(STATE, "1 reserved for you").await;

        ben.go(&link(fixture.address, "/sale/secret?lang=zh", "ben")).await;
        ben.click(BUY).await;
        ben.keys(&format!("{code}\u{e007}")).await;
        ben.says("#code-said", "邀请码无效，或已被使用。").await;
    })
    .await;
    assert_eq!(states(&fixture, "secret").await, ["reserved"]);
}

#[tokio::test]
async fn a_code_typed_before_the_start_is_sent_with_the_pass() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        let (_, starts) = prepared_before_opening(14, async |soon, secs| {
            let starts = opening(&fixture, &soon, secs, json!({"access_codes": "required"})).await;
            let codes = format!("/v1/admin/sales/{soon}/access-codes");
            let made = fixture.admin("POST", &codes, Some(&json!({"count": 1}))).await;
            let code = made.json()["codes"][0].as_str().expect("a code").to_owned();
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.says(BUY, "Enter access code").await;
            tab.click(BUY).await;
            tab.keys(&format!("{code}\u{e007}")).await;
            tab.says(STATE, "You’re all set").await;
            tab.says(BUY, "Opens in ").await;
            tab.run(PRESS_WHEN_ENABLED).await;
            starts
        })
        .await;
        tab.says(STATE, "1 reserved for you").await;
        let passes = sent(&tab, "/passes").await;
        assert!(passes.len() == 1 && passes[0]["at"].as_f64() < Some(starts), "{passes:?}");
    })
    .await;
}

#[tokio::test]
async fn a_visitor_who_may_not_buy_sees_the_requirements_before_the_start() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        opening(&fixture, "members", 600, json!({"members_only": true})).await;
        opening(&fixture, "gold", 600, json!({"min_level": 3})).await;
        guarded(&fixture, "now", json!({"members_only": true, "min_level": 3, "pass": "required"}))
            .await;
        let visit = async |sale: &str, member: bool, level: Option<u8>| {
            tab.go(&link_with_claims(
                fixture.address,
                &format!("/sale/{sale}"),
                "ann",
                member,
                level,
            ))
            .await;
        };
        visit("members", false, None).await;
        tab.says(STATE, "This sale is for members").await;
        tab.says(BUY, "For members only").await;
        tab.has(BUY, "aria-disabled", "true").await;
        visit("gold", true, Some(2)).await;
        tab.says(STATE, "This sale is for level 3 and up").await;
        tab.says("#say-text", "Your level is 2.").await;
        visit("now", true, Some(1)).await;
        tab.says(STATE, "This sale is for level 3 and up").await;
        tab.click(BUY).await;
        assert!(sent(&tab, "").await.is_empty());
        visit("gold", false, Some(3)).await;
        tab.says(BUY, "Opens in ").await;
        visit("now", true, Some(200)).await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
}

#[tokio::test]
async fn a_rate_limited_visitor_sees_when_to_press_again_and_can_then_buy() {
    let fixture = ServerFixture::start();
    // The page disables the button for ten seconds after a press, but the limit allows the next
    // request only after twenty seconds. So a press in between is refused.
    let limits = json!({"buyer": {"burst": 1, "per_minute": 3}, "ip": null, "interface": null});
    guarded(&fixture, "calm", json!({ "limits": limits })).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/calm", "ann")).await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        tab.click("#act").await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        tab.says(STATE, "Too many requests").await;
        tab.says("#say-text", "Trying more often does not improve your chances").await;
        tab.says(BUY, "Try again in ").await;
        tab.has(BUY, "aria-disabled", "true").await;
        tokio::time::timeout(Duration::from_secs(40), tab.says(BUY, "Buy now"))
            .await
            .expect("the wait ends in time");
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(states(&fixture, "calm").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_blocked_visitor_sees_the_reason_and_can_reload() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({})).await;
    let robot = json!({"kind": "buyer", "value": "robot"});
    let block = fixture.admin("POST", "/v1/admin/blocks", Some(&robot)).await;
    assert_eq!(block.status, 201, "{block}");
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "robot")).await;
        tab.click(BUY).await;
        tab.says(STATE, "You cannot buy in this sale").await;
        tab.has(BUY, "aria-disabled", "true").await;
        let path = format!("/v1/admin/blocks/{}", block.id());
        assert!(fixture.admin("DELETE", &path, None).await.status < 300);
        tab.click("#act").await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
    assert_eq!(states(&fixture, "open").await, ["reserved"]);
}
