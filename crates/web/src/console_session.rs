//! Sessions of the console. An operator exchanges a key, or a sign-in at an issuer, for a cookie.
//!
//! The store keeps hashes of the cookie and of the key. So a session is valid on every node, and
//! ends when its key is deleted. A request that changes data and authenticates with the cookie must
//! also have the header `X-Doorbuster-Console`. Other sites cannot make a browser send this header.

use std::sync::Arc;

use axum::extract::{Request, State};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::admin::console::{NewSession, Session, SessionKey};
use doorbuster_api::admin::keys::Role;
use doorbuster_api::header::BodyType;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_auth::{AuthenticationError, CONFIGURED_KEY, Operator, OperatorKeyVerifier};
use doorbuster_core::{IdKey, Millis};
use doorbuster_engine::api_conversion;
use doorbuster_store::{Hash, NewAction, SessionOwner, StoreResult, recorded};
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use subtle::ConstantTimeEq;

use super::identity::{ClientAddress, OperatorIdentity};
use super::reply::{HandlerError, HandlerResult, Reply, empty, ok};
use super::request_id::{REQUEST_ID, request_id};
use super::{App, request_body, wrong_keys};

const SESSION_COOKIE: &str = "doorbuster_session";
/// A request that changes data and authenticates with the cookie must have this header.
const CONSOLE_HEADER: &str = "x-doorbuster-console";
const SESSION_SECS: i64 = 8 * 3_600;
const ENDED: AuthenticationError = AuthenticationError::Bad("the session has ended; sign in again");
const COOKIE_BYTES: usize = 32;
/// [`proof`] hashes this text in place of a buyer's name. No buyer can have this name, so the proof
/// of a cookie differs from the hash of every request.
const PURPOSE: &str = "console session 1";

/// `POST /v1/admin/session`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    request: Request,
) -> HandlerResult {
    let headers = request.headers().clone();
    // Without this check, another site could make an operator's browser sign in with another key,
    // and so replace the operator's session.
    if cookie(&headers).is_some() {
        require_console_header(&headers)?;
    }
    let body = request_body::body(request, ADMIN_BODY_BYTES_MAX).await?;
    request_body::content_type(&headers, BodyType::Json)?;
    let NewSession { key } = NewSession::from_json(&body)?;
    let counted = wrong_keys::count(&app.wrong_keys, &app.node, client.address).await?;
    let hash = OperatorKeyVerifier::hash(&key);
    let operator = app.operator_of_hash(hash).await;
    let operator = operator.map_err(|denied| app.denied_problem(denied))?;
    counted.take_back(&app.wrong_keys, &app.node).await;
    let id = request_id(&headers);
    let action = NewAction {
        by: operator.id.to_string(),
        action: "session.created".to_owned(),
        subject: subject_of(&operator.id),
        changes: Vec::new(),
        address: Some(client.address.to_string()),
        request_id: id.to_str().ok().map(str::to_owned),
    };
    let session = NewSessionFor { owner: SessionOwner::Key(hash), action };
    let cookie = session.start(&app, &headers).await?;
    let mut reply = with_cookie(cookie);
    reply.headers_mut().insert(REQUEST_ID, id);
    Ok(reply)
}

pub(super) struct NewSessionFor {
    pub(super) owner: SessionOwner,
    pub(super) action: NewAction,
}

impl NewSessionFor {
    /// Adds the session, and returns the cookie that the browser must set.
    pub(super) async fn start(
        self,
        app: &App,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, HandlerError> {
        let cookie = new_cookie(app.node.id_key());
        let until = app.node.now().plus(SESSION_SECS * 1_000);
        let store = app.node.store();
        let insert = store.insert_session(OperatorKeyVerifier::hash(&cookie), self.owner, until);
        recorded(self.action, insert).await?;
        Ok(session_cookie(app, headers, &cookie, SESSION_SECS))
    }
}

/// Returns a random text, and a proof that a node of this installation made the text. Because of
/// this proof, a forged cookie causes no read of the store.
fn new_cookie(key: &IdKey) -> String {
    let random = URL_SAFE_NO_PAD.encode(rand::random::<[u8; COOKIE_BYTES]>());
    let proof = proof(key, &random);
    format!("{random}.{proof}")
}

fn has_proof(key: &IdKey, cookie: &str) -> bool {
    let Some((random, presented)) = cookie.split_once('.') else { return false };
    proof(key, random).as_bytes().ct_eq(presented.as_bytes()).into()
}

/// Returns the keyed hash of [`PURPOSE`] and the cookie's random text.
fn proof(key: &IdKey, random: &str) -> String {
    format!("{:032x}", key.request_hash(PURPOSE, random).0)
}

fn subject_of(id: &str) -> String {
    let kind = if id.starts_with("oidc:") { "person" } else { "key" };
    format!("{kind}:{id}")
}

/// `GET /v1/admin/session`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    headers: HeaderMap,
) -> HandlerResult {
    let found = match cookie(&headers).filter(|_| !headers.contains_key(AUTHORIZATION)) {
        Some(cookie) => app.session(cookie).await,
        None => Ok(None),
    };
    let found = found?;
    let name = match (&found, &*by.id) {
        (Some((SessionOwner::Person(person), _)), _) => person.name.clone(),
        (_, CONFIGURED_KEY) => CONFIGURED_KEY.to_owned(),
        (_, id) => {
            let keys = app.node.store().keys().await?;
            keys.into_iter().find(|key| key.id == id).map(|key| key.name).unwrap_or_default()
        }
    };
    let expires_at = found.map(|(_, until)| api_conversion::time(until));
    let key = SessionKey { id: by.id.to_string(), name };
    ok(&Session { key, role: by.role, expires_at })
}

/// `DELETE /v1/admin/session`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    headers: HeaderMap,
) -> HandlerResult {
    if let Some(cookie) = cookie(&headers) {
        let action =
            NewAction { subject: subject_of(&by.id), ..by.action("session.deleted", "", "") };
        let delete = app.node.store().delete_session(OperatorKeyVerifier::hash(cookie));
        recorded(action, delete).await?;
    }
    Ok(with_cookie(session_cookie(&app, &headers, "", 0)))
}

fn with_cookie(cookie: HeaderValue) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    reply.headers_mut().insert(SET_COOKIE, cookie);
    reply
}

/// Zero seconds remove the cookie.
fn session_cookie(app: &App, headers: &HeaderMap, value: &str, secs: i64) -> HeaderValue {
    let secure = secure(app, headers);
    let cookie = format!(
        "{SESSION_COOKIE}={value}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Strict{secure}"
    );
    HeaderValue::from_str(&cookie).expect("base64 and plain words")
}

/// Returns the cookie's attribute `Secure` if the pages use HTTPS. With this attribute, browsers
/// send the cookie only by HTTPS.
pub(super) fn secure(app: &App, headers: &HeaderMap) -> &'static str {
    let by_proxy = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    if app.is_https || by_proxy { "; Secure" } else { "" }
}

fn require_console_header(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONSOLE_HEADER) {
        Some(value) if value == "1" => Ok(()),
        _ => {
            let detail = "with the session cookie, send the header X-Doorbuster-Console: 1";
            Err(Problem::forbidden(detail))
        }
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_of(headers, SESSION_COOKIE)
}

pub(super) fn cookie_of<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    doorbuster_auth::cookie(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes), wanted)
}

impl App {
    /// Returns the operator who sent the request. A request with the header `Authorization` is
    /// authenticated by this header, even if it also has the console's cookie.
    pub(crate) async fn operator_of_request(
        &self,
        headers: &HeaderMap,
        method: &Method,
        wanted: Role,
    ) -> Result<Operator, HandlerError> {
        let session = cookie(headers).filter(|_| !headers.contains_key(AUTHORIZATION));
        let Some(session) = session else {
            return Ok(self.operator(headers, wanted).await?);
        };
        let found = self.session(session).await?;
        let operator = match found {
            Some((SessionOwner::Key(key), _)) => self.operator_of_hash(key).await,
            // The session of a person who signed in at the issuer is valid only while the settings
            // have an issuer.
            Some((SessionOwner::Person(person), _)) if self.oidc.is_some() => {
                Ok(Operator { id: person.id.into(), role: person.role })
            }
            Some((SessionOwner::Person(_), _)) | None => Err(ENDED),
        };
        let operator = operator.map_err(|denied| self.denied_problem(denied))?;
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        if changes {
            require_console_header(headers)?;
        }
        super::identity::check_role(&operator, wanted)?;
        Ok(operator)
    }

    /// Returns the owner and the end of the cookie's session, or `None` if the session is not
    /// valid. Reads the store at every request, so that a session ends on every node as soon as its
    /// key is deleted.
    async fn session(&self, cookie: &str) -> StoreResult<Option<(SessionOwner, Millis)>> {
        if !has_proof(self.node.id_key(), cookie) {
            return Ok(None);
        }
        let configured = self.operators.configured_hash();
        self.node.store().session(OperatorKeyVerifier::hash(cookie), configured).await
    }

    async fn operator_of_hash(&self, hash: Hash) -> Result<Operator, AuthenticationError> {
        match self.operators.check_hash(&hash) {
            // This node does not know the key. Another node may have just created it, so this node
            // reads the keys from the store again.
            Err(AuthenticationError::Bad(_)) if self.refresh_operator_keys().await => {
                self.operators.check_hash(&hash)
            }
            checked => checked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cookie_that_a_node_made_has_a_proof() {
        let (key, other) = (IdKey::new([7; 32]), IdKey::new([8; 32]));
        let cookie = new_cookie(&key);
        assert!(has_proof(&key, &cookie) && !has_proof(&other, &cookie));
        let (random, proof) = cookie.split_once('.').expect("two parts");
        for forged in ["", "xyz", random, proof, ".", &format!("x{cookie}"), &format!("{cookie}0")]
        {
            assert!(!has_proof(&key, forged), "{forged}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let headers =
            |text: &'static str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(text))]);
        assert_eq!(cookie(&headers("a=1; doorbuster_session=xyz; b=2")), Some("xyz"));
        assert_eq!(cookie(&headers("doorbuster_session_2=xyz")), None);
        assert_eq!(cookie(&HeaderMap::new()), None);
        let text = "name=Zoë; doorbuster_session=xyz";
        let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header may have any letter");
        assert_eq!(cookie(&HeaderMap::from_iter([(COOKIE, value)])), Some("xyz"));
    }
}
