//! What goes between a desk and whoever drives it.
use std::sync::Arc;

use crate::value::Millis;

/// An event behind the endpoint's position that it was not told yet: a row of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDelivery {
    /// The event's position.
    pub position: i64,
    /// What it is about.
    pub about: Arc<str>,
    /// How often it was tried in vain.
    pub tries: u32,
    /// When it is tried next.
    pub next_at: Millis,
    /// What went wrong last.
    pub error: Option<String>,
    /// It was tried as often as it may be.
    pub dead: bool,
}

/// What came of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The endpoint took it.
    Delivered,
    /// It did not, or nobody knows.
    Failed {
        /// What went wrong.
        error: String,
        /// It asked for this pause: until it is over nothing is sent to it, whatever it is about.
        pause_ms: i64,
    },
    /// It answered that it does not want this one: that says something about the event, and nothing
    /// about the endpoint, which is there.
    Refused {
        /// What it said.
        error: String,
    },
    /// It answered that it wants nothing any more, ever: it is to be disabled, and every event
    /// waits for whoever enables it again.
    Gone,
    /// It could not be sent and never can be, to anybody: its row is not one that can be read.
    Unsendable {
        /// What is wrong with it.
        error: String,
    },
    /// It could not be sent by this program, and says nothing about the endpoint: a newer one,
    /// which wrote it, can once it has the endpoint, or this one can when it has read what it
    /// lacks. It is none of the event's tries.
    Deferred {
        /// What is not known about it.
        error: String,
    },
}

/// What the store must know of a row that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row at this position is done, and goes.
    Delivered(i64),
    /// The row is this now, waiting or dead.
    Pending(PendingDelivery),
}

/// How far the endpoint was told, and what was not told on the way: one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionAdvance {
    /// Where the position must still be.
    pub from: i64,
    /// Where it goes.
    pub to: i64,
    /// Rows to be added.
    pub failed: Vec<PendingDelivery>,
}
