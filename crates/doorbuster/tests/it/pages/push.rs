//! Tests web push in a real browser. A page subscribes. When a message arrives, the service worker
//! shows only what is still true.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::driver::Browser;
use super::tab::Tab;
use super::{BUY, draft, in_secs, link, plain};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;

/// The settings for web push. The key is from the example in RFC 8291.
const SETTINGS: [(&str, &str); 3] = [
    ("DOORBUSTER_PAGE__PUSH__KEY", "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
    ("DOORBUSTER_PAGE__PUSH__CONTACT", "mailto:shop@example.com"),
    ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
];
/// Makes the browser subscribe without a push service. The subscription's endpoint is an address at
/// which no server listens.
const SUBSCRIBE: &str = "PushManager.prototype.subscribe = async options => ({ toJSON: () => (
    options.userVisibleOnly && options.applicationServerKey.length === 65 && {
      endpoint: 'http://127.0.0.1:9/p', keys: {
        p256dh: 'BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4',
        auth: 'BTBZMqHH6r4Tts7J_aSIgg' } }) });";
/// The browser numbers its service workers, and the tests register fewer workers than this in one
/// browser. So a message to each smaller number reaches the test's worker.
const WORKERS_MAX: u32 = 40;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Returns the title and the text of each notification of this origin.
const SHOWN: &str = "const done = arguments[0];
    navigator.serviceWorker.getRegistration('/').then(it => it.getNotifications())
      .then(all => done(all.map(one => [one.title, one.body])));";
const CLEAR: &str = "const done = arguments[0];
    navigator.serviceWorker.getRegistration('/').then(it => it.getNotifications())
      .then(all => { all.forEach(one => one.close()); done(null); });";

/// Removes all notifications, and delivers a message to the service worker of this origin.
async fn push(tab: &Tab<'_>, origin: &str, message: &Value) {
    tab.run(CLEAR).await;
    tab.protocol("ServiceWorker.enable", json!({})).await;
    // The browser numbers the service workers of all origins together, and the test does not know
    // the number of its worker. So the test tries each number. The browser ignores a message to a
    // number of another origin.
    for worker in 0..WORKERS_MAX {
        let push = json!({"origin": origin, "registrationId": worker.to_string(),
                          "data": message.to_string()});
        tab.protocol("ServiceWorker.deliverPushMessage", push).await;
    }
}

/// Waits until there is exactly one notification. Returns its title and text.
async fn shown(tab: &Tab<'_>) -> (String, String) {
    let begun = Instant::now();
    loop {
        let shown = tab.run(SHOWN).await;
        if let [one] = shown.as_array().expect("a list").as_slice() {
            let text = |at: usize| one[at].as_str().expect("a text").to_owned();
            return (text(0), text(1));
        }
        assert!(
            begun.elapsed() < TIMEOUT,
            "timed out; expected one notification, but found {shown}"
        );
    }
}

/// Delivers a message while no page is visible. Returns the notification's title and text.
async fn deliver(tab: &Tab<'_>, origin: &str, message: Value) -> (String, String) {
    tab.minimized(true).await;
    tab.until("document.visibilityState === 'hidden'").await;
    push(tab, origin, &message).await;
    let shown = shown(tab).await;
    tab.minimized(false).await;
    tab.until("document.visibilityState === 'visible'").await;
    shown
}

#[tokio::test]
async fn a_message_is_in_the_pages_language_and_promises_only_what_is_still_true() {
    let fixture = ServerFixture::with(&SETTINGS);
    let title = json!({"en": "Ora lamp", "zh": "奥拉灯"});
    draft(&fixture, "open", json!({"title": title}), json!({})).await;
    fixture.step("open", "open").await;
    draft(&fixture, "room", json!({}), json!({"front_door": {"waiting_room": "always"}})).await;
    fixture.step("room", "open").await;
    let origin = plain(fixture.address, "");
    Browser::with_notifications(async |browser| {
        let tab = browser.tab().await;
        let grant = json!({"origin": origin, "permissions": ["notifications"]});
        tab.protocol("Browser.grantPermissions", grant).await;
        tab.add_init_script(SUBSCRIBE).await;
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ann")).await;
        tab.says(BUY, "立即抢购").await;
        // The worker needs the session cookie to know the buyer, so the test waits until the page
        // has it.
        tab.until("localStorage['doorbuster.session'] === 'true'").await;
        tab.click("#notify").await;
        tab.says("#remind-note", "关闭").await;
        tab.has("#notify", "aria-pressed", "true").await;
        assert_eq!(fixture.metric("doorbuster_push_subscriptions").await, 1);
        let bought = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 1).item("lamp")).await;
        assert_eq!(bought.status, 201, "{bought}");
        let order = bought.id();
        let until = in_secs(600).0.as_millisecond();
        let reserved = json!({"kind": "reserved", "title": title, "until": until,
                              "url": format!("/order/{order}")});
        // The message is about an order, and the visible page is that of the sale, so the worker
        // shows a notification.
        push(&tab, &origin, &reserved).await;
        let (words, _) = shown(&tab).await;
        assert!(words.starts_with("已为你保留，请在 "), "{words}");
        // From here on, the tab has a page that shows no news. So only the worker can show a
        // notification.
        tab.load(&plain(fixture.address, "/docs")).await;
        let (words, body) = deliver(&tab, &origin, reserved.clone()).await;
        assert!(words.starts_with("已为你保留，请在 ") && words.contains(" GMT"), "{words}");
        assert_eq!(body, "奥拉灯");
        let page = "method: 'POST', headers: { 'X-Doorbuster-Page': '1' }";
        tab.run(&format!("fetch('/v1/orders/{order}/cancel', {{ {page} }}).then(arguments[0])"))
            .await;
        let (words, _) = deliver(&tab, &origin, reserved.clone()).await;
        assert_eq!(words, "该订单无需付款");
        let turn = json!({"kind": "turn", "title": "Lamps", "until": until, "url": "/sale/room"});
        let (words, body) = deliver(&tab, &origin, turn.clone()).await;
        assert_eq!((words.as_str(), body.as_str()), ("你的抢购时间已结束", ""));
        // The visible page is not the page of the sale `room`, so the worker shows a notification.
        push(&tab, &origin, &turn).await;
        assert_eq!(shown(&tab).await.0, "你的抢购时间已结束");
        // Without the cookie, the worker cannot read the order, and the buyer may have signed out.
        // So the notification must not name the product.
        let end = page.replace("POST", "DELETE");
        tab.run(&format!("fetch('/v1/session', {{ {end} }}).then(arguments[0])")).await;
        let (words, body) = deliver(&tab, &origin, reserved.clone()).await;
        assert!(words.starts_with("如果订单待付款，请在 ") && body.is_empty(), "{words}: {body}");
        tab.eval("(sessionStorage.clear(), localStorage.clear())").await;
        tab.go(&link(fixture.address, "/sale/open?lang=zh", "ben")).await;
        tab.until("localStorage['doorbuster.session'] === 'true'").await;
        tab.load(&plain(fixture.address, "/docs")).await;
        let other = deliver(&tab, &origin, reserved).await;
        assert_eq!(other, ("此消息属于其他账号".to_owned(), String::new()));
    })
    .await;
}
