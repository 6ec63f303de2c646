//! Tests the session of the console while the server does not answer, and after the session's key
//! was deleted.

use serde_json::json;

use super::super::driver::Browser;
use super::console::{fill, open_view, press, shows, sign_in, sign_in_with};
use super::console_changes::signal;
use super::draft;
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::KEY;

/// Answers the page's first two requests for the session with `503`, like a server whose database
/// is down.
const NO_STORE: &str = "const send = window.fetch;
  let asked = 0;
  window.fetch = (path, options) =>
    path === '/v1/admin/session' && options.method === 'GET' && asked++ < 2
      ? Promise.resolve(new Response('{\"detail\":\"the store is away\"}', { status: 503 }))
      : send(path, options);";

#[tokio::test]
async fn a_failed_sign_out_is_reported_and_the_session_stays() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        signal(&fixture, "-STOP");
        press(&tab, "Sign out").await;
        shows(&tab, "The sign-out failed, so you are still signed in.").await;
        signal(&fixture, "-CONT");
        shows(&tab, "New sale").await;
        press(&tab, "Sign out").await;
        shows(&tab, "Operator’s key").await;
    })
    .await;
}

#[tokio::test]
async fn a_form_keeps_its_text_when_the_key_of_the_session_is_deleted() {
    let fixture = ServerFixture::start();
    draft(&fixture, "spring", json!({}), json!({})).await;
    let body = json!({"name": "night shift", "role": "operator"});
    let made = fixture.admin("POST", "/v1/admin/keys", Some(&body)).await.json();
    let [id, key] = ["id", "key"].map(|name| made[name].as_str().expect("a text"));
    let title = async || fixture.get_ok("/v1/admin/sales/spring").await["title"].clone();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in_with(&tab, &fixture, key).await;
        shows(&tab, "New sale").await;
        open_view(&tab, "#/sales/spring/edit").await;
        fill(&tab, "Title", 0, "Typed title").await;
        let gone = fixture.admin("DELETE", &format!("/v1/admin/keys/{id}"), None).await;
        assert_eq!(gone.status, 204, "{gone}");
        press(&tab, "Save").await;
        shows(&tab, "The session has ended.").await;
        assert_ne!(title().await, "Typed title", "the deleted key must change nothing");
        fill(&tab, "Operator’s key", 0, KEY).await;
        press(&tab, "Sign in").await;
        tab.until("!document.querySelector('.signin')").await;
        press(&tab, "Save").await;
        shows(&tab, "Saved.").await;
        assert_eq!(title().await, "Typed title");

        press(&tab, "Sign out").await;
        let mut said = String::new();
        // The limit counts the wrong keys in each minute. If a new minute begins during the first
        // round, that round may not reach the limit. In this case, the second round reaches it.
        for _ in 0..2 {
            for _ in 0..10 {
                let wrong = json!({"key": "dbk_wrong"});
                fixture.admin("POST", "/v1/admin/session", Some(&wrong)).await;
            }
            fill(&tab, "Operator’s key", 0, "dbk_wrong").await;
            press(&tab, "Sign in").await;
            tab.until("document.querySelector('.signin [role=alert]')").await;
            said.push_str(&tab.text(".signin [role=alert]").await);
        }
        assert!(said.contains("Too many requests. Try again in "), "{said}");
    })
    .await;
}

#[tokio::test]
async fn a_dialog_keeps_its_text_while_the_operator_signs_in_again() {
    let fixture = ServerFixture::start();
    let door = json!({"front_door": {"waiting_room": "always"}});
    draft(&fixture, "spring", json!({}), door).await;
    fixture.step("spring", "open").await;
    let body = json!({"name": "night shift", "role": "operator"});
    let made = fixture.admin("POST", "/v1/admin/keys", Some(&body)).await.json();
    let [id, key] = ["id", "key"].map(|name| made[name].as_str().expect("a text"));
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in_with(&tab, &fixture, key).await;
        shows(&tab, "New sale").await;
        open_view(&tab, "#/sales/spring").await;
        press(&tab, "Admit more").await;
        fill(&tab, "Visitors", 0, "20").await;
        fill(&tab, "Reason", 0, "units came back").await;
        let gone = fixture.admin("DELETE", &format!("/v1/admin/keys/{id}"), None).await;
        assert_eq!(gone.status, 204, "{gone}");
        shows(&tab, "The session has ended.").await;
        // A modal dialog would keep the focus away from the form.
        tab.until("!document.querySelector('dialog[open]')").await;
        fill(&tab, "Operator’s key", 0, KEY).await;
        press(&tab, "Sign in").await;
        tab.until("document.querySelector('dialog[open]')?.checkVisibility()").await;
        // After each typed letter, the page draws the dialog again. This redraw must not change the
        // number of visitors.
        fill(&tab, "Type “admit” to confirm", 0, "admit").await;
        tab.until("document.querySelector('dialog .button--danger').ariaDisabled === 'false'")
            .await;
        let sent = tab
            .eval("Object.fromEntries(new FormData(document.querySelector('dialog[open] form')))");
        let sent = sent.await;
        assert_eq!((&sent["visitors"], &sent["reason"]), (&json!("20"), &json!("units came back")));
        press(&tab, "Keep as it is").await;
        tab.until("!document.querySelector('dialog')").await;
    })
    .await;
}

#[tokio::test]
async fn a_page_that_loads_while_the_store_is_away_waits_for_it() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        sign_in(&tab, &fixture).await;
        tab.add_init_script(NO_STORE).await;
        tab.load(&format!("http://{}/console?again", fixture.address)).await;
        shows(&tab, "the store is away").await;
        assert_eq!(
            tab.eval("document.querySelector('input[name=key]')").await,
            serde_json::Value::Null
        );
        shows(&tab, "New sale").await;
    })
    .await;
}

#[tokio::test]
async fn a_failed_sign_in_at_the_issuer_is_shown_until_the_next_good_sign_in() {
    let fixture = ServerFixture::start();
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.load(&format!("http://{}/console?lang=en&sign-in=failed", fixture.address)).await;
        shows(&tab, "The sign-in did not work.").await;
        fill(&tab, "Operator’s key", 0, KEY).await;
        press(&tab, "Sign in").await;
        shows(&tab, "New sale").await;
        press(&tab, "Sign out").await;
        shows(&tab, "Operator’s key").await;
        let seen = tab.text("body").await;
        assert!(!seen.contains("The sign-in did not work."), "{seen}");
    })
    .await;
}
