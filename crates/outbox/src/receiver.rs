//! The types that all kinds of receivers share: the message, and the error of a failed delivery. To
//! add a kind of receiver, add a file and a variant of
//! [`EndpointKind`](doorbuster_store::EndpointKind).
//!
//! * A delivery succeeds when the receiver has confirmed the message: a webhook with a 2xx status,
//!   a broker with an acknowledgement. As long as the message can still be lost, the delivery has
//!   not succeeded.
//! * The code for a kind of receiver makes one attempt and returns. The worker decides when to make
//!   another attempt.
use bytes::Bytes;
use doorbuster_core::Millis;
use doorbuster_core::event::EventType;

/// The message about an event. Webhooks and brokers get the same message.
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
    /// The whole body, as JSON. A broker gets only the field `data` of this body, in the broker's
    /// own envelope.
    pub body: Bytes,
}

/// The reason why a receiver did not confirm a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryError {
    /// The reason in one line, for operators. It contains no part of the message and no text from
    /// the receiver.
    pub error: String,
    /// How long the receiver asks the server to wait before the next attempt, in milliseconds. 0 if
    /// it asks for no pause.
    pub pause_ms: i64,
    /// Whether the receiver will never accept this message, so that further attempts are useless.
    pub is_final: bool,
    /// Whether the receiver wants no further messages of any kind.
    pub is_gone: bool,
    /// Whether this server itself caused the failure, before it sent anything.
    pub is_local: bool,
}

impl DeliveryError {
    pub fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), pause_ms: 0, is_final: false, is_gone: false, is_local: false }
    }

    /// Returns an error whose reason lies in this server. Another node may be able to send the
    /// message, for example because that node was built with support for the kind of broker.
    pub fn local(error: impl Into<String>) -> Self {
        Self { is_local: true, ..Self::new(error) }
    }
}
