//! Lists of payments and refunds, and what of them an operator should see.
use doorbuster_core::money::{Money, PaymentId, RefundCause};
use doorbuster_core::{ItemId, Millis};

/// Which payments or refunds to list.
#[derive(Clone, Debug, Default)]
pub struct MoneyQuery {
    /// Only those that named this order, as it was written.
    pub order: Option<String>,
    /// Only those of orders of these items; a payment that names no order of ours is of no item.
    pub items: Option<Vec<ItemId>>,
    /// Only what somebody else did wrong ([`RefundCause::is_notice`]).
    pub notices: bool,
    /// Continue after this position (from [`MoneyPage::next`]).
    pub after: Option<i64>,
    /// Oldest first; else newest first.
    pub oldest_first: bool,
    /// At most this many.
    pub limit: usize,
}

/// A page of payments or refunds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoneyPage<T> {
    /// In the order that was asked for.
    pub rows: Vec<T>,
    /// Position to continue after; `None`: no more.
    pub next: Option<i64>,
}

/// Money that came though it should not have, and goes back: somebody else's mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Mismatch, second payment, or unknown order.
    pub what: RefundCause,
    /// Of which item, if the order is one of ours.
    pub item: Option<ItemId>,
    /// The payment.
    pub payment: PaymentId,
    /// The order that it named, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
    /// When it was taken.
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

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
    }
}

/// What a provider says of money that it took, and that went back without having been asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// By which provider.
    pub provider: String,
    /// Which payment.
    pub payment: PaymentId,
    /// How.
    pub kind: ReversalKind,
    /// How much, all in all; `None`: the whole payment.
    pub money: Option<Money>,
    /// False: it came to nothing, and the money is there.
    pub stands: bool,
}

/// A reversal that an operator should see: its payment stands for an order still, or is disputed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversed {
    /// How.
    pub kind: ReversalKind,
    /// Of which item, if the order is one of ours.
    pub item: Option<ItemId>,
    /// The payment.
    pub payment: PaymentId,
    /// The order that it named, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
    /// When it was told of first.
    pub at: Millis,
}
