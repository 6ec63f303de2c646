//! One buyer without a final answer, and the time of the buyer's next request.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub(super) struct PendingBuyer {
    /// The buyer's number.
    pub buyer: u32,
    /// The time of the buyer's first request. If the plan has a rate, this is the time at which the
    /// buyer was to arrive.
    pub first: Instant,
    /// The queued purchase. Set when the buyer receives a `202`.
    pub queued: Option<Rc<Queued>>,
    /// How many times the request was repeated after `429` or `5xx`.
    pub overload_tries: u16,
    /// How many times the request was repeated after a broken connection.
    pub connection_tries: u16,
}

impl PendingBuyer {
    /// Returns a buyer that has not sent a request.
    pub fn new(buyer: u32, first: Instant) -> Self {
        Self { buyer, first, queued: None, overload_tries: 0, connection_tries: 0 }
    }

    /// Returns whether the buyer's queued purchase has ended. A poll may still be scheduled for
    /// such a buyer; that poll must be skipped.
    pub fn is_closed(&self) -> bool {
        self.queued.as_ref().is_some_and(|queued| queued.is_closed())
    }
}

#[derive(Debug)]
pub(super) struct Queued {
    /// The order's id.
    pub id: String,
    /// When the wait for a verdict ends.
    pub deadline: Instant,
    /// The pause before the last scheduled poll.
    pub pause: Cell<Duration>,
    is_closed: Cell<bool>,
}

impl Queued {
    /// Returns a queued purchase that is first polled after `pause`.
    pub fn new(id: String, deadline: Instant, pause: Duration) -> Self {
        Self { id, deadline, pause: Cell::new(pause), is_closed: Cell::new(false) }
    }

    /// Marks the purchase as ended. Returns `false` if the purchase was already marked.
    pub fn close(&self) -> bool {
        !self.is_closed.replace(true)
    }

    /// Returns whether the verdict is known or the buyer was given up.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

/// A buyer and the time of its next request. The entry with the earlier time compares as greater,
/// because a `BinaryHeap` returns its greatest entry first.
pub(super) struct Scheduled {
    /// The time of the request.
    pub due: Instant,
    /// The buyer.
    pub pending: PendingBuyer,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}
