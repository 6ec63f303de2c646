//! Arguments and results of the calls that add, revoke and count access codes.

/// Codes to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeSelection {
    /// Every code that begins with this text. The text has at most [`CODE_PREFIX_CHARS`]
    /// characters.
    Prefix(String),
    /// The code with this hash.
    Code([u8; 32]),
}

/// The store does not keep a whole code: it keeps this many of the code's first characters, and the
/// code's hash.
pub const CODE_PREFIX_CHARS: usize = 4;

/// The result of adding codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodesOutcome {
    /// All codes were added.
    Done,
    /// No such sale exists.
    NotFound,
    /// The sale would have more codes than [`crate::limits::CODES_MAX`].
    TooMany,
}

/// The number of codes of a sale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeCounts {
    /// The number of codes.
    pub codes: u64,
    /// The number of buyers that the codes admit in total, including those who have spent a code.
    pub uses: u64,
    /// The number of buyers who have spent a code.
    pub spent: u64,
}
