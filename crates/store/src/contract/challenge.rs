//! Challenges, and counts of recent wrong answers. Only the first answer to a challenge counts.
use doorbuster_core::Millis;

/// An answer to a challenge. The answer spends the challenge.
#[derive(Clone, Copy, Debug)]
pub struct AnswerSpend {
    /// The challenge's id.
    pub id: [u8; 16],
    /// When the challenge ends. The store refuses an answer after that time, because the store may
    /// have deleted the row that shows whether the challenge was answered before.
    pub until: Millis,
    /// A hash of the sale and the buyer who answers. The store counts the wrong answers with the
    /// same hash together.
    pub by: [u8; 16],
    /// Whether the answer is right.
    pub is_correct: bool,
    /// The length of a period, in milliseconds. The store counts the wrong answers of one period
    /// together.
    pub window_ms: i64,
}

/// The result of spending a challenge with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// The challenge was spent before. Nothing was written.
    AlreadySpent,
    /// The challenge had ended when the answer reached the store. Nothing was written.
    Expired,
    /// This call spent the challenge.
    Now {
        /// How many wrong answers this buyer gave earlier in the current period.
        misses: u32,
        /// When the count of wrong answers resets to 0.
        until: Millis,
    },
}
