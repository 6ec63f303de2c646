//! The contract with a payment provider. Each provider has one file. A new provider needs a file
//! and one arm in each `match` here.
//!
//! A repeated request must have no second effect. So each checkout and each refund has an
//! idempotency key, which stays the same in every repeat.
use std::sync::Arc;

use bytes::Bytes;
use doorbuster_api::limits::{ADMIN_BODY_BYTES_MAX, BODY_BYTES_MAX};
use doorbuster_base::signing::SigningKey;
use doorbuster_config::ProviderSettings;
use doorbuster_core::money::{Capture, Money, PaymentId, Refund, RefundId, RefundUpdate};
use doorbuster_core::{Millis, TicketId};
use doorbuster_engine::engine::Engine;
use doorbuster_store::Reversal;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use super::sandbox::Sandbox;
use super::stripe::Stripe;

/// The error of a request that failed or that the provider refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct ProviderError {
    /// The provider's message, or the reason why no request reached the provider.
    pub why: String,
    /// Whether the provider refused the request. A repeated request then gets the same answer.
    pub is_refusal: bool,
    /// Whether the provider got too many requests and did not decide about this request. A later
    /// request may succeed.
    pub is_busy: bool,
}

impl ProviderError {
    /// Returns the error of a provider that could not be reached or could not answer. A later
    /// request may succeed.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: false, is_busy: false }
    }

    /// Returns the error of a provider that refused a request.
    pub fn refusal(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: true, is_busy: false }
    }
}

/// Why a provider's message was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The signature or the time is not valid.
    Unverified(String),
    /// The provider signed the message, but its content is invalid.
    Malformed(String),
}

/// The content of a provider's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderMessage {
    /// A payment was captured.
    Captured(Capture),
    /// A payment attempt failed.
    FailedPayment(FailedPayment),
    /// The progress of a refund.
    Refund {
        /// The message's id.
        event: String,
        /// The refund.
        id: RefundId,
        /// The new progress.
        news: RefundUpdate,
        /// The reversal to record if the shop did not request this refund.
        if_not_ours: Option<Reversal>,
    },
    /// A payment was refunded or disputed without a request from the shop, or such a reversal was
    /// cancelled.
    Reversed {
        /// The reversal.
        reversal: Reversal,
        /// The order in the message's metadata, if this installation wrote the metadata.
        order: Option<String>,
    },
    /// A checkout that accepts no more payments.
    Closed {
        /// The order, as written in the message.
        order: String,
        /// The provider's id of the checkout.
        session: String,
    },
    /// A message that has no effect on this server.
    Unused,
}

/// A payment attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedPayment {
    /// The message's id.
    pub event: String,
    /// The provider's id of the payment.
    pub payment: String,
    /// The order, as written in the message.
    pub order: String,
    /// The amount of the attempt, if the message contains it.
    pub money: Option<Money>,
    /// The provider's id of the checkout, if the failure ended the checkout. The buyer then needs a
    /// new checkout.
    pub session: Option<String>,
}

/// A checkout to create.
#[derive(Clone, Debug)]
pub struct NewCheckout {
    /// The order.
    pub order: TicketId,
    /// The idempotency key. The same content always has the same key, so a repeat creates no second
    /// checkout.
    pub key: String,
    /// The item's title, for people to read.
    pub title: String,
    /// The number of units.
    pub units: u32,
    /// The price of one unit.
    pub price: Money,
    /// The price of all units.
    pub total: Money,
    /// When the order's payment window ends.
    pub pay_by: Millis,
    /// The page to which the buyer's browser returns.
    pub return_url: String,
}

impl NewCheckout {
    /// Returns the return URL with the result `what` in its query. The page uses the result only
    /// for its text. The server never trusts this result.
    pub(crate) fn return_url_with(&self, what: &str) -> String {
        format!("{}?back={what}", self.return_url)
    }
}

/// A created checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// The provider's id of the checkout.
    pub session: String,
    /// The URL for the buyer's browser. A URL without a host is a path of this server.
    pub url: String,
    /// The requested end of the checkout.
    pub expires_at: Millis,
}

/// The state of a checkout after a request to close it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutStatus {
    /// The checkout accepts no more payments and took no payment.
    Closed,
    /// The checkout took these payments and accepts no more.
    Paid(Vec<FoundPayment>),
    /// A payment is pending and may still fail. The server must ask again.
    Undecided,
}

/// A payment that the server found by asking the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPayment {
    /// The captured payment.
    pub capture: Capture,
    /// The reversal of the payment, if the provider reports a reversal.
    pub back: Option<Reversal>,
}

/// Why a provider does not accept a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpayablePrice {
    /// The JSON member that the provider does not accept: `amount_minor` or `currency`.
    pub member: &'static str,
    /// The reason.
    pub why: &'static str,
}

/// A payment provider.
pub enum Provider {
    /// The built-in provider.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
}

impl Provider {
    /// Makes the next call use the system's newest certificates.
    pub(super) fn renew_client(&self) {
        match self {
            // The sandbox uses no TLS.
            Self::Sandbox(_) => {}
            Self::Stripe(stripe) => stripe.renew_client(),
        }
    }

    /// Creates the configured provider. `secrets` sign and verify the sandbox's messages. The
    /// newest secret comes first.
    pub(super) fn configured(
        engine: &Arc<Engine>,
        settings: &ProviderSettings,
        secrets: &[SecretString],
    ) -> Self {
        match settings {
            ProviderSettings::Sandbox => {
                let keys = secrets
                    .iter()
                    .filter_map(|secret| SigningKey::parse(secret.expose_secret()))
                    .collect();
                Self::Sandbox(Sandbox::new(engine.clone(), keys))
            }
            ProviderSettings::Stripe(stripe) => {
                // The mark is a keyed hash, and each installation has its own key. The hashed text
                // begins with a control character. No buyer's id begins with such a character, so
                // no purchase has the same hash.
                let mark = engine.id_key().request_hash("\u{1}installation", super::stripe::NAME).0;
                Self::Stripe(Stripe::new(stripe, format!("{mark:032x}")))
            }
        }
    }

    /// Returns the size of the provider's largest message, in bytes.
    pub fn message_bytes_max(&self) -> usize {
        match self {
            Self::Sandbox(_) => BODY_BYTES_MAX,
            // An event can be large, because it contains the whole object about which it reports.
            Self::Stripe(_) => ADMIN_BODY_BYTES_MAX,
        }
    }

    /// Returns the provider's name in rows, paths and settings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => super::sandbox::NAME,
            Self::Stripe(_) => super::stripe::NAME,
        }
    }

    /// A query about a checkout can need a further request to the provider. Returns the number of
    /// these further requests since the last call.
    pub(super) fn take_further_requests(&self) -> u32 {
        match self {
            Self::Sandbox(_) => 0,
            Self::Stripe(provider) => provider.take_further_requests(),
        }
    }

    /// Returns the maximum number of queries about checkouts per second.
    pub(super) fn queries_per_sec(&self) -> u32 {
        match self {
            Self::Sandbox(_) => super::sandbox::QUERIES_PER_SEC,
            Self::Stripe(provider) => provider.queries_per_sec(),
        }
    }

    /// Returns the reason why the provider does not accept this price of one unit. Returns `None`
    /// if the provider accepts the price.
    pub fn refuses_price(&self, minor: i64, currency: &str) -> Option<UnpayablePrice> {
        match self {
            Self::Sandbox(_) => None,
            Self::Stripe(_) => super::stripe::refuses_price(minor, currency),
        }
    }

    /// Creates a checkout.
    pub async fn open(
        &self,
        wanted: &NewCheckout,
        now: Millis,
    ) -> Result<NewSession, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.open(wanted).await,
            Self::Stripe(provider) => provider.open(wanted, now).await,
        }
    }

    /// Closes a checkout and returns its state. Callers may repeat the call.
    pub async fn close(
        &self,
        order: &TicketId,
        session: &str,
    ) -> Result<CheckoutStatus, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.close(order, session).await,
            Self::Stripe(provider) => provider.close(order, session).await,
        }
    }

    /// Requests a refund. The refund's id is the idempotency key.
    pub async fn refund(&self, refund: &Refund) -> Result<RefundUpdate, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.refund(refund).await,
            Self::Stripe(provider) => provider.refund(refund).await,
        }
    }

    /// Asks for the progress of an accepted refund.
    pub(crate) async fn refund_status(
        &self,
        refund: &Refund,
    ) -> Result<RefundUpdate, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.refund(refund).await,
            Self::Stripe(provider) => provider.refund_status(refund).await,
        }
    }

    /// Asks whether a captured payment was refunded. If so, returns the reversal.
    pub(crate) async fn reversal_of(
        &self,
        payment: &PaymentId,
    ) -> Result<Option<Reversal>, ProviderError> {
        match self {
            // The sandbox keeps its messages in the server's database. If a failover loses a
            // reversal, it also loses the note that the message about the reversal was sent. So the
            // sandbox sends this message again.
            Self::Sandbox(_) => Ok(None),
            Self::Stripe(provider) => provider.reversal_of(payment).await,
        }
    }

    /// Verifies and parses a message.
    pub fn read(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        now: Millis,
    ) -> Result<ProviderMessage, MessageError> {
        match self {
            Self::Sandbox(provider) => provider.read(headers, body, now),
            Self::Stripe(provider) => provider.read(headers, body, now),
        }
    }
}
