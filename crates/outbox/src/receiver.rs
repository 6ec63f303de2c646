//! The contract with a receiver of messages. A new kind of receiver needs a file and a variant of
//! [`EndpointKind`](doorbuster_store::EndpointKind).
//!
//! * Success means that the receiver confirmed the message: a webhook with a 2xx status, a broker
//!   with an acknowledgement. If the message can still be lost, the result is a failure.
//! * The code for a receiver makes one attempt. The worker decides when to make another attempt.
use bytes::Bytes;
use doorbuster_core::Millis;
use doorbuster_core::event::EventType;

/// A message about an event, as receivers get it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The event's id. Every attempt and every receiver gets the same id.
    pub id: String,
    /// The event's type.
    pub what: EventType,
    /// The ordering key. Brokers that order by key keep the sequence of messages with the same key.
    pub key: String,
    /// When the event happened.
    pub at: Millis,
    /// The whole body, as JSON. A broker's envelope contains only the `data` of this body.
    pub body: Bytes,
}

/// The reason why a receiver did not confirm a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryError {
    /// One line for operators. It contains no part of the message and no text from the receiver.
    pub error: String,
    /// The pause that the receiver requested, in milliseconds.
    pub pause_ms: i64,
    /// Whether the receiver will never accept this message.
    pub is_final: bool,
    /// Whether the receiver wants no more messages at all.
    pub is_gone: bool,
}

impl DeliveryError {
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), pause_ms: 0, is_final: false, is_gone: false }
    }
}
