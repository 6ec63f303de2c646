//! Results of erasing a buyer.

pub use doorbuster_types::RetainReason;

/// The rows that name one buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuyerTraces {
    /// The number of orders that can be erased now.
    pub orders: u64,
    /// The number of other rows that can be erased now: waiting room positions, waitlist entries,
    /// spent codes, feed rows, refused tickets and browsers' subscriptions.
    pub other: u64,
    /// The rows that cannot be erased now, as one element for each sale and each reason.
    pub held_back: Vec<RetainedRows>,
    /// Whether operators block this buyer. An erasure keeps an active block.
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

/// How many rows one transaction of an erasure changed or deleted. Both counts are 0 when no
/// further row can be erased now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// The number of orders.
    pub orders: u64,
    /// The number of other rows.
    pub other: u64,
}
