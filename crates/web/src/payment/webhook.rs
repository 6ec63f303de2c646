//! Handles the webhooks of payment providers. The server answers `200` only after the store has
//! recorded everything that the webhook changes.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::payment::PaymentEventResult;
use doorbuster_api::problem::Problem;
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_payments::contract::MessageError;

use crate::App;
use crate::reply::{HandlerResult, ok};
use crate::request_body;

/// `POST /v1/payments/{provider}/webhook`
pub(crate) async fn handle_message(
    State(app): State<Arc<App>>,
    request: axum::extract::Request,
) -> HandlerResult {
    let provider = app.payments.provider();
    if request.uri().path() != format!("/v1/payments/{}/webhook", provider.name()) {
        return Err(Problem::not_found("this provider is not configured here").into());
    }
    let headers = request.headers().clone();
    let body = request_body::body(request, provider.message_bytes_max()).await?;
    // A provider's signature contains the time, and a message that is too old is refused. If a
    // clock has jumped, the store's time may be wrong. So if the check with the store's time fails,
    // the message is checked with the wall clock. It does no harm to accept an old message this
    // way, because the store ignores a message whose id it has recorded.
    let read = |now| provider.read(&headers, &body, now);
    let message = match read(app.node.now()) {
        Err(MessageError::Unverified(_)) => read(app.node.clock().wall()),
        read => read,
    };
    let message = message.map_err(|unread| {
        app.payments.meter().refused.add_one();
        match unread {
            MessageError::Unverified(why) => Problem::unauthenticated(why),
            MessageError::Malformed(why) => Problem::malformed_request(why),
        }
    })?;
    failpoint::reach(Failpoint::MessageRead);
    // A separate task handles the message, and completes even if the provider disconnects. If the
    // task ended early, units that were taken for a late payment could remain without an order.
    let payments = app.payments.clone();
    let taking = app.running_purchases.spawn(async move { payments.handle_message(message).await });
    let outcome = taking.await.map_err(|_| Problem::internal())??;
    failpoint::reach(Failpoint::MessageTaken);
    ok(&PaymentEventResult { outcome })
}
