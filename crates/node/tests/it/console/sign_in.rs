//! Tests the sign-in of operators with OpenID Connect. The test acts as the issuer.

use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderMap;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{CONSOLE, actions};
use crate::app::{FAR_FUTURE, TestApp};
use crate::http::Reply;

const CLIENT: &str = "door:buster";
const SECRET: &str = "a:secret";

/// A visit of the browser to the issuer: the query of the address, and the claims of the person who
/// signed in.
type Visit = (Vec<(String, String)>, Value);

struct Issuer {
    address: String,
    key: Ed25519KeyPair,
    visit: Mutex<Option<Visit>>,
}

/// The running issuer. It stops when this value is dropped.
struct StandIn {
    issuer: Arc<Issuer>,
    task: JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let key = Ed25519KeyPair::generate().expect("a key");
        let issuer = Arc::new(Issuer { address, key, visit: Mutex::default() });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(issuer.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self { issuer, task }
    }

    /// Records the browser's visit to `location`, where a person with these claims signs in.
    /// Returns the query with which the browser comes back to the server.
    fn sign_in(&self, location: &str, claims: Value) -> String {
        let url = Url::parse(location).expect("an address");
        let pairs: Vec<(String, String)> =
            url.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
        let state = value_of(&pairs, "state");
        let query = format!("code=c0de&state={state}");
        *self.issuer.visit.lock().expect("no panic") = Some((pairs, claims));
        query
    }
}

fn value_of(pairs: &[(String, String)], name: &str) -> String {
    let found = pairs.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

async fn configuration(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let address = &issuer.address;
    Json(json!({
        "issuer": address,
        "authorization_endpoint": format!("{address}/authorize"),
        "token_endpoint": format!("{address}/token"),
        "jwks_uri": format!("{address}/keys"),
    }))
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let x = b64(issuer.key.public_key().as_ref());
    Json(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x}]}))
}

/// Answers as the issuer's token endpoint. Checks the client and the code verifier, and signs a
/// token with the claims of the visit.
async fn token(
    State(issuer): State<Arc<Issuer>>,
    headers: HeaderMap,
    body: String,
) -> Result<Json<Value>, http::StatusCode> {
    let form = Url::parse(&format!("http://localhost/?{body}")).expect("a form");
    let form: Vec<(String, String)> =
        form.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
    let (visit, claims) =
        issuer.visit.lock().expect("no panic").take().ok_or(http::StatusCode::BAD_REQUEST)?;
    let basic = format!("Basic {}", STANDARD.encode("door%3Abuster:a%3Asecret"));
    let challenge = b64(digest(&SHA256, value_of(&form, "code_verifier").as_bytes()).as_ref());
    let holds = headers.get("authorization").is_some_and(|sent| sent == basic.as_str())
        && value_of(&form, "grant_type") == "authorization_code"
        && value_of(&form, "code") == "c0de"
        && value_of(&form, "redirect_uri") == value_of(&visit, "redirect_uri")
        && value_of(&visit, "code_challenge_method") == "S256"
        && value_of(&visit, "code_challenge") == challenge;
    if !holds {
        return Err(http::StatusCode::BAD_REQUEST);
    }
    let mut all = json!({
        "iss": issuer.address, "aud": CLIENT, "exp": FAR_FUTURE, "iat": 1,
        "nonce": value_of(&visit, "nonce"),
    });
    for (name, value) in claims.as_object().expect("an object") {
        all[name] = value.clone();
    }
    let header = b64(json!({"alg": "EdDSA", "kid": "one"}).to_string().as_bytes());
    let message = format!("{header}.{}", b64(all.to_string().as_bytes()));
    let signature = b64(issuer.key.sign(message.as_bytes()).as_ref());
    Ok(Json(json!({"id_token": format!("{message}.{signature}"), "access_token": "of-no-use",
        "token_type": "Bearer"})))
}

async fn start(issuer: &str) -> TestApp {
    TestApp::with(&[
        ("DOORBUSTER_PAGE__URL", "https://shop.example"),
        ("DOORBUSTER_CONSOLE__OIDC__ISSUER", issuer),
        ("DOORBUSTER_CONSOLE__OIDC__CLIENT_ID", CLIENT),
        ("DOORBUSTER_CONSOLE__OIDC__CLIENT_SECRET", SECRET),
        ("DOORBUSTER_CONSOLE__OIDC__OPERATORS", "night-shift,day-shift"),
    ])
    .await
}

/// Returns the whole value of the header `Set-Cookie` that sets the cookie `name`.
fn set_cookie(reply: &Reply, name: &str) -> Option<String> {
    let start = format!("{name}=");
    let is_it = |(header, value): &&(String, String)| {
        header.eq_ignore_ascii_case("set-cookie") && value.starts_with(&start)
    };
    reply.headers.iter().find(is_it).map(|(_, value)| value.clone())
}

fn pair(cookie: &str) -> &str {
    cookie.split(';').next().expect("a pair")
}

/// Begins a sign-in. Returns the address at the issuer, and the cookie of this attempt.
async fn begin(app: &TestApp) -> (String, String) {
    let begun = app.get("/console/sign-in").await;
    assert_eq!(begun.status, 303);
    let attempt = set_cookie(&begun, "doorbuster_sign_in").expect("an attempt");
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/console", "; Max-Age=600", "; Secure"] {
        assert!(attempt.contains(part), "{attempt} lacks {part}");
    }
    (begun.header("location").expect("an address").to_owned(), pair(&attempt).to_owned())
}

async fn come_back(app: &TestApp, query: &str, attempt: &str) -> Reply {
    let path = format!("/console/callback?{query}");
    app.call("GET", &path, &[("cookie", attempt)], b"").await
}

fn person(groups: Value) -> Value {
    json!({"sub": "4711", "name": "Ann", "groups": groups})
}

#[tokio::test]
async fn an_operator_signs_in_with_an_account_of_the_issuer() {
    let stand_in = StandIn::start().await;
    let app = start(&stand_in.issuer.address).await;
    let page = app.get("/console").await;
    assert!(page.text().contains("<div id=\"app\" data-issuer"), "the page must offer the sign-in");
    let (location, attempt) = begin(&app).await;
    assert!(location.starts_with(&format!("{}/authorize?", stand_in.issuer.address)), "{location}");
    let query = stand_in.sign_in(&location, person(json!(["day-shift", "other"])));
    let done = come_back(&app, &query, &attempt).await;
    assert_eq!((done.status, done.header("location")), (303, Some("/console?signed-in")));
    assert!(set_cookie(&done, "doorbuster_sign_in").is_some_and(|c| c.contains("Max-Age=0")));
    let session = set_cookie(&done, "doorbuster_session").expect("a session");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age=28800", "; Secure"] {
        assert!(session.contains(part), "{session} lacks {part}");
    }
    let cookie = [("cookie", pair(&session)), CONSOLE];
    let who = app.call("GET", "/v1/admin/session", &cookie[..1], b"").await.json();
    assert_eq!(who["key"], json!({"id": "oidc:4711", "name": "Ann"}));
    assert_eq!(who["role"], "operator");
    assert!(who["expires_at"].is_string());
    let refused = app.call("POST", "/v1/admin/keys", &cookie, b"").await;
    assert_eq!(refused.verdict(), "403 forbidden", "an operator must not create keys");
    let forged = app.call("DELETE", "/v1/admin/session", &cookie[..1], b"").await;
    assert_eq!(
        forged.verdict(),
        "403 forbidden",
        "a request without the console's header must be refused"
    );
    assert_eq!(app.call("DELETE", "/v1/admin/session", &cookie, b"").await.verdict(), "204");
    let ended = app.call("GET", "/v1/admin/session", &cookie, b"").await;
    assert_eq!(ended.verdict(), "401 unauthenticated");
    let list = app.admin("GET", "/v1/admin/actions?by=oidc:4711", None).await.json();
    let subject = "person:oidc:4711".to_owned();
    let wanted = ["session.deleted", "session.created"].map(|a| (a.to_owned(), subject.clone()));
    assert_eq!(actions(&list), wanted);
    let changes = &list["actions"][1]["changes"];
    assert_eq!((&changes[0]["to"], &changes[1]["to"]), (&"Ann".into(), &"operator".into()));
}

#[tokio::test]
async fn a_sign_in_without_a_role_or_with_a_wrong_answer_gives_no_session() {
    let stand_in = StandIn::start().await;
    let app = start(&stand_in.issuer.address).await;
    let check = async |wanted: &str, query: &str, attempt: &str| {
        let reply = come_back(&app, query, attempt).await;
        let location = reply.header("location").unwrap_or_default().to_owned();
        assert_eq!(location, format!("/console?sign-in={wanted}"), "{query}");
        assert_eq!(set_cookie(&reply, "doorbuster_session"), None, "{query}");
    };
    let (location, attempt) = begin(&app).await;
    let query = stand_in.sign_in(&location, person(json!(["guests"])));
    check("no_role", &query, &attempt).await;
    let (location, attempt) = begin(&app).await;
    let query = stand_in.sign_in(&location, person(json!(["day-shift"])));
    check("failed", "code=c0de&state=other", &attempt).await;
    check("failed", &query, "a=b").await;
    check("failed", "error=access_denied", &attempt).await;
    let (_, other) = begin(&app).await;
    check("failed", &query, &other).await;
    // The issuer refuses this code, because the attempt has another code verifier.
    let (second, attempt) = begin(&app).await;
    let query = stand_in.sign_in(&second, person(json!(["day-shift"])));
    let forged = format!("{}.{}", attempt.rsplit_once('.').expect("parts").0, "v".repeat(43));
    check("unavailable", &query, &forged).await;
    let (location, attempt) = begin(&app).await;
    let nonce = json!({"sub": "4711", "groups": "day-shift", "nonce": "of-another"});
    let query = stand_in.sign_in(&location, nonce);
    check("failed", &query, &attempt).await;
}

#[tokio::test]
async fn only_a_sign_in_that_this_browser_began_counts_as_a_wrong_key() {
    let stand_in = StandIn::start().await;
    let app = start(&stand_in.issuer.address).await;
    // Another site can cause these requests in an operator's browser, so they must not count as
    // wrong keys.
    for _ in 0..12 {
        let reply = app.get("/console/callback?code=c0de&state=s").await;
        assert_eq!(reply.header("location"), Some("/console?sign-in=failed"));
    }
    let (_, attempt) = begin(&app).await;
    let mut statuses = Vec::new();
    for _ in 0..22 {
        statuses.push(come_back(&app, "code=c0de&state=other", &attempt).await.status);
    }
    assert_eq!(statuses[..10], [303; 10]);
    // An address may make ten failed attempts in each minute. A new minute may begin during the
    // test, so the first `429` may be late.
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn sign_in_needs_an_issuer_that_answers_and_its_settings() {
    let app = start("http://127.0.0.1:9").await;
    let begun = app.get("/console/sign-in").await;
    assert_eq!(begun.header("location"), Some("/console?sign-in=unavailable"));
    let without = TestApp::start().await;
    assert_eq!(without.get("/console/sign-in").await.status, 404);
    assert!(!without.get("/console").await.text().contains("data-issuer"));
}

#[tokio::test]
async fn the_settings_are_shown_without_secrets() {
    let app = TestApp::start().await;
    let settings = app.admin("GET", "/v1/admin/settings", None).await;
    assert!(!settings.text().contains(crate::app::SECRET), "{}", settings.text());
    let rows = settings.json();
    let row = |path: &str| {
        let rows = rows["settings"].as_array().expect("a list");
        rows.iter().find(|row| row["path"] == path).cloned().expect("a setting")
    };
    let secret = json!({"path": "auth.buyer_secret", "value": "\"***\"",
        "origin": "DOORBUSTER_AUTH__BUYER_SECRET"});
    assert_eq!(row("auth.buyer_secret"), secret);
    assert_eq!(row("workers")["value"], "2");
    assert_eq!(row("store.url")["value"], Value::Null);
    assert_eq!(row("pass.keys")["origin"], "generated");
}
