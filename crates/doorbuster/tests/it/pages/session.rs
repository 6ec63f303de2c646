//! Tests pages whose requests about the session cookie fail, and pages whose token expires.

use doorbuster_auth::{NewToken, token};
use serde_json::json;

use super::driver::Browser;
use super::paying::bought;
use super::{BUY, STATE, draft, in_secs, link, link_with_claims, plain, sale, states, streams};
use crate::crash_windows::client::{PurchaseSpec, SECRET};
use crate::crash_windows::fixture::ServerFixture;

/// Makes the page's first request about the session cookie fail.
const LOSE_FIRST_SESSION: &str = "{ const ask = window.fetch;
    window.lost = 0;
    window.fetch = (path, options) => {
      if (!String(path).endsWith('/v1/session') || window.lost) return ask(path, options);
      window.lost += 1;
      return Promise.reject(new TypeError('lost'));
    }; }";

#[tokio::test]
async fn a_page_that_lost_the_answer_about_the_cookie_asks_again_and_knows_the_member() {
    let fixture = ServerFixture::start();
    let door = json!({"front_door": {"members_only": true}});
    draft(&fixture, "members", json!({}), door).await;
    fixture.step("members", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        ann.go(&link_with_claims(fixture.address, "/sale/members", "ann", true, None)).await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        other.add_init_script(LOSE_FIRST_SESSION).await;
        other.go(&plain(fixture.address, "/sale/members")).await;
        other.says(BUY, "Buy now").await;
        assert_eq!(other.eval("window.lost").await, 1, "the page must lose one request");
    })
    .await;
}

#[tokio::test]
async fn a_page_repeats_a_lost_request_to_put_the_token_into_the_cookie() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.add_init_script(LOSE_FIRST_SESSION).await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.until("localStorage['doorbuster.session'] === 'true'").await;
        assert_eq!(tab.eval("window.lost").await, 1, "the page must lose one request");
    })
    .await;
}

/// While `window.loses` is true, makes every request for the claims in the cookie fail. Also stores
/// an unfinished press of ann: a purchase whose answer an earlier page of this tab did not get.
const LOSE_SESSIONS: &str = "if (location.protocol === 'http:') { const ask = window.fetch;
    window.loses = true;
    window.fetch = (path, options) => window.loses && String(path).endsWith('/v1/session')
      ? Promise.reject(new TypeError('lost')) : ask(path, options);
    sessionStorage.setItem('doorbuster.press.members', JSON.stringify(
      { key: 'k', buyer: 'ann', sale: 'members', item: 'lamp', units: 1 })); }";

#[tokio::test]
async fn a_page_shows_the_sale_before_it_knows_the_buyer_and_then_continues_the_press() {
    let fixture = ServerFixture::start();
    let door = json!({"front_door": {"members_only": true}});
    draft(&fixture, "members", json!({}), door).await;
    fixture.step("members", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        ann.go(&link_with_claims(fixture.address, "/sale/members", "ann", true, None)).await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        other.add_init_script(LOSE_SESSIONS).await;
        other.load(&plain(fixture.address, "/sale/members")).await;
        other.says("#price", "€49.00").await;
        other.until("document.querySelector('#name').checkVisibility()").await;
        // The page does not know the buyer yet. The buyer is signed in, so the page must not ask
        // the buyer to sign in.
        other.says(STATE, "Checking your account").await;
        other.says(BUY, "One moment…").await;
        other.eval("window.loses = false").await;
        other.says(STATE, "1 reserved for you").await;
    })
    .await;
}

/// Answers the first request for the claims in the cookie with `503` and a wait of five minutes.
/// The test can end this wait with `window.end_wait()`. Also stores a press of the button by the
/// buyer ann that had no answer, and presses the button whenever it is enabled.
const REFUSE_FIRST_SESSION: &str = "if (location.protocol === 'http:') {
    const ask = window.fetch, wait = window.setTimeout;
    Object.assign(window, { end_wait: null, refused: false, polls: 0, keys: [] });
    window.setTimeout = (run, ms, ...given) => {
      if (ms !== 300_000) return wait(run, ms, ...given);
      window.end_wait = run;
      return 0;
    };
    window.fetch = (path, options) => {
      const key = options?.headers?.['Idempotency-Key'];
      if (key) window.keys.push(key);
      if (window.end_wait && String(path).includes('/status?')) window.polls += 1;
      if (!String(path).endsWith('/v1/session') || window.refused) return ask(path, options);
      window.refused = true;
      const headers = { 'Retry-After': '300' };
      return Promise.resolve(new Response('{}', { status: 503, headers }));
    };
    setInterval(() => {
      const buy = document.querySelector('#buy');
      if (buy?.getAttribute('aria-disabled') === 'false') buy.click();
    }, 50);
    sessionStorage.setItem('doorbuster.press.members', JSON.stringify(
      { key: 'k', buyer: 'ann', sale: 'members', item: 'lamp', units: 1 })); }";

#[tokio::test]
async fn a_press_never_replaces_the_unfinished_press_of_a_buyer_who_is_not_known_yet() {
    let fixture = ServerFixture::start();
    let door = json!({"front_door": {"members_only": true}});
    draft(&fixture, "members", json!({}), door).await;
    fixture.step("members", "open").await;
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        ann.go(&link_with_claims(fixture.address, "/sale/members", "ann", true, None)).await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        other.add_init_script(REFUSE_FIRST_SESSION).await;
        other.load(&plain(fixture.address, "/sale/members")).await;
        // The page requests the status a second time only after it has processed the first answer.
        // If the page sent a press of the unknown buyer, it would have sent it before this.
        other.until("window.polls >= 2").await;
        other.eval("window.end_wait()").await;
        other.says(STATE, "1 reserved for you").await;
        assert_eq!(other.eval("window.keys").await, json!(["k"]));
    })
    .await;
    assert_eq!(states(&fixture, "members").await, ["reserved"]);
}

#[tokio::test]
async fn an_order_page_with_an_expired_token_uses_the_cookie_of_another_tab() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    let order = fixture.buy(&PurchaseSpec::new("ann", "k", "open", 1).item("lamp")).await.id();
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/open", "ann")).await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        let path = format!("/order/{order}#token=expired");
        other.go(&plain(fixture.address, &path)).await;
        other.says("#state", "Reserved for you").await;
    })
    .await;
}

/// Stores an unfinished press of ann. Holds back the refusal of this press until the page reads the
/// orders with the cookie's token in place of the refused token.
const REFUSE_PRESS_LATE: &str = "if (location.protocol === 'http:') {
    const ask = window.fetch;
    let release;
    const is_replaced = new Promise(done => { release = done; });
    window.fetch = async (path, how) => {
      if (how?.headers?.['X-Doorbuster-Page'] && path.startsWith('/v1/orders?')) release();
      const answer = await ask(path, how);
      if (how?.method === 'POST' && path === '/v1/orders' && answer.status === 401)
        await is_replaced;
      return answer;
    };
    localStorage.setItem('doorbuster.bought.open', JSON.stringify('ann'));
    sessionStorage.setItem('doorbuster.press.open', JSON.stringify(
      { key: 'k', buyer: 'ann', sale: 'open', item: 'lamp', units: 1 })); }";
/// A token of ann that the server refuses. Its claims are `{"sub":"ann"}`.
const REFUSED_TOKEN: &str = "x.eyJzdWIiOiJhbm4ifQ.x";

#[tokio::test]
async fn a_press_continues_with_the_token_that_replaced_a_refused_one() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let (ann, other) = (browser.tab().await, browser.tab().await);
        ann.go(&link(fixture.address, "/sale/open", "ann")).await;
        ann.until("localStorage['doorbuster.session'] === 'true'").await;
        other.add_init_script(REFUSE_PRESS_LATE).await;
        let path = format!("/sale/open#token={REFUSED_TOKEN}");
        other.load(&plain(fixture.address, &path)).await;
        other.says(STATE, "1 reserved for you").await;
    })
    .await;
    assert_eq!(states(&fixture, "open").await, ["reserved"]);
}

/// Removes the cookie from the page's requests about orders and the session, and puts an expired
/// token into these requests, so that the server refuses the requests.
const EXPIRE_TOKEN: &str = "(window.ask = window.fetch, window.fetch = (path, how = {}) =>
    ask(path, /orders|session/.test(path) ? { ...how, credentials: 'omit',
      headers: { ...how.headers, Authorization: 'Bearer expired' } } : how), true)";

#[tokio::test]
async fn a_buyer_whose_token_expires_after_the_purchase_is_asked_to_sign_in() {
    let fixture = ServerFixture::start();
    sale(&fixture, "open", json!({})).await;
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&link(fixture.address, "/sale/open", "ann")).await;
        tab.click(BUY).await;
        tab.says(STATE, "1 reserved for you").await;
        streams(&fixture, 1).await;
        tab.eval(EXPIRE_TOKEN).await;
        // After the event about this order, the page reads the buyer's orders.
        bought(&fixture, "ann", "k", "open").await;
        tab.says(BUY, "Sign in to buy").await;
        assert_eq!(tab.eval("sessionStorage['doorbuster.token'] ?? null").await, json!(null));
    })
    .await;
}

#[tokio::test]
async fn a_page_asks_the_buyer_to_sign_in_before_a_press_if_the_token_has_expired() {
    let fixture = ServerFixture::start();
    let (_, later) = in_secs(7_200);
    draft(&fixture, "soon", json!({}), json!({"starts_at": later})).await;
    fixture.step("soon", "schedule").await;
    let an_hour_ago = in_secs(-3_600).0.as_second();
    let claims = NewToken::new("ann", an_hour_ago, std::time::Duration::from_secs(60));
    let path = format!("/sale/soon#token={}", token(SECRET.as_bytes(), &claims));
    Browser::with_browser(async |browser| {
        let tab = browser.tab().await;
        tab.go(&plain(fixture.address, &path)).await;
        // Before the start, no answer tells the page that the token has expired. So the page must
        // notice this by its clock.
        tab.says(STATE, "Sign in at the shop to buy").await;
        assert_eq!(tab.eval("sessionStorage['doorbuster.token'] ?? null").await, json!(null));
    })
    .await;
}
