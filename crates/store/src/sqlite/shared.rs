//! The state that the threads of one store share: its clock, sink, and health.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::{IdKey, Millis};

use crate::contract::CommitSink;
use crate::failure::StoreState;

pub(super) struct Shared {
    pub(super) id_key: IdKey,
    pub(super) clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    pub(super) sink: CommitSink,
    pub(super) state: StoreState,
    /// If at least this many pages of the log are not checkpointed, and a checkpoint runs, the
    /// writer pauses after each commit.
    pub(super) log_pages_max: i64,
    pub(super) is_checkpointing: AtomicBool,
    pub(super) publication: Publication,
}

/// Records when the commit in progress began. Reads may already see this commit, although it is not
/// published yet.
pub(super) struct Publication {
    opened: Instant,
    /// When the commit in progress began, in nanoseconds after `opened`, or 0 if no commit is in
    /// progress.
    began: AtomicU64,
}

impl Default for Publication {
    fn default() -> Self {
        Self { opened: Instant::now(), began: AtomicU64::new(0) }
    }
}

impl Publication {
    /// Records that a commit begins. The writer must call this function before it commits.
    pub(super) fn begin(&self) {
        let began = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.began.store(began.max(1), Ordering::SeqCst);
    }

    /// Records that no commit is in progress. The writer must call this function after the commit
    /// is published or has failed.
    pub(super) fn end(&self) {
        self.began.store(0, Ordering::SeqCst);
    }

    /// Returns an instant with this property: every commit that a read saw before the instant has
    /// been published. The instant is the start of the commit in progress, or the current time if
    /// no commit is in progress.
    pub(super) fn as_of(&self) -> Instant {
        let now = Instant::now();
        match self.began.load(Ordering::SeqCst) {
            0 => now,
            began => self.opened + Duration::from_nanos(began),
        }
    }
}

pub(super) struct FailsOnPanic<'a>(pub(super) &'a StoreState);

impl Drop for FailsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked");
        }
    }
}
