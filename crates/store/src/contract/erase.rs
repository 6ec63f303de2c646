//! Results of erasing a buyer.

/// The rows that name one buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuyerTraces {
    /// The number of orders that can be erased now.
    pub orders: u64,
    /// The number of other rows that can be erased now: waiting room positions, waitlist entries,
    /// spent codes, feed rows and refused tickets.
    pub other: u64,
    /// Rows that cannot be erased now, by sale and reason.
    pub held_back: Vec<RetainedRows>,
    /// Whether operators block this buyer. An active block is never erased, so only operators can
    /// end it.
    pub blocked: bool,
}

/// Rows of one buyer that must be kept for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedRows {
    /// The sale.
    pub sale: String,
    /// The reason why the rows must be kept.
    pub why: RetainReason,
    /// The number of orders.
    pub orders: u64,
    /// The number of other rows.
    pub other: u64,
}

/// The reason why a row must be kept for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetainReason {
    /// The row belongs to a sale that is not closed.
    NotClosed,
    /// The order waits for its payment.
    Unpaid,
    /// The provider has not yet confirmed that it accepts no money for the order.
    OpenCheckout,
    /// A refund is not settled, or it is a dead letter that no operator has resolved.
    RefundDue,
}

impl RetainReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::NotClosed, Self::Unpaid, Self::OpenCheckout, Self::RefundDue];

    /// Returns the word for this reason in the API and in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotClosed => "not_closed",
            Self::Unpaid => "unpaid",
            Self::OpenCheckout => "open_checkout",
            Self::RefundDue => "refund_due",
        }
    }

    /// Parses the word for a reason.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == word)
    }
}

/// How many rows one transaction of an erasure replaced. Both counts are 0 when no row is left that
/// can be erased now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// The number of orders.
    pub orders: u64,
    /// The number of other rows.
    pub other: u64,
}
