//! Requests that were told they are queued, until their verdict is due: whatever the door says by
//! then, a retry hears what it was told before.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::{ItemId, Millis, RequestHash};
use hashbrown::HashMap;

/// Requests that one node remembers so; past it those told first are forgotten, and have to pass
/// the door again.
const UNDECIDED_MAX: usize = 65_536;

/// What a queued request asked for, and its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) item: ItemId,
    pub(crate) cut: IssuedTicket,
}

/// The queued requests of a node.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    count: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    told: HashMap<u64, Queued, foldhash::fast::FixedState>,
    /// In the order in which they were told, with when their verdicts are due.
    due: VecDeque<(Millis, u64)>,
}

impl Undecided {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Between any two of its changes the worst is a verdict's time without its request.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request that is told so at this instant (store time), and forgets those that
    /// were due before.
    pub(crate) fn tell(&self, request: RequestHash, queued: Queued, now: Millis) {
        let mut state = self.lock();
        while let Some(&(due, low_64_bits)) = state.due.front()
            && (due < now || state.due.len() >= UNDECIDED_MAX)
        {
            state.due.pop_front();
            if state.told.get(&low_64_bits).is_some_and(|queued| queued.cut.decide_by == due) {
                state.told.remove(&low_64_bits);
            }
        }
        let due = queued.cut.decide_by;
        if state
            .told
            .insert(request.low_64_bits(), queued)
            .is_none_or(|before| before.cut.decide_by != due)
        {
            state.due.push_back((due, request.low_64_bits()));
        }
        self.count.store(state.told.len(), Ordering::Release);
    }

    /// Whether a request was told so, and its verdict may still be to come.
    pub(crate) fn has(&self, request: RequestHash) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.lock().told.contains_key(&request.low_64_bits())
    }

    /// What a request was told whose verdict is not due at this instant (store time).
    pub(crate) fn told(&self, request: RequestHash, now: Millis) -> Option<Queued> {
        self.lock()
            .told
            .get(&request.low_64_bits())
            .copied()
            .filter(|queued| now <= queued.cut.decide_by)
    }

    /// It is decided.
    pub(crate) fn forget(&self, request: RequestHash) {
        let mut state = self.lock();
        state.told.remove(&request.low_64_bits());
        self.count.store(state.told.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::{GrantId, IdKey, TicketN, Token, Units};

    use super::*;

    fn queued(token: u64, due: i64) -> Queued {
        let units = Units::new(1).expect("in range");
        let cut = IssuedTicket {
            token: Token(token),
            grant: GrantId(1),
            n: TicketN(1),
            units,
            decide_by: Millis(due),
        };
        Queued { item: ItemId(1), cut }
    }

    #[test]
    fn a_request_is_remembered_until_its_verdict_is_due() {
        let (undecided, key) = (Undecided::default(), IdKey::new([1; 32]));
        let [a, b, c] = ["a", "b", "c"].map(|name| key.request_hash("anna", name));
        assert!(!undecided.has(a));
        undecided.tell(a, queued(1, 10), Millis(0));
        undecided.tell(a, queued(1, 10), Millis(1));
        undecided.tell(b, queued(2, 11), Millis(1));
        assert_eq!(undecided.told(a, Millis(10)), Some(queued(1, 10)));
        assert_eq!(undecided.told(a, Millis(11)), None);
        // Told of another ticket, it is remembered for as long as that has.
        undecided.tell(a, queued(3, 20), Millis(9));
        undecided.tell(c, queued(4, 30), Millis(15));
        assert_eq!((undecided.has(a), undecided.has(b), undecided.has(c)), (true, false, true));
        assert_eq!(undecided.told(a, Millis(15)), Some(queued(3, 20)));
        undecided.forget(a);
        assert!(!undecided.has(a) && undecided.has(c));
    }

    #[test]
    fn there_is_a_bound() {
        let (undecided, key) = (Undecided::default(), IdKey::new([1; 32]));
        for n in 0..UNDECIDED_MAX + 10 {
            undecided.tell(
                key.request_hash("anna", &n.to_string()),
                queued(n as u64, 10),
                Millis(0),
            );
        }
        let state = undecided.lock();
        assert_eq!((state.told.len(), state.due.len()), (UNDECIDED_MAX, UNDECIDED_MAX));
    }
}
