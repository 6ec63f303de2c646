//! Sends one message to an endpoint, which may be a webhook or a broker.

use doorbuster_store::{Endpoint, EndpointKind};

use super::Outbox;
use super::receiver::{DeliveryError, Message};

impl Outbox {
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        let sent = match endpoint.kind {
            EndpointKind::Webhook => {
                let (now, wall) = (self.node.now(), self.node.clock().wall());
                self.webhooks.send(endpoint, message, now, wall).await
            }
            EndpointKind::Broker => self.brokers.send(endpoint, message).await,
        };
        if let Err(DeliveryError { error, .. }) = &sent {
            let Message { id, what, key, at, .. } = message;
            tracing::debug!(
                endpoint = endpoint.id,
                event = id,
                what = what.as_str(),
                key,
                at = at.0,
                error,
                "a receiver did not accept a message"
            );
        }
        sent
    }
}
