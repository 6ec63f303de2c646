//! The rows of payments and refunds, and the contents of a provider's message.
use crate::value::Millis;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    /// The amount in minor units of the currency.
    pub minor: i64,
    /// The currency, by its ISO 4217 code.
    pub currency: String,
}

/// A provider's id of a payment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId(pub String);

/// The id of a refund, which is also the provider's idempotency key. It is made from the payment's
/// id, so a payment has one refund.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefundId(pub String);

impl RefundId {
    /// Returns the id of this payment's refund.
    #[must_use]
    pub fn for_payment(payment: &PaymentId) -> Self {
        let hash = blake3::hash(payment.0.as_bytes());
        Self(format!("ref_{}", &hash.to_hex()[..32]))
    }
}

/// The state of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// The payment pays for its order.
    Captured,
    /// The payment is refunded, or will be. Its refund has the details.
    Refunded,
    /// The payment was attempted and did not succeed.
    Failed,
}

impl PaymentState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Captured, Self::Refunded, Self::Failed];

    /// Returns the name in rows and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
        }
    }

    /// Parses a state's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// A payment, as its provider reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id.
    pub id: PaymentId,
    /// The provider's name.
    pub provider: String,
    /// The order that the payment named, as the message had it.
    pub order: String,
    /// The amount.
    pub money: Money,
    /// The payment's state.
    pub state: PaymentState,
    /// When the payment's first message was handled (store time).
    pub at: Millis,
}

/// How money went back without a refund by this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalKind {
    /// A person returned the money by hand at the provider's console.
    Returned,
    /// A dispute: the buyer's bank took the money back, or will take it back.
    Disputed,
}

impl ReversalKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Returned, Self::Disputed];

    /// Returns the name in rows and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Disputed => "disputed",
        }
    }

    /// Parses a kind's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// Why money is refunded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundCause {
    /// The payment came after the order had ended, and no units were left or the buyer's limit was
    /// reached.
    Late,
    /// The amount or the currency differs from the order's price.
    Mismatch,
    /// Another payment had paid for the order.
    Second,
    /// No order had this id when the money came.
    UnknownOrder,
    /// An operator refunded the order.
    Operator,
}

impl RefundCause {
    /// Every cause.
    pub const ALL: &[Self] =
        &[Self::Late, Self::Mismatch, Self::Second, Self::UnknownOrder, Self::Operator];

    /// Returns the name in rows, JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Mismatch => "mismatch",
            Self::Second => "second",
            Self::UnknownOrder => "unknown_order",
            Self::Operator => "operator",
        }
    }

    /// Parses a cause's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }

    /// Returns whether the cause is an error outside of this server, which the audit reports as a
    /// notice.
    #[must_use]
    pub fn is_irregular(self) -> bool {
        matches!(self, Self::Mismatch | Self::Second | Self::UnknownOrder)
    }
}

/// The state of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundState {
    /// The refund is not requested yet, or the provider has not confirmed that the money arrived.
    Pending,
    /// The provider confirmed that the money arrived.
    Settled,
    /// The provider refused the refund as often as the bound allows. An operator must resolve it.
    Failed,
}

impl RefundState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Pending, Self::Settled, Self::Failed];

    /// Returns the name in rows, JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }

    /// Parses a state's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// A refund of one whole payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The refund's id, which is also the provider's idempotency key.
    pub id: RefundId,
    /// The payment.
    pub payment: PaymentId,
    /// The provider.
    pub provider: String,
    /// The order that the payment named.
    pub order: String,
    /// The amount.
    pub money: Money,
    /// The cause.
    pub cause: RefundCause,
    /// The state.
    pub state: RefundState,
    /// Whether the provider accepted the request. From then on the server only queries its
    /// progress.
    pub accepted: bool,
    /// Failed requests since the provider last answered.
    pub tries: u32,
    /// When the server contacts the provider next.
    pub next_at: Millis,
    /// The last failure.
    pub error: Option<String>,
    /// When the refund was decided.
    pub at: Millis,
    /// When the provider confirmed that the money arrived.
    pub settled_at: Option<Millis>,
}

/// A provider's message that money was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The message's id, which is unique together with the provider's name.
    pub event: String,
    /// The provider that sent the message.
    pub provider: String,
    /// The payment.
    pub payment: PaymentId,
    /// The order, as the message had it.
    pub order: String,
    /// The amount.
    pub money: Money,
}
