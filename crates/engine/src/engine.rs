//! The engine decides about stock. This module starts and stops the engine, and changes orders and
//! waitlists.
//!
//! The engine owns the slots and the number of parked requests. It reads and changes the store and
//! the memory of its [`Node`]. Purchases, the settler and the jobs that change stock call the
//! engine. The web server and the payments call it too.

mod error;
mod orders;
mod slot_counts;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod waitlist;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use doorbuster_slots::Slots;

use crate::node::Node;

pub(crate) use error::DRAIN_MAX;
pub use error::EngineError;
pub use orders::OrderLookup;
pub use start::expose_urls;
pub use start::{DatabaseOptions, EngineOptions, StockLocation};
pub use waitlist::{JoinRefusal, JoinResult, LeaveResult};

/// The part of the program that decides about stock.
pub struct Engine {
    /// The node whose stock the engine sells.
    pub node: Arc<Node>,
    slots: Slots,
    parked: AtomicUsize,
}

impl Engine {
    /// Returns the slots.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Returns the number of parked requests.
    #[must_use]
    pub fn parked(&self) -> &AtomicUsize {
        &self.parked
    }
}
