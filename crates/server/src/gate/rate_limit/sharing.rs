//! Limits that nodes share: each node reports its accepted requests to one state in Redis, in the
//! background, one batch per round trip.
//!
//! Uses gather for the next batch while one is sent. The answer says how much of a limit all nodes
//! have used together, and the node advances its own state to this sum. So no request waits for
//! another node, a refusal costs no round trip, and the excess is bounded. The excess is what
//! arrives on each node during one round trip, plus the part of the burst that is too small to be
//! reported.
//!
//! While Redis is unreachable, each node applies its part: the limits divided by the number of
//! recent nodes. No use is charged twice, and use that could not be reported is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_slots::{LimitCharge, Shared};
use tokio::sync::Notify;

use super::{NANOS_PER_MICRO, RateLimiter, Route};
use crate::catalogue::SaleFlags;
use crate::engine::NodeCount;

/// Most keys in one call; further keys wait for the next one. Redis serves nothing else meanwhile.
const BATCH_KEYS_MAX: usize = 256;
/// Most keys that wait to be reported. The use of further keys stays on its node until there is
/// room.
const QUEUE_MAX: usize = 65_536;
/// Shortest time between two calls.
const BATCH_EVERY: Duration = Duration::from_millis(2);

/// All nodes together leave at most this part of a key's burst unreported. So a crowd in which each
/// buyer sends one or two requests costs the other nodes nothing.
const UNSHARED_PART: u64 = 16;

/// A key whose use waits to be reported.
pub(super) enum UnsharedUse {
    /// The unreported use of a cell of the table.
    LimitCell { key: u64, burst_us: u64 },
    /// The use of a sale by all buyers together.
    SaleWide { key: u64, flags: Arc<SaleFlags>, route: Route, burst_us: u64 },
}

/// The connection to the other nodes.
#[derive(Debug)]
pub(crate) struct LimitSharing {
    shared: Shared,
    queue: Mutex<Vec<UnsharedUse>>,
    /// Notified when a key waits.
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
    /// Shares limits over this Redis, among as many nodes as `living` counts.
    pub(crate) fn new(shared: Shared, living: Arc<NodeCount>) -> Self {
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

    /// The number by which limits are divided now: 1, or the number of recent nodes while Redis is
    /// unreachable. A node that is missing for a moment keeps its part.
    pub(super) fn node_divisor(&self) -> u32 {
        if self.is_unreachable() { self.living.recent() } else { 1 }
    }

    /// How much of a limit with this burst this node may leave unreported: its part of the
    /// allowance of all nodes. If the node knew of fewer nodes before, it may have left more
    /// unreported; the key's next request reports that.
    pub(super) fn unshared_allowance(&self, reach: u64) -> u64 {
        reach / UNSHARED_PART / u64::from(self.living.recent())
    }

    /// Whether the other nodes are unreachable now.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Statistics of the sharing so far.
    pub(crate) fn counts(&self) -> SharingCounts {
        SharingCounts {
            batches: self.batches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
        }
    }

    /// Queues a key to be reported. False: the queue has no room, and the key must try again.
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
    /// Reports this node's accepted requests until it is dropped. Returns at once if limits are not
    /// shared.
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
        // The flags are cleared before the use is read, so later use goes into the next call.
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

    /// Takes the unreported use of a key, which is now being reported.
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

    /// Applies the answer, which says how much all nodes together have used. Use on this node since
    /// the call is added.
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
