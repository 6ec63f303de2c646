//! Tests the accessibility of the sale's page in every state before a purchase.

use serde_json::json;

use super::super::driver::Browser;
use super::super::passes::{guarded, opening};
use super::super::tab::Tab;
use super::super::{BUY, STATE, draft, link, plain};
use super::{inspect, tab};
use crate::crash_windows::fixture::ServerFixture;

/// True if the dialog shows its content.
const SHOWN: &str = "document.querySelector('#check').dataset.busy === 'false'
    && (document.querySelector('#piece').getAttribute('width') > 0 || document.querySelector('#letters').naturalWidth > 0)";

/// Changes the server's answers about a visitor's position to the answers that a busy server would
/// give. Also prevents the page from opening an event stream, which would bring the true position.
const BUSY_HOUR: &str = "const read = Response.prototype.json; Response.prototype.json = async function () {
    const data = await read.call(this);
    return data?.place ? { ...data, state: 'waiting', position: 21_200, estimate_secs: { from: 190, to: 5_400 } } : data;
  };
  window.WebSocket = class { constructor() { throw new Error('not now'); } };";

/// Changes the server's answers about a visitor's position to the answers before the draw. Also
/// prevents the page from opening an event stream, which would bring the true position.
const DRAWN: &str =
    "const read = Response.prototype.json; Response.prototype.json = async function () {
    const data = await read.call(this);
    return data?.place ? { ...data, state: 'before', position: null, estimate_secs: null } : data;
  };
  window.WebSocket = class { constructor() { throw new Error('not now'); } };";
/// Answers each `POST` request of the page with `429`, as the server does at a rate limit.
const TOO_MANY: &str = "const ask = window.fetch; window.fetch = (path, how = {}) => how.method === 'POST'
    ? Promise.resolve(new Response(JSON.stringify({ code: 'rate_limited', scope: 'interface', status: 429, retry_after_secs: 600 }),
      { status: 429, headers: { 'Content-Type': 'application/problem+json', 'Retry-After': '600' } }))
    : ask(path, how);";

async fn look(tab: &Tab<'_>, place: &str, words: &str, state: &str) {
    tab.says(place, words).await;
    inspect(tab, state).await;
}

#[tokio::test]
async fn every_check_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    for kind in ["slider", "image", "pow"] {
        guarded(&fixture, kind, json!({ "challenge": kind })).await;
    }
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        for (kind, lang) in [("slider", "en"), ("image", "zh")] {
            tab.go(&link(fixture.address, &format!("/sale/{kind}?lang={lang}"), "ann")).await;
            tab.until("document.querySelector('#buy').dataset.mode === 'go'").await;
            inspect(&tab, &format!("the check is offered, {kind}")).await;
            tab.click(BUY).await;
            tab.until(SHOWN).await;
            inspect(&tab, kind).await;
            tab.eval("document.querySelector('#typed').value ||= 'no', document.querySelector('#check-send').click()").await;
            tab.until("document.querySelector('#check-said').textContent.length > 0 && document.querySelector('#check').dataset.busy === 'false'").await;
            inspect(&tab, &format!("a wrong answer, {kind}")).await;
        }
        tab.go(&link(fixture.address, "/sale/pow?lang=en", "ann")).await;
        tab.click(BUY).await;
        tab.until("document.activeElement.id === 'work-start'").await;
        inspect(&tab, "work to do").await;
        // Replaces the worker that does the proof of work by a worker that never ends.
        tab.eval("window.Worker = class { postMessage() { this.onmessage({ data: { share: .62 } }); } terminate() {} }").await;
        tab.click("#work-start").await;
        look(&tab, "#work-text", "Working: 62 %", "work under way").await;
        tab.eval("window.fetch = () => Promise.reject(new Error('gone'))").await;
        tab.click("#check-close").await;
        tab.click(BUY).await;
        tab.click("#work-start").await;
        look(&tab, "#check-said", "The connection failed", "no connection").await;
    })
    .await;
}

#[tokio::test]
async fn the_documentation_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.load(&plain(fixture.address, "/docs#purchase")).await;
        tab.until("document.querySelector('#purchase form')?.checkVisibility()").await;
        inspect(&tab, "docs").await;
    })
    .await;
}

#[tokio::test]
async fn every_refusal_at_the_front_door_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "members", json!({"members_only": true})).await;
    guarded(&fixture, "level", json!({"min_level": 3})).await;
    guarded(&fixture, "code", json!({"access_codes": "required"})).await;
    let one = json!({"burst": 1, "per_minute": 1});
    guarded(
        &fixture,
        "limits",
        json!({"pass": "required", "limits": {"buyer": one, "ip": null, "interface": null}}),
    )
    .await;
    opening(&fixture, "soon", 3_000, json!({"waiting_room": "always", "challenge": "image"})).await;
    guarded(&fixture, "open", json!({})).await;
    let robot = json!({"kind": "buyer", "value": "robot"});
    assert_eq!(fixture.admin("POST", "/v1/admin/blocks", Some(&robot)).await.status, 201);
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.go(&link(fixture.address, "/sale/open", "robot")).await;
        tab.click(BUY).await;
        look(&tab, STATE, "You cannot buy in this sale", "blocked").await;
        let visits = [
            ("members", "en", "This sale is for members"),
            ("level", "zh", "本场仅限 3 级及以上会员"),
            ("code", "en", "You need an access code"),
            ("soon", "zh", "开抢"),
        ];
        for (sale, lang, words) in visits {
            tab.go(&link(fixture.address, &format!("/sale/{sale}?lang={lang}"), "ann")).await;
            look(&tab, STATE, words, sale).await;
        }
        tab.go(&link(fixture.address, "/sale/code?lang=en", "ann")).await;
        tab.click(BUY).await;
        tab.until("document.activeElement.id === 'code-typed'").await;
        inspect(&tab, "asked for a code").await;
        tab.keys("nonsense\u{e007}").await;
        look(&tab, "#code-said", "This code is not valid", "a wrong code").await;
        tab.go(&link(fixture.address, "/sale/limits", "ann")).await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        tab.click("#act").await;
        tab.says(BUY, "Buy now").await;
        tab.click(BUY).await;
        look(&tab, STATE, "Too many requests", "too often").await;
    })
    .await;
}

#[tokio::test]
async fn the_waiting_room_is_usable_by_everyone() {
    let fixture = ServerFixture::start();
    let room = || json!({"front_door": {"waiting_room": "always"}});
    opening(&fixture, "soon", 300, json!({"waiting_room": "always"})).await;
    draft(&fixture, "one", json!({"stock": 1, "limit_per_buyer": 1}), room()).await;
    fixture.step("one", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, ben) = (tab(browser).await, tab(browser).await);
        ben.go(&link(fixture.address, "/sale/soon", "ben")).await;
        look(&ben, STATE, "You are in the draw", "in the draw").await;
        ann.go(&link(fixture.address, "/sale/one", "ann")).await;
        look(&ann, BUY, "Join the waiting room", "before the waiting room").await;
        ann.click(BUY).await;
        look(&ann, STATE, "It’s your turn", "a turn").await;
        ben.go(&link(fixture.address, "/sale/one?lang=zh", "ben")).await;
        ben.click(BUY).await;
        look(&ben, "#clock-label", "你的排队位置", "in the waiting room").await;
        let busy = tab(browser).await;
        busy.add_init_script(BUSY_HOUR).await;
        busy.go(&link(fixture.address, "/sale/one?lang=en", "cleo")).await;
        busy.click(BUY).await;
        busy.says("#clock", "21,200").await;
        look(&busy, STATE, "About 3 to 90 minutes", "in a long line").await;
        let drawn = tab(browser).await;
        drawn.add_init_script(DRAWN).await;
        drawn.go(&link(fixture.address, "/sale/one?lang=en", "dora")).await;
        drawn.click(BUY).await;
        look(&drawn, STATE, "Drawing your position", "a place is drawn").await;
        ann.click(BUY).await;
        ann.says(STATE, "1 reserved for you").await;
        look(&ben, BUY, "等待放回", "nothing left for this position").await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_is_over_and_a_shop_that_is_full_are_usable_by_everyone() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_PASS__TTL_SECS", "10")]);
    guarded(&fixture, "turns", json!({"waiting_room": "always"})).await;
    guarded(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let (ann, ben) = (tab(browser).await, tab(browser).await);
        ann.go(&link(fixture.address, "/sale/turns?lang=en", "ann")).await;
        ann.click(BUY).await;
        ann.says(STATE, "It’s your turn").await;
        ben.add_init_script(TOO_MANY).await;
        ben.go(&link(fixture.address, "/sale/open?lang=en", "ben")).await;
        ben.click(BUY).await;
        look(&ben, STATE, "The shop is very busy", "too many at once").await;
        look(&ann, STATE, "Your time to buy is over", "a turn is over").await;
    })
    .await;
}
