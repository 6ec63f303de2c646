//! Publishes events to message brokers.
//!
//! * A [`Broker`] connects when it publishes its first message. It uses one connection for all
//!   messages.
//! * [`Broker::publish`] makes one attempt, which has a timeout. It returns `Ok` only after the
//!   broker has confirmed the message.
//! * After any [`Error`], the broker may have the message or not. If the broker refused the
//!   message, the connection stays open. After every other error, the next message opens a new
//!   connection.
//! * This crate does not retry and does not store messages. The caller decides when to retry, and
//!   in which sequence.
//!
//! A new kind of broker needs a file beside [`amqp`](self) and `nats`, a variant of [`BrokerKind`],
//! a variant of `Backend`, and a feature.
//!
//! | file | what it does |
//! |---|---|
//! | `address` | the address of a broker, and the part of it that may be shown |
//! | `connection` | the one connection, opened again after a failure |
//! | `amqp` | RabbitMQ: a durable topic exchange, persistent messages, confirms |
//! | `nats` | NATS JetStream: a subject of a stream, acks |
mod address;
#[cfg(feature = "amqp")]
mod amqp;
#[cfg(any(feature = "amqp", feature = "nats"))]
mod connection;
#[cfg(feature = "nats")]
mod nats;

use std::time::Duration;

use bytes::Bytes;

pub use address::{Address, BrokerKind};

/// The longest time for an attempt to open a connection. If the timeout for publishing is shorter,
/// that timeout applies instead.
#[cfg(any(feature = "amqp", feature = "nats"))]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Message {
    /// The message's id, which is the same for every attempt. A consumer detects a repeated message
    /// by the id.
    pub id: String,
    /// The event's type: words with dots between them, for example `order.paid`. Consumers select
    /// messages by type.
    pub what: String,
    /// The key of the order, sale or other object that the event is about. The caller publishes
    /// messages with the same key one after another, so their sequence is kept.
    pub key: String,
    /// When the event happened, in seconds since 1970.
    pub at_secs: u64,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// The reason why the broker did not confirm a message. It is one line for operators, without the
/// address or any text from the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A client of one message broker.
pub struct Broker {
    backend: Backend,
    timeout: Duration,
}

enum Backend {
    #[cfg(feature = "amqp")]
    Amqp(amqp::Amqp),
    #[cfg(feature = "nats")]
    Nats(nats::Nats),
}

impl Broker {
    /// Creates a client without connecting. Each attempt to publish takes at most `timeout`.
    ///
    /// # Errors
    /// Fails if this program was built without support for this kind of broker.
    #[cfg_attr(
        not(any(feature = "amqp", feature = "nats")),
        allow(unreachable_code, unused_variables, reason = "no kind of broker is built in")
    )]
    pub fn new(address: &Address, timeout: Duration) -> Result<Self, Error> {
        let backend = match address.kind() {
            #[cfg(feature = "amqp")]
            BrokerKind::Amqp => {
                Backend::Amqp(amqp::Amqp::new(address, timeout.min(CONNECT_TIMEOUT)))
            }
            #[cfg(feature = "nats")]
            BrokerKind::Nats => {
                Backend::Nats(nats::Nats::new(address, timeout.min(CONNECT_TIMEOUT)))
            }
            #[cfg(not(all(feature = "amqp", feature = "nats")))]
            kind => return Err(Error::new(kind.not_built_message())),
        };
        Ok(Self { backend, timeout })
    }

    /// Publishes a message once. `Ok` means that the broker has confirmed the message.
    ///
    /// # Errors
    /// Fails if the broker did not confirm the message. The broker may have the message anyway.
    pub async fn publish(&self, message: &Message) -> Result<(), Error> {
        let within = self.timeout;
        match self.backend {
            #[cfg(feature = "amqp")]
            Backend::Amqp(ref amqp) => amqp.publish(message, within).await,
            #[cfg(feature = "nats")]
            Backend::Nats(ref nats) => nats.publish(message, within).await,
            #[cfg(not(any(feature = "amqp", feature = "nats")))]
            _ => unreachable!("no kind of broker is built in: {message:?} {within:?}"),
        }
    }
}
