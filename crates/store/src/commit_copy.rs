//! Copies of commits, for a continuous backup of a store in SQLite.
//!
//! After each commit, the store's writer adds the changed pages to a buffer in memory. The server
//! regularly takes these pages out of the buffer, and stores them in the backup as a [`Segment`].
//! The backup also needs a base, which is a copy of the whole store. Segments contain whole pages,
//! so a base and all later segments together are a copy of the store.
//!
//! The writer never waits for the backup. If the backup is so slow that the buffer exceeds
//! [`COPY_BYTES_MAX`], all pages are dropped, and the backup needs a new base.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_core::Millis;

use crate::limits::COPY_BYTES_MAX;

mod segment;

pub use segment::{Segment, SegmentError};

/// The interval at which [`CommitBuffer::newest_visible`] checks whether the current commit has
/// ended.
const COMMIT_POLL: Duration = Duration::from_millis(1);

/// A buffer with the pages that a store's commits changed. Clones share one buffer.
#[derive(Clone, Default)]
pub struct CommitBuffer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The number of the newest commit. The first commit has the number 1.
    newest: AtomicU64,
    /// True from the start of a commit until the commit's pages are in the buffer.
    is_committing: AtomicBool,
    gathered: Mutex<Gathered>,
    progress: Mutex<CopyProgress>,
}

#[derive(Default)]
struct Gathered {
    pages: HashMap<u32, Box<[u8]>>,
    page_size: u32,
    /// The number of pages in the store's file after the newest commit.
    pages_in_store: u32,
    /// The number and the time of the oldest commit whose pages are still in the buffer.
    oldest: Option<(u64, Millis)>,
    newest_at: Millis,
    is_broken: bool,
}

/// The result of [`CommitBuffer::take`].
#[derive(Debug, PartialEq, Eq)]
pub enum TakenPages {
    /// There was no commit since the last call of [`CommitBuffer::take`].
    Nothing,
    /// The pages of all commits since the last call of [`CommitBuffer::take`].
    Segment(Segment),
    /// Pages were dropped, so the backup needs a new base.
    Broken,
}

/// The progress of the backup, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// The time of the newest commit that the backup has.
    pub copied_at: Option<Millis>,
    /// Since when the backup lacks commits. `None` if the backup has every commit.
    pub waiting_since: Option<Millis>,
    /// When a new copy of the whole store became due. `None` if no copy is due.
    pub base_due_since: Option<Millis>,
    /// The number of failed writes to the backup, and of failed copies of the whole store.
    pub failures: u64,
}

/// Pages of one or several commits, as the writer read them from the write-ahead log.
pub(crate) struct LogPages {
    pub(crate) page_size: u32,
    pub(crate) pages_in_store: u32,
    pub(crate) pages: Vec<(u32, Box<[u8]>)>,
}

impl CommitBuffer {
    pub(crate) fn add(&self, log: LogPages, at: Millis) {
        let mut gathered = self.gathered();
        let number = self.0.newest.fetch_add(1, Ordering::AcqRel) + 1;
        if gathered.is_broken {
            return;
        }
        gathered.pages.extend(log.pages);
        (gathered.page_size, gathered.pages_in_store) = (log.page_size, log.pages_in_store);
        gathered.newest_at = at;
        gathered.oldest.get_or_insert((number, at));
        if gathered.pages.len() * log.page_size as usize > COPY_BYTES_MAX {
            gathered.break_off();
        }
    }

    /// Drops all pages, because the pages of a commit could not be read. [`CommitBuffer::take`]
    /// then returns [`TakenPages::Broken`] until [`CommitBuffer::restart`] is called. The writer
    /// continues.
    pub fn break_off(&self) {
        self.gathered().break_off();
    }

    /// Returns whether pages were dropped since the last [`CommitBuffer::restart`].
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.gathered().is_broken
    }

    /// Returns the number of the newest commit. A copy of the store that begins now contains this
    /// commit.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.newest.load(Ordering::Acquire)
    }

    /// Records whether a commit is under way. The writer passes true when it begins a commit, and
    /// false after it has added the commit's pages.
    pub(crate) fn set_committing(&self, is_committing: bool) {
        self.0.is_committing.store(is_committing, Ordering::SeqCst);
    }

    /// Returns the number of the newest commit that a reader of the store can see now. Readers can
    /// see a commit shortly before the writer has added its pages and increased the number. So this
    /// function waits until the current commit's pages are added and counted.
    #[must_use]
    pub fn newest_visible(&self) -> u64 {
        let before = self.newest();
        while self.0.is_committing.load(Ordering::SeqCst) && self.newest() == before {
            std::thread::sleep(COMMIT_POLL);
        }
        self.newest()
    }

    /// Takes the gathered pages out of the buffer. The caller stores these pages in the backup, and
    /// then calls [`CommitBuffer::set_progress`]. Until then, [`CommitBuffer::progress`] shows that
    /// the backup lacks these pages.
    #[must_use]
    pub fn take(&self) -> TakenPages {
        let mut gathered = self.gathered();
        if gathered.is_broken {
            return TakenPages::Broken;
        }
        let Some((first, oldest_at)) = gathered.oldest.take() else { return TakenPages::Nothing };
        self.set_progress(|progress| {
            progress.waiting_since.get_or_insert(oldest_at);
        });
        let mut pages: Vec<_> = std::mem::take(&mut gathered.pages).into_iter().collect();
        pages.sort_unstable_by_key(|(number, _)| *number);
        TakenPages::Segment(Segment {
            first,
            // No commit is added during this call, because the writer needs the lock that this call
            // holds.
            last: self.newest(),
            at: gathered.newest_at,
            page_size: gathered.page_size,
            pages_in_store: gathered.pages_in_store,
            pages,
        })
    }

    /// Empties the buffer and starts to gather pages. The backup calls this before a new base.
    pub fn restart(&self) {
        *self.gathered() = Gathered::default();
    }

    /// Returns the time of the oldest commit whose pages the backup has not taken yet. Returns
    /// `None` if the backup has taken all pages.
    #[must_use]
    pub fn oldest_at(&self) -> Option<Millis> {
        self.gathered().oldest.map(|(_, at)| at)
    }

    /// Returns the progress of the backup.
    #[must_use]
    pub fn progress(&self) -> CopyProgress {
        // `take` moves the time of the oldest commit from the buffer to the progress. So the buffer
        // is read before the progress. In the opposite sequence, `take` could run between the two
        // reads and move the time, and then both reads would miss the time.
        let oldest_at = self.oldest_at();
        let mut progress = *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.waiting_since = progress.waiting_since.or(oldest_at);
        progress
    }

    /// Changes the progress that [`CommitBuffer::progress`] returns.
    pub fn set_progress(&self, change: impl FnOnce(&mut CopyProgress)) {
        change(&mut self.0.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    fn break_off(&mut self) {
        *self = Self { is_broken: true, ..Self::default() };
    }
}
