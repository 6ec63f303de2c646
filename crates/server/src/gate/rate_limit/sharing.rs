//! Limits that nodes share: what this node let in is charged to one state in Redis, a batch a round
//! trip, beside the way of the requests.
//!
//! While a round trip is under way the next batch gathers. What comes back is how far all nodes
//! together have used a limit; the node's own state is moved on to that. So nobody waits for
//! another node, a refusal costs no round trip, and what is let in too much is bounded: on each
//! node what came during one round trip, and over all of them the part of the burst that is too
//! small to be told.
//!
//! While the server is away a node holds to its share: limits divided by the nodes that lived
//! lately. Nothing is charged twice; what could not be told is forgotten.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_slots::{LimitCharge, Shared};
use tokio::sync::Notify;

use super::{NANOS_PER_MICRO, RateLimiter, Route};
use crate::catalogue::SaleFlags;
use crate::engine::Living;

/// Keys that one call charges; the rest waits for the next one. The server does nothing else
/// meanwhile.
const BATCH_KEYS_MAX: usize = 256;
/// Keys that wait to be told of; what comes beyond stays with its node until there is room.
const QUEUE_MAX: usize = 65_536;
/// Shortest time from one call to the next.
const BATCH_EVERY: Duration = Duration::from_millis(2);

/// What all nodes together keep to themselves of what a key used is at most this part of its burst:
/// a crowd in which each asks once or twice costs the others nothing.
const UNSHARED_PART: u64 = 16;

/// What waits to be told.
pub(super) enum UnsharedUse {
    /// What a cell of the table owes.
    LimitCell { key: u64, burst_us: u64 },
    /// What everybody together used of a sale.
    SaleWide { key: u64, flags: Arc<SaleFlags>, route: Route, burst_us: u64 },
}

/// The way to the other nodes.
#[derive(Debug)]
pub(crate) struct LimitSharing {
    shared: Shared,
    queue: Mutex<Vec<UnsharedUse>>,
    /// Something waits.
    waits: Notify,
    living: Arc<Living>,
    away: AtomicBool,
    batches: AtomicU64,
    failures: AtomicU64,
    /// Keys for which there was no room.
    kept: AtomicU64,
}

/// What was shared so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SharingCounts {
    /// Calls that were answered.
    pub batches: u64,
    /// Calls that were not.
    pub failures: u64,
    /// Times that a key had to wait because too many did.
    pub kept: u64,
}

impl std::fmt::Debug for UnsharedUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::LimitCell { key, .. } | Self::SaleWide { key, .. }) = self;
        write!(f, "Owed({key:x})")
    }
}

impl LimitSharing {
    /// Over this server, with so many others.
    pub(crate) fn new(shared: Shared, living: Arc<Living>) -> Self {
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

    /// Among how many a limit is divided now: by those who lived lately while they cannot be told.
    /// Whoever is not heard of for a moment keeps its part.
    pub(super) fn node_divisor(&self) -> u32 {
        if self.is_unreachable() { self.living.lately() } else { 1 }
    }

    /// How much of a limit that reaches so far this node need not tell: its share of what all nodes
    /// together keep to themselves. What it kept while it knew of fewer nodes is told with the
    /// key's next request.
    pub(super) fn unshared_allowance(&self, reach: u64) -> u64 {
        reach / UNSHARED_PART / u64::from(self.living.lately())
    }

    /// Whether the other nodes cannot be told at present.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// What was shared so far.
    pub(crate) fn counts(&self) -> SharingCounts {
        SharingCounts {
            batches: self.batches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
        }
    }

    /// Puts a key in line to be told of. False: there is no room, and it has to ask again.
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
    /// Tells other nodes what was let in here, until it is dropped. Returns at once where limits
    /// are not shared.
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
        // Before it is read what is owed: what is used from here on is for the next call.
        let sent_at = self.now();
        let charges: Vec<LimitCharge> = batch.iter().map(|owed| self.charge(owed)).collect();
        match sharing.shared.charge(&charges).await {
            Ok(ahead) => {
                sharing.batches.fetch_add(1, Ordering::Relaxed);
                if sharing.away.swap(false, Ordering::AcqRel) {
                    tracing::info!("limits are shared with other nodes again");
                }
                for (owed, ahead_us) in batch.iter().zip(ahead) {
                    self.apply_shared(owed, sent_at, ahead_us);
                }
            }
            Err(error) => {
                sharing.failures.fetch_add(1, Ordering::Relaxed);
                if !sharing.away.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "limits are not shared with other nodes: each holds to its share of them");
                }
            }
        }
    }

    /// What is owed, which from here on is on its way.
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
                let everybody = &flags.limits.everybody[*route as usize];
                everybody.is_queued.store(false, Ordering::Release);
                LimitCharge {
                    key: *key,
                    used_us: everybody.owed.swap(0, Ordering::AcqRel).div_ceil(NANOS_PER_MICRO),
                    burst_us: *burst_us,
                }
            }
        }
    }

    /// All nodes together are so far ahead; on top of that comes what was used here meanwhile.
    pub(super) fn apply_shared(&self, owed: &UnsharedUse, sent_at: u64, ahead_us: u64) {
        let all = |owed: u64| sent_at + ahead_us * NANOS_PER_MICRO + owed;
        match owed {
            UnsharedUse::LimitCell { key, .. } => {
                self.table
                    .with_existing(*key, |cell| cell.state = cell.state.max(all(cell.unshared)));
            }
            UnsharedUse::SaleWide { flags, route, .. } => {
                let everybody = &flags.limits.everybody[*route as usize];
                let told = all(everybody.owed.load(Ordering::Acquire));
                everybody.state.fetch_max(told, Ordering::AcqRel);
            }
        }
    }
}
