//! Ensures that the store checks only one answer of each buyer at a time.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};

/// The maximum number of answers that this node checks in the store at the same time.
const CHECKS_MAX: usize = 64;

/// The buyer's pseudonym in one sale.
type Buyer = [u8; 16];
type BuyerLock = Arc<tokio::sync::Mutex<()>>;

/// One lock for each buyer with an answer that is being checked, or that waits for its check. The
/// node checks one answer of a buyer at a time, so a buyer who sends many answers delays no other
/// buyer.
#[derive(Debug)]
pub(super) struct AnswerTurns {
    buyers: Mutex<HashMap<Buyer, BuyerLock>>,
    checks: Semaphore,
}

/// The turn of one answer. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct AnswerTurn<'a> {
    turns: &'a AnswerTurns,
    buyer: Buyer,
    /// `None` while the answer waits.
    lock: Option<OwnedMutexGuard<()>>,
    check: Option<SemaphorePermit<'a>>,
}

impl AnswerTurns {
    pub(super) fn new() -> Self {
        Self { buyers: Mutex::default(), checks: Semaphore::new(CHECKS_MAX) }
    }

    /// Waits until no earlier answer of this buyer is being checked, and then until this node
    /// checks fewer than [`CHECKS_MAX`] answers.
    pub(super) async fn wait(&self, buyer: Buyer) -> AnswerTurn<'_> {
        // The turn is created before the waits. So if the client disconnects during a wait, the
        // dropped turn removes the buyer's entry.
        let mut turn = AnswerTurn { turns: self, buyer, lock: None, check: None };
        let lock = self.buyers().entry(buyer).or_default().clone();
        turn.lock = Some(lock.lock_owned().await);
        turn.check = self.checks.acquire().await.ok();
        turn
    }

    fn buyers(&self) -> MutexGuard<'_, HashMap<Buyer, BuyerLock>> {
        self.buyers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AnswerTurn<'_> {
    fn drop(&mut self) {
        self.check = None;
        self.lock = None;
        // All other references to the lock belong to answers of this buyer. The last of these
        // answers removes the entry.
        let mut buyers = self.turns.buyers();
        if buyers.get(&self.buyer).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            buyers.remove(&self.buyer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    const ANNA: Buyer = [1; 16];
    const BERT: Buyer = [2; 16];

    fn is_ready(future: std::pin::Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn answers_of_one_buyer_wait_for_each_other_and_delay_no_other_buyer() {
        let turns = AnswerTurns::new();
        let first = turns.wait(ANNA).await;
        let mut waiting: Vec<_> = (0..1_000).map(|_| Box::pin(turns.wait(ANNA))).collect();
        assert!(!waiting.iter_mut().any(|answer| is_ready(answer.as_mut())));
        assert!(is_ready(pin!(turns.wait(BERT))), "another buyer must not wait");
        drop(first);
        let turn = waiting.swap_remove(0).await;
        assert!(!is_ready(pin!(turns.wait(ANNA))), "Anna's answers must be checked one by one");
        drop((turn, waiting));
        drop(turns.wait(ANNA).await);
        assert!(turns.buyers().is_empty(), "no buyer may stay in the map after the last answer");
        assert_eq!(turns.checks.available_permits(), CHECKS_MAX);
    }
}
