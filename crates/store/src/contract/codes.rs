//! What is told of access codes.

/// What adding codes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodesOutcome {
    /// Every one was added.
    Done,
    /// No such sale.
    NotFound,
    /// The sale would have more than [`crate::limits::CODES_MAX`].
    TooMany,
}

/// How many codes a sale has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeCounts {
    /// Codes.
    pub codes: u64,
    /// Buyers that they are good for.
    pub uses: u64,
    /// Buyers that have spent one.
    pub spent: u64,
}
