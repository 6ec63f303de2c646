//! Which requests hold an order, as far as this node knows: complete up to the counts that it
//! shows, for sales that are not long over.
mod lanes;
mod undecided;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::RequestHash;
use hashbrown::HashSet;
use tokio::sync::{Semaphore, SemaphorePermit};

use lanes::Lanes;
pub(crate) use lanes::Unread;
pub(crate) use undecided::Queued;
use undecided::Undecided;

/// Requests that one node remembers; past the bound the store is asked instead.
pub const HOLDERS_MAX: usize = 16_000_000;
/// Requests that are looked up in the store at a time though nothing says that they hold an order;
/// whoever comes beside them is asked to come again.
pub const LOOKED_UP_MAX: usize = 64;
/// Slots' refusals that the truth is asked about at a time; the others wait for their turn.
const CONFIRMED_MAX: usize = 16;
const SHARDS: usize = 64;

type Shard = Mutex<HashSet<u64, foldhash::fast::FixedState>>;

/// Hashes of requests that hold an order. A hit is looked up in the store, so that a false one does
/// no harm.
#[derive(Debug)]
pub struct Holders {
    shards: Vec<Shard>,
    count: AtomicUsize,
    /// Something was not remembered.
    full: AtomicBool,
    asking: Semaphore,
    confirming: Semaphore,
    /// How those that hold one are shown it.
    pub(crate) lanes: Lanes,
    /// How those who ask for places in line are served: a crowd of them holds up nobody who has an
    /// order.
    pub(crate) line_lanes: Lanes,
    /// Those that may come to hold one.
    pub(crate) undecided: Undecided,
}

impl Default for Holders {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            count: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            asking: Semaphore::new(LOOKED_UP_MAX),
            confirming: Semaphore::new(CONFIRMED_MAX),
            lanes: Lanes::default(),
            line_lanes: Lanes::default(),
            undecided: Undecided::default(),
        }
    }
}

impl Holders {
    fn shard(&self, half: u64) -> &Shard {
        &self.shards[(half >> 58) as usize % SHARDS]
    }

    /// Remembers a request. Called before the counts of its commit are shown.
    pub fn insert(&self, half: u64) {
        if self.count.load(Ordering::Relaxed) >= HOLDERS_MAX {
            self.full.store(true, Ordering::Release);
            return;
        }
        if self.shard(half).lock().unwrap_or_else(PoisonError::into_inner).insert(half) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the request is remembered.
    #[must_use]
    pub fn holds(&self, request: RequestHash) -> bool {
        let half = request.low_64_bits();
        self.shard(half).lock().unwrap_or_else(PoisonError::into_inner).contains(&half)
    }

    /// Whether the request may hold an order: the store knows.
    #[must_use]
    pub fn may_hold(&self, request: RequestHash) -> bool {
        self.holds(request) || self.is_full()
    }

    /// Whether requests may hold an order that are not remembered.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// A place among the few that are looked up though they are not remembered, if one is free.
    #[must_use]
    pub fn look_up(&self) -> Option<SemaphorePermit<'_>> {
        self.asking.try_acquire().ok()
    }

    /// A place among the few whose refusals are confirmed at a time, once one is free.
    pub async fn confirm(&self) -> SemaphorePermit<'_> {
        self.confirming.acquire().await.expect("nobody closes it")
    }

    /// Forgets everything; until [`Holders::is_complete`] any request may hold an order.
    pub fn begin_anew(&self) {
        self.full.store(true, Ordering::Release);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.count.fetch_sub(shard.len(), Ordering::Relaxed);
            *shard = HashSet::default();
        }
    }

    /// Everything that is to be remembered was read again since [`Holders::begin_anew`].
    pub fn is_complete(&self) {
        self.full.store(self.len() >= HOLDERS_MAX, Ordering::Release);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
