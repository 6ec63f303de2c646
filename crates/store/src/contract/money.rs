//! Lists of payments and refunds, and the payments that an operator should see.
use doorbuster_core::money::{Money, PaymentId, RefundCause, ReversalKind};
use doorbuster_core::{ItemId, Millis, TicketId};

/// A checkout whose next check at the provider is postponed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutDeferral {
    /// The order.
    pub order: TicketId,
    /// The provider's id of the checkout.
    pub session: String,
    /// The time from now until the next check, in milliseconds.
    pub ms: i64,
    /// True if a query was sent to the provider and got no answer (see
    /// [`doorbuster_core::money::record_unanswered_check`]). False if no query reached the
    /// provider.
    pub unanswered: bool,
}

/// A filter for a list of payments or refunds.
#[derive(Clone, Debug, Default)]
pub struct MoneyQuery {
    /// Only rows that name this order. The text is the order's id as the provider sent it.
    pub order: Option<String>,
    /// Only rows for orders of these items. A payment for an unknown order belongs to no item.
    pub items: Option<Vec<ItemId>>,
    /// Only rows that a provider or a buyer caused by mistake ([`RefundCause::is_irregular`]).
    pub notices: bool,
    /// Continue after this position (from [`crate::Page::next`]).
    pub after: Option<i64>,
    /// True if the oldest rows come first. Otherwise the newest rows come first.
    pub oldest_first: bool,
    /// The largest number of rows in the page.
    pub limit: usize,
}

/// A payment that a provider or a buyer made by mistake. The server refunds the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNotice {
    /// The cause of the refund: a wrong amount or currency, a second payment, or an unknown order.
    pub what: RefundCause,
    /// The item, if the order exists.
    pub item: Option<ItemId>,
    /// The payment's id.
    pub payment: PaymentId,
    /// The order that the payment named, as the provider sent it.
    pub order: String,
    /// The amount.
    pub money: Money,
    /// When the provider captured the payment.
    pub at: Millis,
}

/// A reversal that an operator should see: either the store still counts the reversed payment as
/// captured, or the reversal is a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversedPayment {
    /// How the money was reversed.
    pub kind: ReversalKind,
    /// The order's item. `None` if the order does not exist.
    pub item: Option<ItemId>,
    /// The payment's id.
    pub payment: PaymentId,
    /// The order that the payment named, as the provider sent it.
    pub order: String,
    /// The reversed amount.
    pub money: Money,
    /// For a dispute: when it was first reported. For a refund by hand: the time of the stored
    /// report.
    pub at: Millis,
}
