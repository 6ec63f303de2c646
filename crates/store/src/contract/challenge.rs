//! Challenges, which may be answered once, and counts of recent wrong answers.
use doorbuster_core::Millis;

/// An answer to a challenge, to be spent.
#[derive(Clone, Copy, Debug)]
pub struct AnswerSpend {
    /// The challenge's id.
    pub id: [u8; 16],
    /// When the challenge ends. No answer counts from then on, whether or not the store still
    /// remembers the challenge.
    pub until: Millis,
    /// The buyer who answers, hashed.
    pub by: [u8; 16],
    /// Whether the answer is right.
    pub is_correct: bool,
    /// The period in which wrong answers are counted together.
    pub window_ms: i64,
}

/// The result of spending an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpendOutcome {
    /// The challenge was spent before; nothing was written.
    AlreadySpent,
    /// The challenge had ended when the answer reached the store; nothing was written.
    Expired,
    /// This call spent the challenge.
    Now {
        /// The number of this buyer's earlier wrong answers in the current period.
        misses: u32,
        /// When that count resets.
        until: Millis,
    },
}
