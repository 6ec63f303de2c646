//! What the threads of one store share: its clock, who is told, and whether it still works.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use doorbuster_core::{IdKey, Millis};

use crate::contract::{CommitSink, StoreError};

use super::failure::Failure;

pub(super) struct Shared {
    pub(super) id_key: IdKey,
    pub(super) clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    pub(super) sink: CommitSink,
    pub(super) on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// Pages still to be carried at which the writer rests.
    pub(super) log_pages_max: i64,
    /// Why nothing may be done any more.
    pub(super) failed: OnceLock<String>,
    /// Pages of the log are on their way into the database and onto the disk.
    pub(super) is_checkpointing: AtomicBool,
    /// Nothing new is taken: the store is closing or closed.
    pub(super) closed: AtomicBool,
}

impl Shared {
    /// Whether something may be asked.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            Some(reason) => Err(StoreError::Fatal(reason.clone())),
            None => Ok(()),
        }
    }

    /// Whether something new may be asked.
    pub(super) fn check_accepting(&self) -> Result<(), StoreError> {
        self.health()?;
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    pub(super) fn stop_accepting(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The first to say so tells the program; from then on everything is refused.
    pub(super) fn fail(&self, reason: &str) {
        if self.failed.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "the store failed and is not used further");
            (self.on_fatal)(reason);
        }
    }

    /// Fails the store when the thread that holds this panics.
    pub(super) fn fail_on_panic(&self) -> FailsOnPanic<'_> {
        FailsOnPanic(self)
    }

    /// What a failure means to the caller. A fatal one ends the store.
    pub(super) fn store_error(&self, failure: Failure) -> StoreError {
        let error = StoreError::from(failure);
        if let StoreError::Fatal(reason) = &error {
            self.fail(reason);
        }
        error
    }
}

/// See [`Shared::fail_on_panic`].
pub(super) struct FailsOnPanic<'a>(&'a Shared);

impl Drop for FailsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked");
        }
    }
}
