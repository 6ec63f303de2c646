//! The hashes of the requests that hold an order, in a node's memory. For running and recently
//! ended sales, the set has the request of every order that is included in the sale's published
//! counts.
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

/// The maximum number of requests in one node's set. A full set accepts no more requests. From then
/// on, the node must ask the store about each request that is not in the set.
pub const HOLDERS_MAX: usize = 16_000_000;
/// After the set was full, a node asks the store about each request that is not in the set. At most
/// this many of these lookups run at the same time. The server asks the clients of further requests
/// to retry.
pub const HOLDER_LOOKUPS_MAX: usize = 64;
/// When a slot refuses a request, the store must confirm the refusal. At most this many
/// confirmations run at the same time. Further refusals wait for their confirmation.
const CONFIRMATIONS_MAX: usize = 16;
const SHARDS: usize = 64;

type Shard = Mutex<HashSet<u64, foldhash::fast::FixedState>>;

/// The set of requests that hold an order. It has only a half of each request's hash, so two
/// requests may have the same entry. Such a collision does no harm, because the store confirms each
/// match.
#[derive(Debug)]
pub struct RequestsWithOrders {
    shards: Vec<Shard>,
    count: AtomicUsize,
    /// Whether the set may lack requests: during a rebuild, or after a request arrived while the
    /// set was full.
    full: AtomicBool,
    lookups: Semaphore,
    confirmations: Semaphore,
    /// Limits the reads of orders for requests that clients repeat.
    pub retry_limiter: RetryLimiter,
    /// Limits the reads of the store for waitlists. Waitlists have their own limiter, so that
    /// buyers in a waitlist do not delay buyers who have an order.
    pub(crate) waitlist_limiter: RetryLimiter,
    /// Limits each buyer's requests about single orders. Different buyers do not wait for each
    /// other.
    pub order_limiter: RetryLimiter,
    pub(crate) queued_requests: QueuedRequests,
    /// The newest requests of the set. Recorded only while this node writes the edge feed.
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
            order_limiter: RetryLimiter::for_buyers_alone(),
            queued_requests: QueuedRequests::default(),
            journal: Journal::default(),
        }
    }
}

impl RequestsWithOrders {
    fn shard(&self, hash_half: u64) -> &Shard {
        &self.shards[(hash_half >> 58) as usize % SHARDS]
    }

    /// Adds a request to the set, by the lower half of its hash. For the request of a new order,
    /// the caller must call this function before it publishes the counts of the order's commit.
    pub fn insert(&self, hash_half: u64) {
        if self.count.load(Ordering::Relaxed) >= HOLDERS_MAX {
            self.full.store(true, Ordering::Release);
            return;
        }
        let mut shard = self.shard(hash_half).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.insert(hash_half) {
            self.count.fetch_add(1, Ordering::Relaxed);
            // The shard is still locked here. [`RequestsWithOrders::begin_journal`] relies on this
            // lock.
            self.journal.record(hash_half);
        }
    }

    /// Returns whether the set has the request.
    #[must_use]
    pub fn holds(&self, request: RequestHash) -> bool {
        let hash_half = request.low_64_bits();
        self.shard(hash_half).lock().unwrap_or_else(PoisonError::into_inner).contains(&hash_half)
    }

    /// Returns whether the request may hold an order. If so, only the store can say whether the
    /// request really holds one.
    #[must_use]
    pub fn may_hold(&self, request: RequestHash) -> bool {
        self.holds(request) || self.is_full()
    }

    /// Returns whether a request may have an order although the set does not contain the request.
    /// This is the case once the set has been full, and during a rebuild of the set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Returns a permit to ask the store about a request that is not in this node's set of requests
    /// with orders. Returns `None` if all permits are in use.
    #[must_use]
    pub fn lookup_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.lookups.try_acquire().ok()
    }

    /// Waits for a permit. With the permit, the caller may ask the store to confirm a slot's
    /// refusal.
    pub async fn confirm_permit(&self) -> SemaphorePermit<'_> {
        self.confirmations.acquire().await.expect("the semaphore is never closed")
    }

    /// Empties the set. Until [`RequestsWithOrders::finish_rebuild`],
    /// [`RequestsWithOrders::may_hold`] returns `true` for every request.
    pub fn begin_rebuild(&self) {
        self.full.store(true, Ordering::Release);
        self.journal.invalidate();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            self.count.fetch_sub(shard.len(), Ordering::Relaxed);
            *shard = HashSet::default();
        }
    }

    /// Ends a rebuild. Before this call, the caller must add the requests of all orders again.
    pub fn finish_rebuild(&self) {
        self.full.store(self.len() >= HOLDERS_MAX, Ordering::Release);
    }

    /// Starts the journal, and returns all requests of the set. [`RequestsWithOrders::insert`]
    /// writes to the set and to the journal under the same lock of a shard. So no request is
    /// missed: each request that is added later is in the result or in the journal.
    pub(crate) fn begin_journal(&self) -> Vec<u64> {
        self.journal.begin();
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(shard.lock().unwrap_or_else(PoisonError::into_inner).iter());
        }
        all
    }

    /// Returns the number of requests in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
