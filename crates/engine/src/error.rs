//! The errors of the engine.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_slots::SlotError;
use doorbuster_store::{OpenError, StoreError};

/// How long the pause or the close of a sale, or the stop of a node, waits for tickets in flight.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(8);

/// The reason why the engine cannot continue, so that the process must end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FatalError {
    /// The store failed permanently, for this reason.
    #[error("{0}")]
    Store(String),
    /// The job with this name ended too early, or panicked.
    #[error("the job `{0}` ended")]
    JobEnded(&'static str),
}

/// A function that ends the process.
pub type OnFatal = Arc<dyn Fn(&FatalError) + Send + Sync>;

/// The reason why the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A slot failed.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// Tickets in flight did not settle in time.
    #[error("tickets in flight did not settle within {} s", DRAIN_MAX.as_secs())]
    Drain,
    /// A payment message came too early: the payment is not recorded yet, or the order is not
    /// decided yet.
    #[error("the message's payment is not recorded yet, or its order is not decided yet")]
    TooEarly,
}
