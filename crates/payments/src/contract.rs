//! The contract with a payment provider: what a provider gets, and what it answers.
//!
//! Each checkout and each refund has an idempotency key, so a repeated request has no second
//! effect.

use doorbuster_core::money::{Capture, Money, RefundId, RefundUpdate};
use doorbuster_core::{Millis, TicketId};
use doorbuster_store::Reversal;

/// The error of a request that failed or that the provider refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct ProviderError {
    /// The provider's message, or this server's own reason, such as a failed connection.
    pub why: String,
    /// Whether the provider refused the request. A repeated request gets the same answer.
    pub is_refusal: bool,
    /// Whether the provider got too many requests. A later request may succeed.
    pub is_busy: bool,
}

impl ProviderError {
    /// The error of a provider that did not answer. A later request may succeed.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: false, is_busy: false }
    }

    /// The error of a provider that refused a request.
    pub fn refusal(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: true, is_busy: false }
    }
}

/// Why a provider's message was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The signature or the time is not valid.
    Unverified(String),
    /// The provider signed the message, but the message's content is invalid.
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
        update: RefundUpdate,
        /// The reversal to record if this installation did not request the refund.
        if_not_ours: Option<Reversal>,
    },
    /// A payment was refunded or disputed without a request from the shop, or such a reversal was
    /// cancelled.
    Reversed {
        /// The reversal.
        reversal: Reversal,
        /// The order's id in the message's metadata, if this installation wrote the metadata.
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
    /// The provider's id of the checkout, if the failure ended the checkout.
    pub session: Option<String>,
}

/// A checkout to create.
#[derive(Clone, Debug)]
pub struct NewCheckout {
    /// The order.
    pub order: TicketId,
    /// The idempotency key, which depends only on the content.
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
    /// Returns the return URL with `what` in its query. The query only chooses a text of the order
    /// page. Anyone can write the query, so the server never trusts it.
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
    /// The end time that the server requested for the checkout, in the store's time.
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

/// A payment that is known from the provider's answer to a query, not from a message.
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
