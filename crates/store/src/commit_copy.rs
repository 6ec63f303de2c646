//! Copies of commits, for a continuous backup of a store in SQLite.
//!
//! After each commit the writer adds the pages that it changed. The server takes them now and then
//! as a [`Segment`] and keeps it. A base is a copy of the whole store. A base with all later segments
//! is the store as it was at the last of these commits, because each page of a segment is a whole
//! page.
//!
//! Pages gather in memory up to [`COPY_BYTES_MAX`]. At the bound they are dropped, and the copy is
//! broken: it needs a new base. The writer never waits.
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_core::Millis;

use crate::limits::COPY_BYTES_MAX;

mod segment;

pub use segment::{Segment, SegmentError};

/// How often a commit in progress is looked at.
const COMMIT_POLL: Duration = Duration::from_millis(1);

/// The copies of a store's commits. Clones are the same copies.
#[derive(Clone, Default)]
pub struct CommitCopy(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// The number of the newest commit, from 1.
    newest: AtomicU64,
    /// Whether the writer commits, or has not added its commit yet.
    is_committing: AtomicBool,
    gathered: Mutex<Gathered>,
    progress: Mutex<CopyProgress>,
}

#[derive(Default)]
struct Gathered {
    pages: HashMap<u32, Box<[u8]>>,
    page_size: u32,
    /// Pages of the store's file after the newest commit.
    pages_in_store: u32,
    /// The number and the time of the oldest commit that is gathered.
    oldest: Option<(u64, Millis)>,
    newest_at: Millis,
    is_broken: bool,
}

/// What was gathered since the last call.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// There was no commit.
    Nothing,
    /// The pages of all commits since.
    Segment(Segment),
    /// Pages were dropped: the copy needs a new base.
    Broken,
}

/// How far the backup has got, for its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    /// The time of the newest commit that the backup has.
    pub copied_at: Option<Millis>,
    /// The time since which commits wait to be copied; `None`: the backup has every commit.
    pub waiting_since: Option<Millis>,
    /// Writes to the backup that failed.
    pub failures: u64,
}

/// Pages of one or several commits, as the log has them.
pub(crate) struct LogPages {
    pub(crate) page_size: u32,
    pub(crate) pages_in_store: u32,
    pub(crate) pages: Vec<(u32, Box<[u8]>)>,
}

impl CommitCopy {
    /// Adds the pages of a commit.
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

    /// Gives up the copy, because pages are missing. The writer continues.
    pub fn break_off(&self) {
        self.gathered().break_off();
    }

    /// The number of the newest commit. A copy of the store that begins now contains it.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.0.newest.load(Ordering::Acquire)
    }

    /// Records that the writer begins a commit, or that it has added the commit.
    pub(crate) fn set_committing(&self, is_committing: bool) {
        self.0.is_committing.store(is_committing, Ordering::SeqCst);
    }

    /// A number that no commit exceeds which a reader can see now. A commit is visible a moment
    /// before it is added, so this blocks until the commit in progress is added.
    #[must_use]
    pub fn newest_visible(&self) -> u64 {
        let before = self.newest();
        while self.0.is_committing.load(Ordering::SeqCst) && self.newest() == before {
            std::thread::sleep(COMMIT_POLL);
        }
        self.newest()
    }

    /// Takes what was gathered.
    #[must_use]
    pub fn take(&self) -> Taken {
        let mut gathered = self.gathered();
        if gathered.is_broken {
            return Taken::Broken;
        }
        let Some((first, _)) = gathered.oldest.take() else { return Taken::Nothing };
        let mut pages: Vec<_> = std::mem::take(&mut gathered.pages).into_iter().collect();
        pages.sort_unstable_by_key(|(number, _)| *number);
        Taken::Segment(Segment {
            first,
            // The number changes under the same lock.
            last: self.newest(),
            at: gathered.newest_at,
            page_size: gathered.page_size,
            pages_in_store: gathered.pages_in_store,
            pages,
        })
    }

    /// Gathers again after the copy was broken.
    pub fn restart(&self) {
        *self.gathered() = Gathered::default();
    }

    /// The time of the oldest commit that was not taken.
    #[must_use]
    pub fn oldest_at(&self) -> Option<Millis> {
        self.gathered().oldest.map(|(_, at)| at)
    }

    /// How far the backup has got.
    #[must_use]
    pub fn progress(&self) -> CopyProgress {
        let mut progress = *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.waiting_since = progress.waiting_since.or_else(|| self.oldest_at());
        progress
    }

    /// Changes what [`CommitCopy::progress`] says.
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
