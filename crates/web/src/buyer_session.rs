//! Keeps a buyer's token in a cookie of the pages. So the buyer is still signed in after a payment,
//! and in a new tab.
//!
//! The value of the cookie is the token itself. So every node accepts the cookie, and the store
//! keeps no session. `HttpOnly` hides the cookie from scripts. With `SameSite=Lax`, browsers do not
//! send the cookie with a request that another site starts. The only exception is a link to a page.
//! A request that changes data must also have the header `X-Doorbuster-Page`. Other sites cannot
//! make a browser send this header.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::buyer_session::BuyerSession;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_auth::{BUYER_COOKIE, bearer};
use doorbuster_engine::api_conversion;
use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::identity::{Buyer, BuyerMembership, TokenExpiry};
use super::reply::{HandlerResult, Reply, empty, ok};
use super::{App, console_session, request_body};

/// `POST /v1/session`
pub(crate) async fn keep(
    State(app): State<Arc<App>>,
    TokenExpiry(expires_secs): TokenExpiry,
    request: axum::extract::Request,
) -> HandlerResult {
    let headers = request.headers().clone();
    request_body::no_body(request, BODY_BYTES_MAX).await?;
    // If `Authorization` has no token, the client sends no new token, so the cookie does not
    // change.
    let values = headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let Ok(token) = bearer(values) else { return Ok(empty(StatusCode::NO_CONTENT)) };
    let left_secs = expires_secs.saturating_sub(app.token_time_secs()).max(0);
    Ok(with_cookie(&app, &headers, token, left_secs))
}

/// `GET /v1/session`
pub(crate) async fn get(
    Buyer(buyer): Buyer,
    BuyerMembership(membership): BuyerMembership,
    TokenExpiry(expires_secs): TokenExpiry,
) -> HandlerResult {
    let session = BuyerSession {
        buyer: buyer.as_str().to_owned(),
        member: membership.member,
        level: membership.level,
        expires_at: api_conversion::time(doorbuster_core::Millis(
            expires_secs.saturating_mul(1_000),
        )),
    };
    ok(&session)
}

/// `DELETE /v1/session`
pub(crate) async fn forget(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    Ok(with_cookie(&app, &headers, "", 0))
}

/// Zero seconds remove the cookie.
fn with_cookie(app: &App, headers: &HeaderMap, token: &str, secs: i64) -> Reply {
    let secure = console_session::secure(app, headers);
    let cookie =
        format!("{BUYER_COOKIE}={token}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}");
    let mut reply = empty(StatusCode::NO_CONTENT);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    reply
}
