//! Subscribes buyers' browsers to web push.

use std::sync::Arc;

use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_api::push::NewPushSubscription;
use doorbuster_outbox::push::{BrowserKeys, SubscribeError, Target, WebPush};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::App;
use super::identity::Buyer;
use super::limits::RETRY_SECS;
use super::reply::{HandlerResult, empty, rendered};
use super::request_body::JsonBody;

/// The service worker with which browsers show push messages. A service worker serves only pages
/// below its own path, so its address is at the root (`/push.js`).
const WORKER: &[u8] = include_bytes!("../assets-push/push.js");

/// `GET /push.js`
pub(crate) async fn worker() -> HandlerResult {
    let mut reply = rendered(StatusCode::OK, "text/javascript; charset=utf-8", WORKER.into());
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(reply)
}

/// `POST /v1/push-subscriptions`
pub(crate) async fn subscribe(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    JsonBody(body): JsonBody<BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewPushSubscription::from_json(&body)?;
    let push = service(&app)?;
    let keys = BrowserKeys {
        public: decoded(&wanted.p256dh)
            .ok_or_else(|| Problem::invalid_member("/p256dh", "is not a public key"))?,
        auth: decoded(&wanted.auth)
            .ok_or_else(|| Problem::invalid_member("/auth", "is not a secret"))?,
    };
    let target = Target { endpoint: wanted.endpoint, keys };
    match push.subscribe(&app.node, buyer, target).await {
        Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
        Err(SubscribeError::Address(why)) => Err(Problem::invalid_member("/endpoint", why).into()),
        Err(SubscribeError::Full) => Err(Problem::overloaded(RETRY_SECS).into()),
        Err(SubscribeError::Store(error)) => Err(error.into()),
    }
}

/// `DELETE /v1/push-subscriptions`
pub(crate) async fn unsubscribe(State(app): State<Arc<App>>, Buyer(buyer): Buyer) -> HandlerResult {
    service(&app)?.unsubscribe(&app.node, &buyer).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn service(app: &App) -> Result<&WebPush, Problem> {
    app.push.as_ref().ok_or_else(|| Problem::not_found("the shop sends no push messages"))
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}
