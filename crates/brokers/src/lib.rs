//! Brokers that are told what happens.
//!
//! The contract: a [`Broker`] is made from an [`Address`] and connects with its first message.
//! [`Broker::publish`] gives `Ok` once the broker itself has said that it keeps the message, and
//! never before; anything else is an [`Error`], after which the message may be there or not. It
//! tries once, in bounded time. One connection serves all messages; after any doubt about it, it is
//! closed, and the next message makes another. Nothing is sent twice here and nothing is kept: what
//! is sent again, and in which order, is planned by whoever calls.
//!
//! A further kind of broker is one more file beside [`amqp`](self) and `nats`, a variant of
//! [`BrokerKind`] and one of the link, and a feature.
//!
//! | file | what it does |
//! |---|---|
//! | `address` | where a broker is, and what of that may be shown |
//! | `kept` | the one connection, made and made anew |
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

/// Longest time that making a connection may take, if an attempt may take as long.
#[cfg(any(feature = "amqp", feature = "nats"))]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A message as it goes out.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id, by which a consumer knows that it has seen it: the same for every attempt.
    pub id: String,
    /// What happened, in words with dots between, such as `order.paid`: consumers choose by it.
    pub what: String,
    /// What it is about: messages of one key are published one after another.
    pub key: String,
    /// When it happened, in seconds since 1970.
    pub at_secs: u64,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

/// Why a message was not taken, or may not have been: in a line for operators, without the address
/// and without what the broker made up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A broker.
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
    /// The broker at this address; nothing is connected yet. An attempt takes at most `timeout`.
    ///
    /// # Errors
    /// This program was built without brokers of this kind.
    #[cfg_attr(
        not(any(feature = "amqp", feature = "nats")),
        allow(unreachable_code, unused_variables, reason = "none can be made")
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

    /// Publishes a message, once. It is kept by the broker when this gives `Ok`.
    ///
    /// # Errors
    /// Why it is not, as far as is known.
    pub async fn publish(&self, message: &Message) -> Result<(), Error> {
        let within = self.timeout;
        match self.backend {
            #[cfg(feature = "amqp")]
            Backend::Amqp(ref amqp) => amqp.publish(message, within).await,
            #[cfg(feature = "nats")]
            Backend::Nats(ref nats) => nats.publish(message, within).await,
            #[cfg(not(any(feature = "amqp", feature = "nats")))]
            _ => unreachable!("there is none: {message:?} {within:?}"),
        }
    }
}
