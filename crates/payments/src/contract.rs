//! The types that all payment providers share: the requests that a provider gets, and the answers
//! and messages that it returns.
//!
//! Each checkout and each refund has an idempotency key. If the server repeats a request, the
//! provider does not create a second checkout or refund.

use doorbuster_core::money::{Capture, Money, RefundId, RefundUpdate, ReversalReport};
use doorbuster_core::{Millis, TicketId};

/// The error of a request that failed or that the provider refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct ProviderError {
    /// The reason: the provider's error text, or this server's own text, for example about a failed
    /// connection.
    pub why: String,
    /// Whether the provider refused the request. A repeated request would be refused too.
    pub is_refusal: bool,
    /// Whether the provider does not accept the server's key, or the key lacks a permission. After
    /// an operator has corrected the key, the same request may succeed.
    pub is_forbidden: bool,
    /// Whether the provider did not handle the request because it gets too many requests. A later
    /// request may succeed.
    pub is_busy: bool,
}

impl ProviderError {
    /// Returns the error of a request that got no answer. A later request may succeed.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: false, is_forbidden: false, is_busy: false }
    }

    /// Returns the error of a request that the provider refused.
    pub fn refusal(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: true, is_forbidden: false, is_busy: false }
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
        /// The reversal to record if this installation did not request the refund, for example
        /// because a person made it at the provider.
        if_not_ours: Option<ReversalReport>,
    },
    /// A payment was refunded or disputed without a request from the shop, or such a refund or
    /// dispute was cancelled.
    Reversed {
        /// The reversal.
        reversal: ReversalReport,
        /// The order's id from the message's metadata. `None` if this installation did not write
        /// the metadata.
        order: Option<String>,
    },
    /// A checkout has closed: it accepts no more payments.
    Closed {
        /// The order, as written in the message.
        order: String,
        /// The provider's id of the checkout.
        session: String,
    },
    /// A message that this server does not need.
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
    /// The provider's id of the checkout, if the failed attempt ended the checkout.
    pub session: Option<String>,
}

/// A checkout to create.
#[derive(Clone, Debug)]
pub struct NewCheckout {
    /// The order.
    pub order: TicketId,
    /// The idempotency key. The same content always gives the same key.
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
    /// Returns the return URL with `what` in its query. The order page uses `what` only to choose a
    /// text. Anyone can change the URL, so the server never trusts it.
    pub(crate) fn return_url_with(&self, what: &str) -> String {
        format!("{}?back={what}", self.return_url)
    }
}

/// A created checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// The provider's id of the checkout.
    pub session: String,
    /// The URL of the checkout's page for the buyer's browser. A URL without a host is a path of
    /// this server.
    pub url: String,
    /// The end that the server requested for this checkout, in the store's time.
    pub expires_at: Millis,
}

/// The state of a checkout after a request to close it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutStatus {
    /// The checkout captured no payment, and accepts no more payments.
    Closed,
    /// The checkout captured these payments, and accepts no more payments.
    Paid(Vec<FoundPayment>),
    /// A payment is pending and may still fail. The server must ask again later.
    Undecided,
}

/// A payment that the provider reported in its answer to a query. The provider's message about the
/// payment may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPayment {
    /// The captured payment.
    pub capture: Capture,
    /// The reversal of the payment, if the provider reports a reversal.
    pub back: Option<ReversalReport>,
}

/// Why a provider does not accept a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpayablePrice {
    /// The JSON member of the price that the provider does not accept: `amount_minor` or
    /// `currency`.
    pub member: &'static str,
    /// The reason.
    pub why: &'static str,
}
