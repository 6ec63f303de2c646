//! The state that the threads of one store share: its clock, sink, and health.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use doorbuster_core::{IdKey, Millis};

use crate::contract::{CommitSink, StoreError};
use crate::failure::Failure;

pub(super) struct Shared {
    pub(super) id_key: IdKey,
    pub(super) clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    pub(super) sink: CommitSink,
    pub(super) on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// A bound for the pages of the log that are not checkpointed. From this number on, the writer
    /// pauses after each commit while a checkpoint runs.
    pub(super) log_pages_max: i64,
    /// The reason why the store failed permanently, if it did.
    pub(super) failed: OnceLock<String>,
    /// Whether a checkpoint is running.
    pub(super) is_checkpointing: AtomicBool,
    /// Whether new work is refused: the store is closing or closed.
    pub(super) closed: AtomicBool,
}

impl Shared {
    /// Returns whether the store works.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(reason) => Err(StoreError::Fatal(reason.clone())),
            None => Ok(()),
        }
    }

    /// Returns whether the store accepts new work.
    pub(super) fn check_accepting(&self) -> Result<(), StoreError> {
        self.health()?;
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    pub(super) fn stop_accepting(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Marks the store as failed. The first failure is reported to the program. From then on, every
    /// call is refused.
    pub(super) fn fail(&self, reason: &str) {
        if self.failed.set(reason.to_owned()).is_ok() {
            tracing::error!(
                reason,
                event = "store.unusable",
                "the store failed and must not be used further"
            );
            (self.on_fatal)(reason);
        }
    }

    /// Returns a guard that fails the store if the thread that owns the guard panics.
    pub(super) fn fail_on_panic(&self) -> FailsOnPanic<'_> {
        FailsOnPanic(self)
    }

    /// Converts a failure into the caller's error. A fatal failure makes the whole store fail.
    pub(super) fn store_error(&self, failure: Failure) -> StoreError {
        let error = StoreError::from(failure);
        if let StoreError::Fatal(reason) = &error {
            self.fail(reason);
        }
        error
    }
}

/// The guard of [`Shared::fail_on_panic`].
pub(super) struct FailsOnPanic<'a>(&'a Shared);

impl Drop for FailsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked");
        }
    }
}
