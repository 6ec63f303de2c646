//! Limits that nodes share. In the background, each node reports its accepted requests to one state
//! in Redis, with one batch in each round trip.
//!
//! While a batch is sent, new use gathers for the next batch. The answer says how much of a limit
//! all nodes together have used, and the node adopts this sum. So no request waits for another
//! node, and a refusal costs no round trip.
//!
//! The excess over a limit is bounded. On each node, the excess is at most the requests of one
//! round trip, plus the part of the burst that is too small to be reported.
//!
//! While Redis is unreachable, each node applies its part of each limit: the limit divided by the
//! number of recent nodes. No use is charged twice. Use that could not be reported is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_slots::{LimitCharge, SharedRedis};
use tokio::sync::Notify;

use super::{NANOS_PER_MICRO, RateLimiter, Route};
use crate::catalogue::SaleFlags;
use crate::engine::NodeCount;

/// The maximum number of keys in one call. Further keys wait for the next call, because Redis
/// serves nothing else during a call.
const BATCH_KEYS_MAX: usize = 256;
/// The maximum number of keys in the queue of reports. The use of further keys stays on its node
/// until the queue has room.
const QUEUE_MAX: usize = 65_536;
/// Shortest time between two calls.
const BATCH_EVERY: Duration = Duration::from_millis(2);

/// All nodes together leave at most this part of a key's burst unreported. So buyers who send only
/// one or two requests cause no reports.
const UNSHARED_PART: u64 = 16;

/// A key whose use waits to be reported.
pub(super) enum UnsharedUse {
    /// The unreported use of a cell of the table.
    LimitCell { key: u64, burst_us: u64 },
    /// The use of a sale by all buyers together.
    SaleWide { key: u64, flags: Arc<SaleFlags>, route: Route, burst_us: u64 },
}

/// The connection through which nodes share limits.
#[derive(Debug)]
pub(crate) struct LimitSharing {
    shared: SharedRedis,
    queue: Mutex<Vec<UnsharedUse>>,
    /// Notified when a key waits in the queue.
    waits: Notify,
    living: Arc<NodeCount>,
    away: AtomicBool,
    batches: AtomicU64,
    failures: AtomicU64,
    /// How often the queue had no room for a key.
    kept: AtomicU64,
}

/// Statistics of the sharing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharingCounts {
    /// Successful calls.
    pub batches: u64,
    /// Failed calls.
    pub failures: u64,
    /// How often a key had to wait because the queue was full.
    pub kept: u64,
}

impl std::fmt::Debug for UnsharedUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::LimitCell { key, .. } | Self::SaleWide { key, .. }) = self;
        write!(f, "Owed({key:x})")
    }
}

impl LimitSharing {
    /// Shares limits over this Redis. `living` counts the nodes that share them.
    pub(crate) fn new(shared: SharedRedis, living: Arc<NodeCount>) -> Self {
        Self {
            shared,
            queue: Mutex::default(),
            waits: Notify::new(),
            living,
            away: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        }
    }

    /// Returns the number that divides each limit now. While Redis is unreachable, this is the
    /// number of recent nodes; otherwise it is 1. A node that is missing for a moment still counts.
    pub(super) fn node_divisor(&self) -> u32 {
        if self.is_unreachable() { self.living.recent() } else { 1 }
    }

    /// Returns how much of a limit with this burst this node may leave unreported. If the node knew
    /// of fewer nodes before, it may have left more. The next request of the key reports the
    /// excess.
    pub(super) fn unshared_allowance(&self, reach: u64) -> u64 {
        reach / UNSHARED_PART / u64::from(self.living.recent())
    }

    /// Returns whether the other nodes are unreachable now.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Returns statistics of the sharing so far.
    pub(crate) fn counts(&self) -> SharingCounts {
        SharingCounts {
            batches: self.batches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
        }
    }

    /// Queues a key for a report. Returns `false` if the queue is full. The caller must try again
    /// later.
    pub(super) fn enqueue(&self, owed: UnsharedUse) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= QUEUE_MAX {
            self.kept.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.push(owed);
        drop(queue);
        self.waits.notify_one();
        true
    }

    pub(super) fn take_batch(&self) -> Vec<UnsharedUse> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let unshared = queue.len().saturating_sub(BATCH_KEYS_MAX);
        queue.split_off(unshared)
    }
}

impl RateLimiter {
    /// Reports this node's accepted requests until the future is dropped. If limits are not shared,
    /// returns at once.
    pub(crate) async fn run_sharing(&self) {
        let Some(sharing) = &self.sharing else { return };
        loop {
            sharing.waits.notified().await;
            loop {
                let batch = sharing.take_batch();
                if batch.is_empty() {
                    break;
                }
                self.send_batch(sharing, batch).await;
                tokio::time::sleep(BATCH_EVERY).await;
            }
        }
    }

    async fn send_batch(&self, sharing: &LimitSharing, batch: Vec<UnsharedUse>) {
        // The flags are cleared before the use is read. So later use goes into the next call.
        let sent_at = self.now();
        let charges: Vec<LimitCharge> = batch.iter().map(|owed| self.charge(owed)).collect();
        match sharing.shared.charge(&charges).await {
            Ok(ahead) => {
                sharing.batches.fetch_add(1, Ordering::Relaxed);
                if sharing.away.swap(false, Ordering::AcqRel) {
                    tracing::info!(
                        event = "limits.shared",
                        "limits are shared with other nodes again"
                    );
                }
                for (owed, ahead_us) in batch.iter().zip(ahead) {
                    self.apply_shared(owed, sent_at, ahead_us);
                }
            }
            Err(error) => {
                sharing.failures.fetch_add(1, Ordering::Relaxed);
                if !sharing.away.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        %error,
                        event = "limits.not_shared",
                        "failed to share limits with other nodes; each node applies its part of them"
                    );
                }
            }
        }
    }

    /// Takes the unreported use of a key for a report.
    pub(super) fn charge(&self, owed: &UnsharedUse) -> LimitCharge {
        match owed {
            UnsharedUse::LimitCell { key, burst_us } => {
                let taken = self.table.with_existing(*key, |cell| {
                    cell.is_queued = false;
                    std::mem::take(&mut cell.unshared)
                });
                LimitCharge {
                    key: *key,
                    used_us: taken.unwrap_or(0).div_ceil(NANOS_PER_MICRO),
                    burst_us: *burst_us,
                }
            }
            UnsharedUse::SaleWide { key, flags, route, burst_us } => {
                let sale_wide = &flags.limits.sale_wide[*route as usize];
                sale_wide.is_queued.store(false, Ordering::Release);
                LimitCharge {
                    key: *key,
                    used_us: sale_wide.owed.swap(0, Ordering::AcqRel).div_ceil(NANOS_PER_MICRO),
                    burst_us: *burst_us,
                }
            }
        }
    }

    /// Applies the answer, which says how much all nodes together have used. Adds the use on this
    /// node since the call.
    pub(super) fn apply_shared(&self, owed: &UnsharedUse, sent_at: u64, ahead_us: u64) {
        let all = |owed: u64| sent_at + ahead_us * NANOS_PER_MICRO + owed;
        match owed {
            UnsharedUse::LimitCell { key, .. } => {
                self.table
                    .with_existing(*key, |cell| cell.state = cell.state.max(all(cell.unshared)));
            }
            UnsharedUse::SaleWide { flags, route, .. } => {
                let sale_wide = &flags.limits.sale_wide[*route as usize];
                let used = all(sale_wide.owed.load(Ordering::Acquire));
                sale_wide.state.fetch_max(used, Ordering::AcqRel);
            }
        }
    }
}
