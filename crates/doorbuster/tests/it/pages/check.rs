//! Tests the challenge in the page: solved by mouse, by touch, by keyboard, and without a picture.

use serde_json::{Value, json};

use super::driver::{Browser, INSECURE};
use super::passes::{guarded, noted, opening, sent};
use super::tab::Tab;
use super::{BUY, STATE, link, prepared_before_opening, states};
use crate::crash_windows::fixture::ServerFixture;
use crate::sealed::solve_sealed;

/// True if the puzzle is shown and its piece can be moved.
const PUZZLE: &str = "document.querySelector('#check').getAttribute('data-busy') === 'false'
    && document.querySelector('#piece').getAttribute('width') > 0 && document.querySelector('#scene').getAttribute('href')";
/// Until the test sets `window.hurried`, makes each new challenge expire almost immediately.
const HURRY: &str =
    "const read = Response.prototype.json; Response.prototype.json = async function () {
    const data = await read.call(this);
    if (data?.challenge && !window.hurried) {
      data.expires_at = new Date(Date.parse(data.expires_at) - 119_000).toISOString();
    }
    return data;
  };";
/// Stores the newest challenge in `window.asked`, so that the test can solve it.
const KEEP: &str =
    "const read = Response.prototype.json; Response.prototype.json = async function () {
    const data = await read.call(this);
    if (data?.challenge) window.asked = { challenge: data.challenge, kind: data.kind };
    return data;
  };";
const PIECE_X: &str = "Number(document.querySelector('#piece').getAttribute('x'))";

/// Returns the point that is `beside` pixels to the right of the middle of an element.
async fn middle(tab: &Tab<'_>, css: &str, beside: f64) -> (f64, f64) {
    let place = tab
        .eval(&format!(
            "(({{ x, y, width, height }}) => [x + width / 2, y + height / \
             2])(document.querySelector({}).getBoundingClientRect())",
            json!(css)
        ))
        .await;
    (place[0].as_f64().expect("a number") + beside, place[1].as_f64().expect("a number"))
}

async fn mouse(tab: &Tab<'_>, kind: &str, (x, y): (f64, f64)) {
    let event =
        json!({"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1});
    tab.protocol("Input.dispatchMouseEvent", event).await;
}

async fn touch(tab: &Tab<'_>, kind: &str, points: &[(f64, f64)]) {
    let points: Vec<Value> = points.iter().map(|(x, y)| json!({"x": x, "y": y})).collect();
    tab.protocol("Input.dispatchTouchEvent", json!({"type": kind, "touchPoints": points})).await;
}

async fn at(tab: &Tab<'_>) -> f64 {
    tab.eval(PIECE_X).await.as_f64().expect("a number")
}

#[tokio::test]
async fn the_puzzle_moves_by_keys_steps_mouse_and_touch_and_a_wrong_answer_brings_a_new_one() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"challenge": "slider"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Start the check").await;
        assert!(sent(&tab, "").await.is_empty(), "the page must send no request before the press");
        tab.click(BUY).await;
        tab.until(PUZZLE).await;
        let first = tab.eval("document.querySelector('#scene').getAttribute('href')").await;
        assert!(
            first.as_str().is_some_and(|image| image.starts_with("data:image/png;base64,")),
            "{first:.40}"
        );

        tab.eval("document.querySelector('#slide').focus()").await;
        tab.keys("\u{e014}\u{e014}\u{e014}").await;
        assert_eq!(at(&tab).await, 3.0, "three key presses must move the piece by three pixels");
        tab.click("#nudge-right").await;
        tab.click("#nudge-left").await;
        tab.click("#nudge-right").await;
        assert_eq!(at(&tab).await, 5.0, "steps");
        tab.has("#slide", "aria-valuetext", "5 of 272").await;

        let from = middle(&tab, "#piece", 0.0).await;
        mouse(&tab, "mousePressed", from).await;
        mouse(&tab, "mouseMoved", (from.0 + 40.0, from.1 + 5.0)).await;
        mouse(&tab, "mouseReleased", (from.0 + 40.0, from.1)).await;
        let dragged = at(&tab).await;
        assert!(dragged > 30.0 && dragged < 80.0, "the mouse moved the piece to {dragged}");
        let from = middle(&tab, "#piece", 0.0).await;
        touch(&tab, "touchStart", &[from]).await;
        for step in 1..=4 {
            touch(&tab, "touchMove", &[(from.0 + 10.0 * f64::from(step), from.1)]).await;
        }
        touch(&tab, "touchEnd", &[]).await;
        let touched = at(&tab).await;
        assert!(touched > dragged + 20.0, "the finger moved the piece from {dragged} to {touched}");

        tab.keys_to("#slide", "\u{e011}").await;
        assert_eq!(at(&tab).await, 0.0, "the piece must be at the first position");
        tab.click("#check-send").await;
        tab.says("#check-said", "Not quite. Here is a new one.").await;
        tab.says("#check #announce", "Not quite").await;
        tab.until(&format!("document.querySelector('#scene').getAttribute('href') !== {first}"))
            .await;
        tab.until("document.activeElement.id === 'slide'").await;
        let passes = sent(&tab, "/passes").await;
        assert!(passes.len() == 1 && passes[0]["body"]["answer"] == json!({"x": 0}), "{passes:?}");
        assert_eq!(sent(&tab, "/challenges").await.len(), 2);
        tab.keys("\u{e010}").await;
        assert_eq!(at(&tab).await, 272.0, "the piece must be at the last position");
        tab.keys("\u{e011}\u{e014}").await;
        tab.click("#nudge-right").await;
        tab.click("#check-send").await;
        tab.until("sent.filter(s => s.path.endsWith('/challenges')).length === 3").await;
        assert_eq!(
            sent(&tab, "/passes").await[1]["body"]["answer"],
            json!({"x": 3}),
            "the answer must be in pixels of the picture"
        );
        tab.until(PUZZLE).await;

        tab.keys("\u{e00c}").await;
        tab.until("!document.querySelector('#check').open && document.activeElement.id === 'buy'")
            .await;
        tab.says(BUY, "Start the check").await;
    })
    .await;
    assert!(states(&fixture, "open").await.is_empty());
}

/// Returns a server whose key for challenges is known, and a function that solves the challenges of
/// this server with the key.
fn transparent() -> (ServerFixture, impl AsyncFn(&Tab<'_>, &str, &str) -> Value) {
    let fixture = ServerFixture::with(&[("DOORBUSTER_PASS__KEYS", &"5a".repeat(32))]);
    (fixture, async |tab: &Tab<'_>, sale: &str, buyer: &str| {
        solve_sealed([0x5a; 32], &tab.eval("asked").await, sale, buyer)
    })
}

#[tokio::test]
async fn a_visitor_who_solves_the_puzzle_by_touch_or_keyboard_buys() {
    let (fixture, answer) = transparent();
    guarded(&fixture, "open", json!({"challenge": "slider"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.add_init_script(KEEP).await;
        for (buyer, by_finger) in [("ann", true), ("ben", false)] {
            tab.go(&link(fixture.address, "/sale/open", buyer)).await;
            tab.says(BUY, "Start the check").await;
            tab.click(BUY).await;
            tab.until(PUZZLE).await;
            let gap = answer(&tab, "open", buyer).await["x"].as_f64().expect("a number");
            if by_finger {
                // On the screen, the picture is scaled. The distance to move is the gap's position
                // in the picture, multiplied by this scale.
                let scale = tab.eval("document.querySelector('#piece').getBoundingClientRect().width / document.querySelector('#piece').getAttribute('width')").await;
                let scale = scale.as_f64().expect("a number");
                let from = middle(&tab, "#piece", 0.0).await;
                touch(&tab, "touchStart", &[from]).await;
                for step in 1..=5 {
                    let along = gap * scale * f64::from(step) / 5.0;
                    touch(&tab, "touchMove", &[(from.0 + along, from.1 + f64::from(step))]).await;
                }
                touch(&tab, "touchEnd", &[]).await;
                assert!((at(&tab).await - gap).abs() <= 1.0, "the piece is at {}, but the gap is at {gap}", at(&tab).await);
            } else {
                tab.keys_to("#slide", &"\u{e014}".repeat(gap as usize)).await;
                assert_eq!(at(&tab).await, gap);
            }
            tab.click("#check-send").await;
            tab.says(BUY, "Buy now").await;
            tab.until("!document.querySelector('#check').open && document.activeElement.id === 'buy'").await;
            tab.keys("\u{e007}").await;
            tab.says(STATE, "1 reserved for you").await;
            assert_eq!(sent(&tab, "/challenges").await.len(), 1, "the first answer must be right");
        }
    })
    .await;
    assert_eq!(states(&fixture, "open").await, ["reserved", "reserved"]);
}

#[tokio::test]
async fn a_visitor_who_types_the_picture_code_buys() {
    let (fixture, answer) = transparent();
    guarded(&fixture, "open", json!({"challenge": "image"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.add_init_script(KEEP).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.says(BUY, "Start the check").await;
        tab.click(BUY).await;
        tab.until("document.querySelector('#letters').naturalWidth > 0").await;
        tab.click("#typed").await;
        let seen = answer(&tab, "open", "ann").await["text"].as_str().expect("text").to_lowercase();
        tab.keys(&format!("{seen}\u{e007}")).await;
        tab.says(BUY, "Buy now").await;
        tab.until("!document.querySelector('#check').open && document.activeElement.id === 'buy'")
            .await;
        tab.keys("\u{e007}").await;
        tab.says(STATE, "1 reserved for you").await;
        assert_eq!(sent(&tab, "/challenges").await.len(), 1, "the first answer must be right");
    })
    .await;
    assert_eq!(states(&fixture, "open").await, ["reserved"]);
}

#[tokio::test]
async fn without_a_picture_the_device_does_the_work_and_the_buyer_presses() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"challenge": "slider"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        // With the keyboard alone, a visitor reaches the slider, then the proof of work, and then
        // its start button.
        tab.until("document.querySelector('#buy').textContent.includes('Start the check') && (document.querySelector('#buy').focus(), true)").await;
        tab.keys("\u{e007}").await;
        tab.until("document.activeElement.id === 'tab-seen'").await;
        tab.keys("\u{e014}").await;
        tab.until("document.activeElement.id === 'tab-work' && document.querySelector('#work-start').checkVisibility()").await;
        tab.keys("\u{e004}").await;
        tab.until("document.activeElement.id === 'work-start'").await;
        tab.eval("window.most = 0, new MutationObserver(() => { most = Math.max(most, document.querySelector('#work').value) }).observe(document.querySelector('#work'), { attributes: true }), true").await;
        tab.keys("\u{e007}").await;
        tab.says(BUY, "Buy now").await;
        tab.until("!document.querySelector('#check').open && document.activeElement.id === 'buy'").await;
        assert_eq!(tab.eval("most").await, 100);
        tab.says("#announce", "On sale now").await;
        let kinds: Vec<_> = sent(&tab, "/challenges").await.iter().map(|request| request["body"].clone()).collect();
        assert_eq!(kinds.last(), Some(&json!({"kind": "pow"})), "{kinds:?}");
        tab.keys("\u{e007}").await;
        tab.says(STATE, "1 reserved for you").await;

        // The visitor has done a proof of work in this browser. For the next challenge, the page
        // offers the proof of work first.
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ben")).await;
        tab.says(BUY, "开始验证").await;
        tab.click(BUY).await;
        tab.until("document.activeElement.id === 'tab-work'").await;
        tab.click("#work-start").await;
        tab.says(BUY, "立即抢购").await;
    })
    .await;
    assert_eq!(states(&fixture, "open").await, ["reserved"]);
}

#[tokio::test]
async fn a_browser_without_cryptography_functions_can_do_the_proof_of_work() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"challenge": "pow"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        // The browser does not treat this `http` address as local, so `crypto.subtle` is missing.
        let insecure = link(fixture.address, "/sale/open", "ann").replace("127.0.0.1", INSECURE);
        tab.go(&insecure).await;
        assert_eq!(tab.eval("isSecureContext || 'subtle' in crypto").await, false);
        tab.click(BUY).await;
        tab.until("document.activeElement.id === 'work-start' && !document.querySelector('#ways').checkVisibility()")
            .await;
        tab.keys("\u{e007}").await;
        // The work takes longer without `crypto.subtle`, so the test sees its progress.
        tab.says("#work-text", "%").await;
        tab.until("document.querySelector('#work').value > 20 || !document.querySelector('#check').open").await;
        tab.until("document.querySelector('#work').value > 50 || !document.querySelector('#check').open").await;
        tab.says(BUY, "Buy now").await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_code_shows_a_new_picture() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"challenge": "image"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ann")).await;
        tab.says(BUY, "开始验证").await;
        tab.click(BUY).await;
        tab.until("document.querySelector('#letters').naturalWidth > 0").await;
        let first = tab.eval("document.querySelector('#letters').src").await;
        tab.click("#check-send").await;
        tab.says("#check-said", "请先输入图中的字符。").await;
        tab.keys("nope!\u{e007}").await;
        tab.says("#check-said", "不对，已换一张。").await;
        tab.until(&format!(
            "document.querySelector('#letters').src !== {first} && document.activeElement.id === \
             'typed'"
        ))
        .await;
        assert_eq!(tab.eval("document.querySelector('#typed').value").await, "");
        let second = tab.eval("document.querySelector('#letters').src").await;
        tab.click("#check-new").await;
        tab.until(&format!("document.querySelector('#letters').src !== {second}")).await;
        assert_eq!(sent(&tab, "/passes").await[0]["body"]["answer"], json!({"text": "nope!"}));
    })
    .await;
}

#[tokio::test]
async fn an_expired_challenge_is_reported_and_a_press_gets_another_one() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"challenge": "slider"})).await;
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        tab.add_init_script(HURRY).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.click(BUY).await;
        tab.says("#check-said", "The 2 minutes are over").await;
        tab.click("#check-send").await;
        assert!(sent(&tab, "/passes").await.is_empty(), "an expired challenge must not be sent");
        tab.eval("window.hurried = true").await;
        tab.click("#check-new").await;
        tab.until(PUZZLE).await;
        tab.until("document.querySelector('#check-said').textContent === ''").await;
        assert_eq!(sent(&tab, "/challenges").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_check_is_offered_in_the_last_minute_and_done_before_the_opening() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = noted(browser).await;
        opening(&fixture, "later", 600, json!({"challenge": "slider"})).await;
        tab.go(&link(fixture.address, "/sale/later", "ann")).await;
        tab.says(BUY, "Opens in ").await;
        let (_, starts) = prepared_before_opening(24, async |soon, secs| {
            let starts = opening(&fixture, &soon, secs, json!({"challenge": "slider"})).await;
            tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
            tab.says(STATE, "A quick check first").await;
            tab.click(BUY).await;
            tab.click("#tab-work").await;
            tab.click("#work-start").await;
            tab.says(STATE, "You’re all set").await;
            tab.says(BUY, "Opens in ").await;
            tab.has(BUY, "aria-disabled", "true").await;
            starts
        })
        .await;
        assert!(sent(&tab, "/passes").await[0]["at"].as_f64() < Some(starts));
        tab.reload().await;
        tab.says(STATE, "You’re all set").await;
        tab.until("document.querySelector('#buy').textContent.startsWith('Buy now')").await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
    })
    .await;
}

#[tokio::test]
async fn the_live_region_leaves_the_dialogs_after_one_dialog_has_followed_the_other() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "both", json!({"challenge": "pow", "access_codes": "required"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/both", "ann")).await;
        tab.says(BUY, "Enter access code").await;
        tab.click(BUY).await;
        tab.until("document.activeElement.id === 'code-typed'").await;
        tab.keys("0000-0000-0000-0000\u{e007}").await;
        tab.says(BUY, "Start the check").await;
        tab.click(BUY).await;
        tab.click("#work-start").await;
        // The server checks the code after the challenge. The server refuses the code, and the
        // dialog for the code opens again.
        tab.says("#code[open] #code-said", "This code is not valid").await;
        tab.says("#code #announce", "This code is not valid").await;
        tab.keys("\u{e00c}").await;
        tab.until("!document.querySelector('dialog[open]')").await;
        tab.until("!document.querySelector('#announce').closest('dialog')").await;
    })
    .await;
}
