//! One buyer on the way to a final answer, and its place in the order of what is due.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A buyer on the way to a final answer.
#[derive(Debug, Clone)]
pub(super) struct PendingBuyer {
    /// The buyer's number.
    pub buyer: u32,
    /// The first (with a rate: the intended) send.
    pub first: Instant,
    /// A `202` that waits for its verdict.
    pub queued: Option<Rc<Queued>>,
    /// Times it was sent again after an overload answer.
    pub overload_tries: u16,
    /// Times it was sent again after a broken connection.
    pub connection_tries: u16,
}

impl PendingBuyer {
    /// A buyer that has sent nothing yet.
    pub fn new(buyer: u32, first: Instant) -> Self {
        Self { buyer, first, queued: None, overload_tries: 0, connection_tries: 0 }
    }

    /// The case is over, though something of it may still lie in a queue.
    pub fn is_closed(&self) -> bool {
        self.queued.as_ref().is_some_and(|queued| queued.is_closed())
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    /// The order's id.
    pub id: String,
    /// When the wait for a verdict ends.
    pub deadline: Instant,
    /// The last pause before a look.
    pub pause: Cell<Duration>,
    is_closed: Cell<bool>,
}

impl Queued {
    /// Waiting for its verdict from now on, and looked at after `pause` for the first time.
    pub fn new(id: String, deadline: Instant, pause: Duration) -> Self {
        Self { id, deadline, pause: Cell::new(pause), is_closed: Cell::new(false) }
    }

    /// Marks the verdict as told or given up; `false` when it already was.
    pub fn close(&self) -> bool {
        !self.is_closed.replace(true)
    }

    /// The verdict has been told, or given up.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

/// A case that has to wait; the earliest is the greatest.
pub(super) struct Scheduled {
    /// When it goes on.
    pub due: Instant,
    /// Whose it is.
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
