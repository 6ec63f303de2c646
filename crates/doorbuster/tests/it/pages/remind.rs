//! Tests how a page calls a buyer who looks at another tab: by the tab's title, a sound, and a
//! notification.

use serde_json::json;

use super::driver::Browser;
use super::passes::guarded;
use super::tab::Tab;
use super::{BUY, draft, in_secs, link, plain, prepared_before_opening};
use crate::crash_windows::fixture::ServerFixture;

/// Counts the tones that the page plays and its requests for permission to notify, and records the
/// notifications. Replaces the event stream, so that the test can send events.
const RECORD: &str = "window.notes = 0; window.asked = 0; window.shown = [];
  const start = AudioScheduledSourceNode.prototype.start;
  OscillatorNode.prototype.start = function (at) { window.notes += 1; start.call(this, at); };
  window.Notification = class {
    static permission = 'default';
    static requestPermission() {
      window.asked += 1;
      this.permission = 'granted';
      return Promise.resolve('granted');
    }
    constructor(words) { window.shown.push(words); }
  };
  window.WebSocket = class { constructor() { window.socket = this; } close() {} };
  window.hear = event => window.socket.onmessage({ data: JSON.stringify(event) });";
/// The number of tones in one reminder sound.
const SOUND: u64 = 3;

async fn count(tab: &Tab<'_>, what: &str) -> u64 {
    tab.eval(what).await.as_u64().expect("a number")
}

/// Sends the page an event about the buyer's position in the waiting room.
async fn hear(tab: &Tab<'_>, state: &str, position: Option<u32>) {
    let place = json!({"type": "waiting_room", "sale": "open", "item": null, "place": "plc_1",
        "state": state, "position": position, "estimate_secs": null,
        "admitted_until": position.is_none().then(|| in_secs(60).1)});
    tab.eval(&format!("hear({place})")).await;
}

#[tokio::test]
async fn the_opening_changes_the_title_and_plays_the_sound_that_the_buyer_switched_on() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let (loud, quiet) = (browser.tab().await, browser.tab().await);
        for tab in [&loud, &quiet] {
            tab.add_init_script(RECORD).await;
        }
        prepared_before_opening(10, async |soon, secs| {
            draft(&fixture, &soon, json!({}), json!({ "starts_at": in_secs(secs).1 })).await;
            fixture.step(&soon, "schedule").await;
            // All pages of a browser share the choice to play a sound. An earlier attempt may have
            // stored this choice, so the test clears it. The quiet page opens first and must stay
            // quiet.
            loud.load(&plain(fixture.address, "/favicon.ico")).await;
            loud.eval("localStorage.clear()").await;
            for tab in [&quiet, &loud] {
                tab.go(&link(fixture.address, &format!("/sale/{soon}"), "ann")).await;
                tab.until("document.title.startsWith('Opens in 0')").await;
                assert_eq!(
                    count(tab, "window.asked").await,
                    0,
                    "the page must not ask for permission by itself"
                );
            }
            loud.eval("window.notes = 0").await;
            loud.click("#sound").await;
            loud.until(&format!("window.notes === {SOUND}")).await;
        })
        .await;
        loud.until("document.title.startsWith('Open now – ')").await;
        loud.until(&format!("window.notes === {}", 2 * SOUND)).await;
        quiet.until("document.title.startsWith('Open now – ')").await;
        assert_eq!(count(&quiet, "window.notes").await, 0);
        assert_eq!(
            count(&loud, "window.shown.length").await,
            0,
            "the page must show no notification, because the buyer did not allow notifications"
        );
    })
    .await;
}

#[tokio::test]
async fn a_buyer_in_another_tab_is_called_before_the_turn_and_at_the_turn() {
    let fixture = ServerFixture::start();
    guarded(&fixture, "open", json!({"waiting_room": "always"})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(RECORD).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.click("#sound").await;
        tab.click("#notify").await;
        tab.until("window.asked === 1").await;
        tab.click(BUY).await;
        // The page stores this value when it has the answer with the position.
        tab.until("!!window.socket && !!sessionStorage.getItem('doorbuster.room.open')").await;
        // From here on, requests about the position get no answer. So the page knows only what the
        // test's events say.
        tab.eval(
            "(window.ask = window.fetch, window.fetch = (path, how) => \
            path.includes('/waiting-room') ? new Promise(() => {}) : ask(path, how), true)",
        )
        .await;
        hear(&tab, "waiting", Some(4)).await;
        tab.says("#stock", "4").await;
        tab.eval("Object.defineProperty(document, 'hidden', { get: () => true })").await;
        tab.eval("(window.notes = 0, window.shown = [])").await;
        hear(&tab, "waiting", Some(3)).await;
        tab.until("document.title.startsWith('Your turn is near – ')").await;
        tab.until("window.shown.includes('Your turn is near')").await;
        tab.until(&format!("window.notes === {SOUND}")).await;
        hear(&tab, "admitted", None).await;
        tab.until("document.title.startsWith('It’s your turn – ')").await;
        tab.until("window.shown.includes('It’s your turn')").await;
        tab.until(&format!("window.notes === {}", 2 * SOUND)).await;
    })
    .await;
}
