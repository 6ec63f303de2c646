//! The contract with whatever messages go to. A new kind of receiver is one more file and one more
//! variant.
//!
//! A sink says that a message was taken only once the receiver said so: a webhook's 2xx, a broker's
//! confirm. It never says so of a message that may be lost yet. It does not retry: what is sent
//! again, and when, is planned above it.
use bytes::Bytes;
use doorbuster_core::Millis;
use doorbuster_core::event::EventType;
use doorbuster_store::{Endpoint, EndpointKind};

use super::Outbox;

/// An event as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The event's id: the same for every attempt and every receiver.
    pub(crate) id: String,
    /// What happened.
    pub(crate) what: EventType,
    /// What it is about: messages of one word go to the same place in a broker that keeps order by
    /// key.
    pub(crate) key: String,
    /// When it happened.
    pub(crate) at: Millis,
    /// The whole body, as JSON. A broker's envelope carries its `data`.
    pub(crate) body: Bytes,
}

/// Why a message was not taken, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryError {
    /// In a line, for operators. It holds nothing of the message and nothing that the receiver made
    /// up.
    pub(crate) error: String,
    /// The receiver asked for a pause of this length.
    pub(crate) pause_ms: i64,
    /// Whether it does not want this very message, as far as its answer says.
    pub(crate) is_final: bool,
    /// Whether it wants nothing any more, ever.
    pub(crate) is_gone: bool,
}

impl DeliveryError {
    pub(crate) fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), pause_ms: 0, is_final: false, is_gone: false }
    }
}

impl Outbox {
    /// Sends one message, once.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        let sent = match endpoint.kind {
            EndpointKind::Webhook => {
                self.webhooks.send(endpoint, message, self.engine.clock().wall()).await
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
                "not taken"
            );
        }
        sent
    }
}
