//! What erasing a buyer comes to.

/// What there is of one buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuyerTraces {
    /// Orders that can be erased now.
    pub orders: u64,
    /// Other rows that can be erased now: places in rooms and lines, spent codes, what slots were
    /// told, refused tickets.
    pub other: u64,
    /// What cannot, by sale and reason.
    pub held_back: Vec<RetainedRows>,
    /// Operators turn this buyer away. That is theirs to end: a block is never erased while it
    /// holds.
    pub blocked: bool,
}

/// What of one buyer has to stay for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedRows {
    /// Of which sale.
    pub sale: String,
    /// Why.
    pub why: RetainReason,
    /// So many orders.
    pub orders: u64,
    /// So many other rows.
    pub other: u64,
}

/// Why something has to stay for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetainReason {
    /// The sale is not closed.
    NotClosed,
    /// The order waits for its payment.
    Unpaid,
    /// The provider has not said yet that it takes no money for the order.
    OpenCheckout,
    /// A refund did not arrive, or was given up and nobody has seen to it.
    RefundDue,
}

impl RetainReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::NotClosed, Self::Unpaid, Self::OpenCheckout, Self::RefundDue];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotClosed => "not_closed",
            Self::Unpaid => "unpaid",
            Self::OpenCheckout => "open_checkout",
            Self::RefundDue => "refund_due",
        }
    }

    /// The reason that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == word)
    }
}

/// What one transaction of an erasure replaced. Nothing of either: nothing is left that can be
/// erased now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Orders.
    pub orders: u64,
    /// Other rows.
    pub other: u64,
}
