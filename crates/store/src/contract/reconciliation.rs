//! The books: every movement of an item's units, and what units and money add up to.
use doorbuster_core::{ItemId, Millis, OrderState, Stock, TicketId};

/// Part of a long list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPage<T> {
    /// Oldest first.
    pub rows: Vec<T>,
    /// Position to continue after; `None`: no more.
    pub next: Option<i64>,
}

/// What an item began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningStock {
    /// Which item.
    pub item: ItemId,
    /// What there was to sell.
    pub total: Stock,
    /// When its sale was made.
    pub at: Millis,
}

/// An operator's change of a total, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockAdjustment {
    /// Which item.
    pub item: ItemId,
    /// By how many units.
    pub units: i64,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// Units of an order that went from one hand to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTransition {
    /// Which order.
    pub order: TicketId,
    /// Of which item.
    pub item: ItemId,
    /// How many units.
    pub units: u64,
    /// Its state before; `None`: it was no order yet.
    pub before: Option<OrderState>,
    /// Its state after.
    pub after: OrderState,
    /// When.
    pub at: Millis,
    /// By whom: `buyer`, `engine`, `operator:KEY`, `provider:NAME`.
    pub by: String,
    /// Why, as they said.
    pub why: Option<String>,
}

/// What the rows of one sale, or of all, add up to, in one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Units and money of each item, by item.
    pub items: Vec<ItemTotals>,
    /// Money for no order of ours, by currency; of all sales only.
    pub unattributed: Vec<MoneyTotals>,
    /// What does not add up.
    pub differences: Vec<Difference>,
    /// Kinds of which there are more than [`crate::limits::DIFFERENCES_MAX`], each with the place
    /// after which to read on.
    pub more: Vec<(DifferenceKind, i64)>,
}

/// Units and money of one item. Units are added up from grants and orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemTotals {
    /// Which item.
    pub item: ItemId,
    /// The shop's names.
    pub sale: String,
    /// The item's.
    pub name: String,
    /// What there is to sell.
    pub total: Stock,
    /// Nobody's yet.
    pub pool: u64,
    /// Granted and not settled, in open grants.
    pub in_slots: u64,
    /// In reserved orders.
    pub held: u64,
    /// In paid orders.
    pub paid: u64,
    /// In orders that ended.
    pub ended: u64,
    /// Price of a unit, in minor units.
    pub price_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Money of its orders, by currency.
    pub money: Vec<MoneyTotals>,
}

/// Money in minor units: `captured = standing + refunded + pending + failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoneyTotals {
    /// ISO 4217.
    pub currency: String,
    /// What providers captured.
    pub captured: i128,
    /// Of that, what stands for paid orders.
    pub standing: i128,
    /// What went back.
    pub refunded: i128,
    /// What is on its way back.
    pub pending: i128,
    /// What was to go back and did not.
    pub failed: i128,
}

/// How something does not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// Units of an item.
    Units,
    /// A captured payment whose order is not paid.
    CapturedWithoutPaidOrder,
    /// A paid order without a payment.
    PaidWithoutPayment,
    /// A payment of another amount than its order costs.
    WrongAmount,
    /// An order with several payments that stand.
    PaidTwice,
    /// A payment that goes back, without a refund.
    RefundMissing,
    /// A refund of a payment that stands, failed, or is not there.
    RefundUnfounded,
    /// A refund of another amount than its payment.
    RefundAmount,
    /// Several refunds of one payment.
    RefundedTwice,
    /// A refund that the provider refused for good, and nobody has seen to.
    RefundFailed,
    /// Money that went back without having been asked to, of a payment that stands for its order,
    /// or whose refund arrived as well.
    Reversed,
}

impl DifferenceKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Units,
        Self::CapturedWithoutPaidOrder,
        Self::PaidWithoutPayment,
        Self::WrongAmount,
        Self::PaidTwice,
        Self::RefundMissing,
        Self::RefundUnfounded,
        Self::RefundAmount,
        Self::RefundedTwice,
        Self::RefundFailed,
        Self::Reversed,
    ];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Units => "units",
            Self::CapturedWithoutPaidOrder => "captured_without_paid_order",
            Self::PaidWithoutPayment => "paid_without_payment",
            Self::WrongAmount => "wrong_amount",
            Self::PaidTwice => "paid_twice",
            Self::RefundMissing => "refund_missing",
            Self::RefundUnfounded => "refund_unfounded",
            Self::RefundAmount => "refund_amount",
            Self::RefundedTwice => "refunded_twice",
            Self::RefundFailed => "refund_failed",
            Self::Reversed => "reversed",
        }
    }
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub kind: DifferenceKind,
    /// Of which item.
    pub item: Option<ItemId>,
    /// Of which order, as it was written.
    pub order: Option<String>,
    /// Of which payment.
    pub payment: Option<String>,
    /// The numbers.
    pub detail: String,
}
