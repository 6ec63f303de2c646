//! One buyer without a final answer yet, and the time of its next request.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub(super) struct PendingBuyer {
    /// The buyer's number.
    pub buyer: u32,
    /// The time of the first request. If the plan has a rate, this is the intended time.
    pub first: Instant,
    /// The queued purchase, after a `202` and until the verdict is known.
    pub queued: Option<Rc<Queued>>,
    /// How many times the request was repeated after an overload answer.
    pub overload_tries: u16,
    /// How many times the request was repeated after a broken connection.
    pub connection_tries: u16,
}

impl PendingBuyer {
    /// Returns a buyer that has not sent a request.
    pub fn new(buyer: u32, first: Instant) -> Self {
        Self { buyer, first, queued: None, overload_tries: 0, connection_tries: 0 }
    }

    /// Returns whether the buyer's queued purchase is finished. A poll of this purchase may still
    /// be scheduled.
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
    /// The pause before the poll that was scheduled last.
    pub pause: Cell<Duration>,
    is_closed: Cell<bool>,
}

impl Queued {
    /// Returns a queued purchase that is first polled after `pause`.
    pub fn new(id: String, deadline: Instant, pause: Duration) -> Self {
        Self { id, deadline, pause: Cell::new(pause), is_closed: Cell::new(false) }
    }

    /// Marks the purchase as finished. Returns `false` if the purchase was already finished.
    pub fn close(&self) -> bool {
        !self.is_closed.replace(true)
    }

    /// Returns whether the verdict is known or the buyer was given up.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

/// Of two requests, the earlier one compares as greater, because a `BinaryHeap` returns its
/// greatest element first.
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
