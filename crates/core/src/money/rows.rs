//! The rows of payments and refunds, and what a provider's message says.
use crate::value::Millis;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    /// In minor units of the currency.
    pub minor: i64,
    /// ISO 4217.
    pub currency: String,
}

/// A provider's id of a payment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId(pub String);

/// The id of a refund, which is also the key under which the provider is asked: made of the
/// payment's, so that a payment has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefundId(pub String);

impl RefundId {
    /// The one refund of this payment.
    #[must_use]
    pub fn for_payment(payment: &PaymentId) -> Self {
        let hash = blake3::hash(payment.0.as_bytes());
        Self(format!("ref_{}", &hash.to_hex()[..32]))
    }
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentState {
    /// It pays for its order.
    Captured,
    /// Its money goes back, or went: its refund says how far that is.
    Refunded,
    /// It was tried and did not succeed.
    Failed,
}

impl PaymentState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Captured, Self::Refunded, Self::Failed];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Failed => "failed",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// A payment, as its provider told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id.
    pub id: PaymentId,
    /// The provider's name.
    pub provider: String,
    /// The order that it named, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
    /// What became of it.
    pub state: PaymentState,
    /// When the first message of it was taken (store time).
    pub at: Millis,
}

/// How money went back without having been asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalKind {
    /// Somebody gave it back at the provider's own console.
    Returned,
    /// The buyer's bank took it back, or is about to.
    Disputed,
}

impl ReversalKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::Returned, Self::Disputed];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Returned => "returned",
            Self::Disputed => "disputed",
        }
    }

    /// The kind that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundCause {
    /// The order had ended, and no unit or no share of the limit was left.
    Late,
    /// Another amount or currency than the order costs.
    Mismatch,
    /// The order was paid before.
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

    /// The word for it, everywhere.
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

    /// The cause that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }

    /// Whether somebody else did something wrong: a notice of the audit.
    #[must_use]
    pub fn is_irregular(self) -> bool {
        matches!(self, Self::Mismatch | Self::Second | Self::UnknownOrder)
    }
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefundState {
    /// The provider was not asked yet, or has not said that the money arrived.
    Pending,
    /// It said so.
    Settled,
    /// It was asked as often as it may be and refused: an operator must look.
    Failed,
}

impl RefundState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Pending, Self::Settled, Self::Failed];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Settled => "settled",
            Self::Failed => "failed",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// A refund: the whole of one payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its id, and the provider's idempotency key.
    pub id: RefundId,
    /// What is refunded.
    pub payment: PaymentId,
    /// By which provider.
    pub provider: String,
    /// The order that the payment named.
    pub order: String,
    /// How much.
    pub money: Money,
    /// Why.
    pub cause: RefundCause,
    /// How far it is.
    pub state: RefundState,
    /// Whether the provider took the request. It is only asked how far it is from then on.
    pub accepted: bool,
    /// How often the provider was asked in vain since it last answered.
    pub tries: u32,
    /// When it is asked next.
    pub next_at: Millis,
    /// What it said last in vain.
    pub error: Option<String>,
    /// When the refund was decided.
    pub at: Millis,
    /// When the provider said that it arrived.
    pub settled_at: Option<Millis>,
}

/// A provider's message that money was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The message's id; unique with the provider's name.
    pub event: String,
    /// Whose message.
    pub provider: String,
    /// Which payment.
    pub payment: PaymentId,
    /// For which order, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
}
