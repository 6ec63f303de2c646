//! The session of the console while the server does not answer.

use super::super::driver::Browser;
use super::console::{press, shows, sign_in};
use super::console_changes::signal;
use crate::crash_windows::fixture::ServerFixture;

/// Answers the first two session requests with `503`, like a server whose database is down.
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
