//! Answered challenges. Each can be used once.
use crate::contract::{AnswerSpend, SpendOutcome};

use super::{Store, StoreResult};

/// Challenges.
impl Store {
    /// Spends a challenge, whether the answer is right or wrong. If several answers come at once,
    /// exactly one gets [`SpendOutcome::Now`]. A wrong answer is counted. Each of a buyer's
    /// concurrent answers gets the number of wrong answers that the store handled before it. The
    /// call also deletes some rows that ended a while ago, so that their number stays bounded.
    pub async fn spend_answer(&self, spending: AnswerSpend) -> StoreResult<SpendOutcome> {
        match self {
            Self::Sqlite(s) => s.spend_answer(spending).await,
            Self::Postgres(s) => Box::pin(s.spend_answer(spending)).await,
        }
    }

    /// Returns the number of spent challenges that are remembered.
    pub async fn spent_answers(&self) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.spent_answers().await,
            Self::Postgres(s) => Box::pin(s.spent_answers()).await,
        }
    }
}
