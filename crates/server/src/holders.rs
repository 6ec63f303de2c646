//! Which requests hold an order, as far as this node knows: complete up to the counts that it shows.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::RequestHash;
use hashbrown::HashSet;

/// Requests that one node remembers; past the bound the store is asked instead.
pub const HOLDERS_MAX: usize = 16_000_000;
const SHARDS: usize = 64;

type Shard = Mutex<HashSet<u64, foldhash::fast::FixedState>>;

/// Hashes of requests that hold an order. A hit is looked up in the store, so that a false one does no harm.
#[derive(Debug)]
pub struct Holders {
    shards: Vec<Shard>,
    count: AtomicUsize,
    full: AtomicBool,
}

impl Default for Holders {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            count: AtomicUsize::new(0),
            full: AtomicBool::new(false),
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

    /// Whether the request may hold an order: the store knows.
    #[must_use]
    pub fn may_hold(&self, request: RequestHash) -> bool {
        let half = request.half();
        self.shard(half).lock().unwrap_or_else(PoisonError::into_inner).contains(&half)
            || self.full.load(Ordering::Acquire)
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
