//! What may be used once, and who was wrong of late.
use doorbuster_core::Millis;

/// The answer to a challenge, to be spent.
#[derive(Clone, Copy, Debug)]
pub struct AnswerSpend {
    /// The challenge.
    pub id: [u8; 16],
    /// When it ends: no answer counts from then on, whether or not it is remembered.
    pub until: Millis,
    /// Whose answer it is, hashed.
    pub by: [u8; 16],
    /// Whether it is right.
    pub is_correct: bool,
    /// For how long wrong answers are counted together.
    pub window_ms: i64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// It was spent before; nothing was done.
    AlreadySpent,
    /// It had ended when the answer came to the store; nothing was done.
    Expired,
    /// It is spent now.
    Now {
        /// Wrong answers of the same buyer before this one, of those that are counted together.
        misses: u32,
        /// When they are forgotten.
        until: Millis,
    },
}
