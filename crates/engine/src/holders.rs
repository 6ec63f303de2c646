//! The set of requests that hold an order, as this node knows it. The set has the request of each
//! order that the published counts of a running or recently ended sale include.
mod journal;
mod queued_requests;
mod retry_limiter;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::RequestHash;
use hashbrown::HashSet;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use journal::Journal;
use queued_requests::QueuedRequests;
pub(crate) use retry_limiter::ReadError;
use retry_limiter::RetryLimiter;

/// The maximum number of requests in one node's set. Once the set is full, the node looks up other
/// requests in the store.
pub const HOLDERS_MAX: usize = 16_000_000;
/// The maximum number of concurrent lookups of requests outside the set. Clients of further
/// requests must retry.
pub const HOLDER_LOOKUPS_MAX: usize = 64;
/// When a slot refuses a request, the store confirms the refusal. At most this many confirmations
/// run at once, and further refusals wait for a permit.
const CONFIRMATIONS_MAX: usize = 16;
const SHARDS: usize = 64;

type Shard = Mutex<HashSet<u64, foldhash::fast::FixedState>>;

/// Hashes of the requests that hold an order. The store confirms each match, so a collision does no
/// harm.
#[derive(Debug)]
pub struct RequestsWithOrders {
    shards: Vec<Shard>,
    count: AtomicUsize,
    /// Whether the set may lack requests, because the set was full when a request arrived, or
    /// because the set is being rebuilt.
    full: AtomicBool,
    lookups: Semaphore,
    confirmations: Semaphore,
    /// Limits the lookups of orders for repeated requests.
    pub retry_limiter: RetryLimiter,
    /// Limits the reads for waitlists, so that waiting buyers do not delay buyers with an order.
    pub(crate) waitlist_limiter: RetryLimiter,
    pub(crate) queued_requests: QueuedRequests,
    /// The newest requests, recorded only while this node writes the edge feed.
    pub journal: Journal,
}

impl Default for RequestsWithOrders {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            count: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            lookups: Semaphore::new(HOLDER_LOOKUPS_MAX),
            confirmations: Semaphore::new(CONFIRMATIONS_MAX),
            retry_limiter: RetryLimiter::default(),
            waitlist_limiter: RetryLimiter::default(),
            queued_requests: QueuedRequests::default(),
            journal: Journal::default(),
        }
    }
}

impl RequestsWithOrders {
    fn shard(&self, hash_half: u64) -> &Shard {
        &self.shards[(hash_half >> 58) as usize % SHARDS]
    }

    /// Remembers a request by the lower half of its hash. The caller must call this function before
    /// it publishes the counts of the request's commit.
    pub fn insert(&self, hash_half: u64) {
        if self.count.load(Ordering::Relaxed) >= HOLDERS_MAX {
            self.full.store(true, Ordering::Release);
            return;
        }
        let mut shard = self.shard(hash_half).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.insert(hash_half) {
            self.count.fetch_add(1, Ordering::Relaxed);
            // Written under the shard's lock; see `RequestsWithOrders::begin_journal`.
            self.journal.record(hash_half);
        }
    }

    /// Returns whether the request is remembered.
    #[must_use]
    pub fn holds(&self, request: RequestHash) -> bool {
        let hash_half = request.low_64_bits();
        self.shard(hash_half).lock().unwrap_or_else(PoisonError::into_inner).contains(&hash_half)
    }

    /// Returns whether the request may hold an order. Only the store can confirm this.
    #[must_use]
    pub fn may_hold(&self, request: RequestHash) -> bool {
        self.holds(request) || self.is_full()
    }

    /// Returns whether a request outside the set may hold an order: after the set was full, or
    /// during a rebuild.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Returns a permit to look up a request outside the set, or `None` if all permits are in use.
    #[must_use]
    pub fn lookup_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.lookups.try_acquire().ok()
    }

    /// Waits for a permit to confirm a slot's refusal.
    pub async fn confirm_permit(&self) -> SemaphorePermit<'_> {
        self.confirmations.acquire().await.expect("the semaphore is never closed")
    }

    /// Forgets all requests. Until [`RequestsWithOrders::finish_rebuild`], every request counts as
    /// one that may hold an order.
    pub fn begin_rebuild(&self) {
        self.full.store(true, Ordering::Release);
        self.journal.invalidate();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.count.fetch_sub(shard.len(), Ordering::Relaxed);
            *shard = HashSet::default();
        }
    }

    /// Ends a rebuild. The caller must already have inserted the requests of all orders.
    pub fn finish_rebuild(&self) {
        self.full.store(self.len() >= HOLDERS_MAX, Ordering::Release);
    }

    /// Starts the journal and returns all requests. The set and the journal are written under the
    /// shard's lock, so each later request is in the result or in the journal.
    pub(crate) fn begin_journal(&self) -> Vec<u64> {
        self.journal.begin();
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).iter());
        }
        all
    }

    /// Returns the number of remembered requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether no request is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
