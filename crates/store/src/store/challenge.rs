//! What may be used once: answered challenges.
use crate::contract::{AnswerSpend, SpendOutcome};

use super::{Store, StoreResult};

/// Challenges.
impl Store {
    /// Spends a challenge, whatever the answer was: of several answers to it, wherever they come
    /// in, exactly one hears [`SpendOutcome::Now`]. A wrong one is counted; of one buyer's answers
    /// at once each hears of the wrong ones that came to the store before it. Forgets some of what
    /// ended a while ago, so that there is never much more than what has not.
    pub async fn spend_answer(&self, spending: AnswerSpend) -> StoreResult<SpendOutcome> {
        match self {
            Self::Sqlite(s) => s.spend_answer(spending).await,
            Self::Postgres(s) => Box::pin(s.spend_answer(spending)).await,
        }
    }

    /// How many spent challenges are remembered.
    pub async fn spent_answers(&self) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.spent_answers().await,
            Self::Postgres(s) => Box::pin(s.spent_answers()).await,
        }
    }
}
