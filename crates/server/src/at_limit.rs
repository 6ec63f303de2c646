//! Buyers who hold as much of an item as the limit allows, as the truth said when a press of theirs
//! was settled.
//!
//! A slot knows the shares of those who bought under its present grant. After a pause, a restart,
//! or at another node it does not, and each press of a buyer at the limit would take a ticket to
//! the store to hear the same again. This memory hears it once.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_core::Units;
use hashbrown::HashMap;

/// Buyers that are remembered of one item; at the bound all are forgotten, and the truth is asked
/// again.
const BUYERS_MAX: usize = 65_536;

/// One item's buyers at the limit.
#[derive(Debug, Default)]
pub struct AtLimit {
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Endings of orders that this node had been told of when what is here was read. With the next
    /// one it may be old.
    told: u64,
    /// Units held, by the buyer's keyed hash, and when that had been read.
    used: HashMap<u64, (u32, Instant), foldhash::fast::FixedState>,
}

impl AtLimit {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The truth said so after this node had been told of `told` endings.
    pub(crate) fn learn(&self, buyer: u64, used: u32, told: u64) {
        let mut state = self.lock();
        if told < state.told {
            return;
        }
        if told > state.told || state.used.len() >= BUYERS_MAX {
            state.used.clear();
            state.told = told;
        }
        state.used.insert(buyer, (used, Instant::now()));
        self.count.store(state.used.len(), Ordering::Release);
    }

    /// What the buyer holds, if with `units` more that passes the limit, no order of the item ended
    /// since it was read, and this node has looked at the truth since: `staleness` ago.
    pub(crate) fn refuses(
        &self,
        buyer: u64,
        units: Units,
        limit: u32,
        told: u64,
        unseen_for: Duration,
    ) -> Option<u32> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let state = self.lock();
        let (used, read) = state.used.get(&buyer).copied().filter(|_| state.told == told)?;
        if read.elapsed() < unseen_for {
            return None;
        }
        (u64::from(used) + units.to_u64() > u64::from(limit)).then_some(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The truth was looked at just now.
    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_buyer_at_the_limit_is_known_until_an_order_ends() {
        let (at_limit, two) = (AtLimit::default(), Units::new(2).expect("in range"));
        assert_eq!(at_limit.refuses(7, Units::ONE, 3, 0, NOW), None, "never heard of");
        at_limit.learn(7, 2, 4);
        assert_eq!(at_limit.refuses(7, two, 3, 4, NOW), Some(2));
        assert_eq!(
            at_limit.refuses(7, two, 3, 4, Duration::from_secs(60)),
            None,
            "may be an order that this node has not heard of"
        );
        assert_eq!(at_limit.refuses(7, Units::ONE, 3, 4, NOW), None, "within the limit");
        assert_eq!(at_limit.refuses(7, two, 4, 4, NOW), None, "the limit was raised");
        assert_eq!(at_limit.refuses(8, two, 3, 4, NOW), None, "somebody else");
        assert_eq!(at_limit.refuses(7, two, 3, 5, NOW), None, "an order ended");
        at_limit.learn(8, 3, 5);
        at_limit.learn(9, 3, 4);
        assert_eq!(at_limit.refuses(9, two, 3, 5, NOW), None, "read before that ending");
        assert_eq!(at_limit.refuses(7, two, 3, 5, NOW), None, "forgotten with it");
        assert_eq!(at_limit.refuses(8, two, 3, 5, NOW), Some(3));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let at_limit = AtLimit::default();
        (0..BUYERS_MAX as u64 + 5).for_each(|buyer| at_limit.learn(buyer, 1, 0));
        assert_eq!(at_limit.lock().used.len(), 5);
    }
}
