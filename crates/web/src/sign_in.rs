//! Sign-in at the console by OpenID Connect. `/console/sign-in` sends the browser to the issuer,
//! and the issuer sends the browser back to `/console/callback`. The console then shows whether the
//! sign-in succeeded.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::MethodRouter;
use doorbuster_api::problem::Problem;
use doorbuster_auth::{Oidc, OidcError, SignInAttempt, SignedIn};
use doorbuster_store::{FieldChange, NewAction, Person, SessionOwner};
use http::header::{LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::console_session::{NewSessionFor, cookie_of, secure};
use super::identity::ClientAddress;
use super::method_router::get;
use super::reply::{HandlerResult, Reply, empty, no_store};
use super::request_id::request_id;
use super::{App, wrong_keys};

/// The cookie with which the server recognises the browser after the sign-in at the issuer. The
/// cookie is `SameSite=Lax`, because the browser comes from the issuer's site after the sign-in.
const ATTEMPT_COOKIE: &str = "doorbuster_sign_in";
/// How long a person may take to sign in at the issuer, in seconds.
const ATTEMPT_SECS: u32 = 600;

/// The address to which the browser is sent after an invalid sign-in.
const FAILED: &str = "/console?sign-in=failed";

/// Returns the path, name and handler of each route of the sign-in.
pub(super) fn routes() -> [(&'static str, &'static str, MethodRouter<Arc<App>>); 2] {
    [("/console/sign-in", "page", get(begin)), ("/console/callback", "page", get(finish))]
}

/// `GET /console/sign-in`: sends the browser to the issuer.
async fn begin(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    match oidc(&app)?.begin().await {
        Ok((url, attempt)) => {
            let mut reply = redirect(url.as_str());
            set_attempt(&app, &headers, &mut reply, &attempt.to_cookie(), ATTEMPT_SECS);
            Ok(reply)
        }
        Err(error) => Ok(failed(&app, &error)),
    }
}

/// `GET /console/callback`: receives the browser that the issuer sent back.
async fn finish(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let oidc = oidc(&app)?;
    let attempt = cookie_of(&headers, ATTEMPT_COOKIE).and_then(SignInAttempt::from_cookie);
    let mut reply = match &attempt {
        Some(attempt) => {
            // A failed sign-in counts as a wrong key, so that one client cannot cause many requests
            // to the issuer.
            let counted = wrong_keys::count(&app.wrong_keys, &app.node, client.address).await?;
            let query = query.as_deref().unwrap_or_default();
            match oidc.finish(attempt, query, app.token_time_secs()).await {
                Ok(person) => {
                    counted.take_back(&app.wrong_keys, &app.node).await;
                    let session = new_session(&person, client, &headers);
                    let cookie = session.start(&app, &headers).await?;
                    let mut reply = redirect("/console?signed-in");
                    reply.headers_mut().append(SET_COOKIE, cookie);
                    reply
                }
                Err(error) => failed(&app, &error),
            }
        }
        // This browser has not begun a sign-in. Another site could make the browser send this
        // request. The server sends nothing to the issuer because of such a request, so the request
        // is neither counted nor logged.
        None => redirect(FAILED),
    };
    set_attempt(&app, &headers, &mut reply, "", 0);
    Ok(reply)
}

fn new_session(person: &SignedIn, client: ClientAddress, headers: &HeaderMap) -> NewSessionFor {
    let SignedIn { id, name, role } = person.clone();
    let action = NewAction {
        by: id.clone(),
        action: "session.created".to_owned(),
        subject: format!("person:{id}"),
        changes: vec![
            FieldChange::set("/name", name.as_str()),
            FieldChange::set("/role", role.as_str()),
        ],
        address: Some(client.address.to_string()),
        request_id: request_id(headers).to_str().ok().map(str::to_owned),
    };
    let owner = SessionOwner::Person(Person { id, name, role });
    NewSessionFor { owner, action }
}

fn oidc(app: &App) -> Result<&Oidc, Problem> {
    let missing = || Problem::not_found("sign-in by OpenID Connect is not configured");
    app.oidc.as_ref().ok_or_else(missing)
}

/// Logs why a sign-in failed, and sends the browser to the console, which shows only the kind of
/// failure. Anyone can cause this log line, so the limit on lines about failed requests applies.
fn failed(app: &App, error: &OidcError) -> Reply {
    if app.failure_log.may_write(app.node.now().0.div_euclid(1_000).unsigned_abs()) {
        tracing::warn!(
            %error,
            event = "console.sign_in_failed",
            "a sign-in by OpenID Connect failed"
        );
    }
    redirect(match error {
        OidcError::Issuer(_) => "/console?sign-in=unavailable",
        OidcError::Invalid(_) => FAILED,
        OidcError::NoRole(_) => "/console?sign-in=no_role",
    })
}

fn redirect(to: &str) -> Reply {
    let mut reply = empty(StatusCode::SEE_OTHER);
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/console"));
    reply.headers_mut().insert(LOCATION, to);
    no_store(reply)
}

/// Zero seconds remove the cookie.
fn set_attempt(app: &App, headers: &HeaderMap, reply: &mut Reply, value: &str, secs: u32) {
    let secure = secure(app, headers);
    let cookie = format!(
        "{ATTEMPT_COOKIE}={value}; Path=/console; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}"
    );
    let cookie = HeaderValue::from_str(&cookie).expect("base64 and plain words");
    reply.headers_mut().append(SET_COOKIE, cookie);
}
