//! An order at the end of a run.

/// An order that the strategy has recorded at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The buyer.
    pub buyer: i64,
    /// The number of units.
    pub units: i64,
}
