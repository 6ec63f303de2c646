//! Remembers the requests that this node answered with `Queued`, until their `decide_by`. A client
//! that repeats such a request gets `Queued` again, even if the front door would refuse the request
//! now.
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::{Millis, RequestHash, Token};
use doorbuster_steps::memory::Queued;
use hashbrown::HashMap;

/// The maximum number of requests that one node remembers. When it is reached, the node forgets the
/// oldest request. If a client repeats a forgotten request, the front door checks the request
/// again.
const UNDECIDED_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(crate) struct QueuedRequests {
    count: AtomicUsize,
    state: Mutex<QueuedState>,
}

#[derive(Debug, Default)]
struct QueuedState {
    queued: HashMap<u64, Queued, foldhash::fast::FixedState>,
    /// For each ticket, its `decide_by` and 64 bits of its request's hash. The request that was
    /// answered first is at the front.
    due: VecDeque<(Millis, u64)>,
}

impl QueuedRequests {
    fn lock(&self) -> MutexGuard<'_, QueuedState> {
        // A thread that panicked under this lock may have left an outdated request behind. Such a
        // request does no harm, because `find` checks `decide_by`.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request that is answered with `Queued` at the store's time `now`. Also forgets
    /// requests whose `decide_by` has passed.
    pub fn remember(&self, request: RequestHash, queued: Queued, now: Millis) {
        let mut state = self.lock();
        while let Some(&(due, low_64_bits)) = state.due.front()
            && (due < now || state.due.len() >= UNDECIDED_MAX)
        {
            state.due.pop_front();
            if state.queued.get(&low_64_bits).is_some_and(|queued| queued.ticket.decide_by == due) {
                state.queued.remove(&low_64_bits);
            }
        }
        let due = queued.ticket.decide_by;
        if state
            .queued
            .insert(request.low_64_bits(), queued)
            .is_none_or(|before| before.ticket.decide_by != due)
        {
            state.due.push_back((due, request.low_64_bits()));
        }
        self.count.store(state.queued.len(), Ordering::Release);
    }

    /// Returns whether this node answered the request with `Queued`. Such a request may still be
    /// undecided.
    pub fn contains(&self, request: RequestHash) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.lock().queued.contains_key(&request.low_64_bits())
    }

    /// Returns the ticket of a request that this node answered with `Queued`. Returns `None` if the
    /// ticket's `decide_by` has passed at the store's time `now`.
    pub fn find(&self, request: RequestHash, now: Millis) -> Option<Queued> {
        self.lock()
            .queued
            .get(&request.low_64_bits())
            .copied()
            .filter(|queued| now <= queued.ticket.decide_by)
    }

    /// Forgets a request whose ticket `ticket` has a verdict. If the request got another ticket
    /// meanwhile, the node still remembers the request.
    pub fn forget(&self, request: RequestHash, ticket: Token) {
        let mut state = self.lock();
        let request = request.low_64_bits();
        if state.queued.get(&request).is_some_and(|queued| queued.ticket.token == ticket) {
            state.queued.remove(&request);
        }
        self.count.store(state.queued.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::slot::IssuedTicket;
    use doorbuster_core::{GrantId, IdKey, ItemId, TicketN, Units};

    use super::*;

    fn queued(token: u64, due: i64) -> Queued {
        let units = Units::new(1).expect("the number is in range");
        let ticket = IssuedTicket {
            token: Token(token),
            grant: GrantId(1),
            n: TicketN(1),
            units,
            decide_by: Millis(due),
        };
        Queued { item: ItemId(1), ticket }
    }

    #[test]
    fn a_queued_request_is_remembered_until_its_decide_by() {
        let (queued_requests, key) = (QueuedRequests::default(), IdKey::new([1; 32]));
        let [a, b, c] = ["a", "b", "c"].map(|name| key.request_hash("anna", name));
        assert!(!queued_requests.contains(a));
        queued_requests.remember(a, queued(1, 10), Millis(0));
        queued_requests.remember(a, queued(1, 10), Millis(1));
        queued_requests.remember(b, queued(2, 11), Millis(1));
        assert_eq!(queued_requests.find(a, Millis(10)), Some(queued(1, 10)));
        assert_eq!(queued_requests.find(a, Millis(11)), None);
        // The request `a` gets a second ticket. The node must remember `a` until the later
        // `decide_by`.
        queued_requests.remember(a, queued(3, 20), Millis(9));
        queued_requests.remember(c, queued(4, 30), Millis(15));
        assert_eq!(
            (queued_requests.contains(a), queued_requests.contains(b), queued_requests.contains(c)),
            (true, false, true)
        );
        assert_eq!(queued_requests.find(a, Millis(15)), Some(queued(3, 20)));
        queued_requests.forget(a, Token(1));
        assert!(queued_requests.contains(a), "the node must remember the request's later ticket");
        queued_requests.forget(a, Token(3));
        assert!(!queued_requests.contains(a) && queued_requests.contains(c));
    }

    #[test]
    fn the_number_of_queued_requests_is_bounded() {
        let (queued_requests, key) = (QueuedRequests::default(), IdKey::new([1; 32]));
        for n in 0..UNDECIDED_MAX + 10 {
            queued_requests.remember(
                key.request_hash("anna", &n.to_string()),
                queued(n as u64, 10),
                Millis(0),
            );
        }
        let state = queued_requests.lock();
        assert_eq!((state.queued.len(), state.due.len()), (UNDECIDED_MAX, UNDECIDED_MAX));
    }
}
