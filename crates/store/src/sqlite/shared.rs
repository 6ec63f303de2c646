//! The state that the threads of one store share: its clock, sink, and health.
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use doorbuster_core::{IdKey, Millis};

use crate::contract::CommitSink;
use crate::failure::StoreState;

pub(super) struct Shared {
    pub(super) id_key: IdKey,
    pub(super) clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    pub(super) sink: CommitSink,
    pub(super) state: StoreState,
    /// If this many pages of the log are not checkpointed, the writer pauses after each commit
    /// while a checkpoint runs.
    pub(super) log_pages_max: i64,
    pub(super) is_checkpointing: AtomicBool,
}

pub(super) struct FailsOnPanic<'a>(pub(super) &'a StoreState);

impl Drop for FailsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked");
        }
    }
}
