//! Does the WebSocket handshake itself and returns the plain socket. A WebSocket library would keep
//! buffers for each connection. Without such a library, an idle connection needs less memory.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::Response;
use doorbuster_api::event::{BEARER_SUBPROTOCOL_PREFIX, SUBPROTOCOL};
use doorbuster_api::problem::{Fault, FaultLocation, Problem};
use http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::guarded_stream::GuardedStream;
use crate::reply::HandlerError;

const VERSION: &[u8] = b"13";

pub(crate) struct Upgrade {
    connection: OnUpgrade,
    /// `Sec-WebSocket-Accept`, which proves to the client that the server understood the request.
    accept: HeaderValue,
    is_ours: bool,
}

pub(super) fn upgrade_required() -> HandlerError {
    let fault =
        Fault::new(FaultLocation::Header("Upgrade"), "must request a WebSocket of version 13");
    Problem::invalid_request(vec![fault]).into()
}

fn lists(headers: &HeaderMap, name: HeaderName, is: impl Fn(&[u8]) -> bool) -> bool {
    let mut words =
        headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.any(|word| is(word.trim_ascii()))
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = HandlerError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let headers = &parts.headers;
        let asks = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && lists(headers, CONNECTION, |word| word.eq_ignore_ascii_case(b"upgrade"))
            && lists(headers, UPGRADE, |word| word.eq_ignore_ascii_case(b"websocket"))
            && headers
                .get(SEC_WEBSOCKET_VERSION)
                .is_some_and(|version| version.as_bytes() == VERSION);
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asks).ok_or_else(upgrade_required)?;
        let accept = derive_accept_key(key.as_bytes());
        let is_ours = lists(headers, SEC_WEBSOCKET_PROTOCOL, |word| word == SUBPROTOCOL.as_bytes());
        // The HTTP server adds this extension if the connection can be upgraded.
        let connection = parts.extensions.remove::<OnUpgrade>().ok_or_else(upgrade_required)?;
        Ok(Self {
            connection,
            accept: HeaderValue::from_str(&accept).expect("base64 is ASCII"),
            is_ours,
        })
    }
}

/// Returns the token that a page offers as a subprotocol. A page cannot set the header
/// `Authorization` of a WebSocket request.
pub(super) fn offered_token(headers: &HeaderMap) -> Option<&str> {
    let offered =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    offered
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER_SUBPROTOCOL_PREFIX))
}

/// Refuses a page of another origin, which must not use this server's cookie. A request without the
/// header `Origin` is accepted. Such a request does not come from a browser, because browsers
/// always send this header when they open a WebSocket.
pub(super) fn refuse_foreign(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(ORIGIN).map(|origin| origin.split_once("://").map(|(_, host)| host));
    match host {
        None => Ok(()),
        Some(host) if host.is_some() && host == text(HOST) => Ok(()),
        Some(_) => Err(Problem::forbidden("only pages of this server may use the cookie")),
    }
}

impl Upgrade {
    pub(super) fn answer(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if self.is_ours {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        response
    }

    /// Waits until the response is sent, and returns the socket. Returns `None` if the connection
    /// is gone.
    pub(super) async fn connection(self) -> Option<GuardedStream> {
        let upgraded = self.connection.await.ok()?;
        // This never fails, because every connection that `connection.rs` serves has this type.
        let parts = upgraded.downcast::<TokioIo<GuardedStream>>().ok()?;
        Some(parts.io.into_inner().replaying(&parts.read_buf))
    }
}
