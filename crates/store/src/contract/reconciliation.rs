//! Reconciliation: every movement of an item's units, and the totals of units and money.
use doorbuster_core::{ItemId, Millis, OrderState, Stock, TicketId};

/// The stock that an item started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningStock {
    /// The item.
    pub item: ItemId,
    /// The units to sell.
    pub total: Stock,
    /// When the item's sale was created.
    pub at: Millis,
}

/// A recorded change of an item's total by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockAdjustment {
    /// The item.
    pub item: ItemId,
    /// The number of added units. A negative number means removed units.
    pub units: i64,
    /// The reason.
    pub reason: String,
    /// When the operator made the change.
    pub at: Millis,
}

/// A change of an order's state, which also moves the order's units, for example from held to paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTransition {
    /// The order.
    pub order: TicketId,
    /// The item.
    pub item: ItemId,
    /// The number of units.
    pub units: u64,
    /// The order's state before the change. `None` if the change created the order.
    pub before: Option<OrderState>,
    /// The order's state after the change.
    pub after: OrderState,
    /// When the state changed.
    pub at: Millis,
    /// Who changed the state: `buyer`, `engine`, `operator:KEY`, `provider:NAME`.
    pub by: String,
    /// The reason that the author gave.
    pub why: Option<String>,
}

/// The totals of one sale, or of all sales, from one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Units and money of each item.
    pub items: Vec<ItemTotals>,
    /// Money of payments that name no known order: one element for each currency. Only a report of
    /// all sales includes this money.
    pub unattributed: Vec<MoneyTotals>,
    /// The differences that were found.
    pub differences: Vec<Difference>,
    /// The kinds of differences that exceed [`crate::limits::DIFFERENCES_MAX`], so that this report
    /// lists only some of them. Each kind has the position after which its next differences begin.
    pub more: Vec<(DifferenceKind, i64)>,
}

/// Units and money of one item. The units in slots and in orders are summed from the rows of grants
/// and orders. They are not the item's stored counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemTotals {
    /// The item.
    pub item: ItemId,
    /// The shop's id of the sale.
    pub sale: String,
    /// The shop's id of the item.
    pub name: String,
    /// The units to sell.
    pub total: Stock,
    /// Units in the pool.
    pub pool: u64,
    /// Units in open grants that are not settled.
    pub in_slots: u64,
    /// Units of reserved orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
    /// Units of orders that ended.
    pub ended: u64,
    /// The price of a unit, in minor units.
    pub price_minor: i64,
    /// The currency code of ISO 4217.
    pub currency: String,
    /// The money of the item's orders: one element for each currency.
    pub money: Vec<MoneyTotals>,
}

/// Money in minor units: `captured = standing + refunded + pending + failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoneyTotals {
    /// The currency code of ISO 4217.
    pub currency: String,
    /// The amount that providers captured.
    pub captured: i128,
    /// The sum of the captured payments that have no refund.
    pub standing: i128,
    /// The refunded amount.
    pub refunded: i128,
    /// The amount of pending refunds.
    pub pending: i128,
    /// The amount of failed refunds.
    pub failed: i128,
}

doorbuster_core::labels! {
    /// The kinds of differences.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum DifferenceKind {
        /// The units of an item do not add up.
        Units = "units",
        /// A captured payment whose order is not paid.
        CapturedWithoutPaidOrder = "captured_without_paid_order",
        /// A paid order without a payment.
        PaidWithoutPayment = "paid_without_payment",
        /// A payment whose amount differs from the price of its order.
        WrongAmount = "wrong_amount",
        /// An order with several captured payments.
        PaidTwice = "paid_twice",
        /// A payment that should be refunded and has no refund.
        RefundMissing = "refund_missing",
        /// A refund whose payment is not in the state refunded: the payment is captured or failed,
        /// or does not exist.
        RefundUnfounded = "refund_unfounded",
        /// A refund whose amount differs from the amount of its payment.
        RefundAmount = "refund_amount",
        /// Several refunds of one payment.
        RefundedTwice = "refunded_twice",
        /// A refund that the provider refused permanently and that no operator has resolved.
        RefundFailed = "refund_failed",
        /// A payment that was reversed without a request of this server. Either the store still
        /// counts the payment as captured, or the buyer disputes a payment that this server has
        /// also refunded.
        Reversed = "reversed",
    }
}

/// A difference between rows that should agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The kind of the difference.
    pub kind: DifferenceKind,
    /// The item.
    pub item: Option<ItemId>,
    /// The order's id, in the form in which the row stores it.
    pub order: Option<String>,
    /// The payment.
    pub payment: Option<String>,
    /// The numbers that differ.
    pub detail: String,
}
