//! Limits that nodes share: what this node let in is charged to one state in Redis, a batch a round trip, beside the way of the requests.
//!
//! While a round trip is under way the next batch gathers. What comes back is how far all nodes together have used a limit; the node's own state is
//! moved on to that. So nobody waits for another node, a refusal costs no round trip, and what is let in too much is bounded: on each node what came during
//! one round trip, and over all of them the part of the burst that is too small to be told.
//!
//! While the server is away a node holds to its share: limits divided by the nodes that lived lately. Nothing is charged twice; what could not be told is forgotten.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_slots::{Charge, Shared};
use tokio::sync::Notify;

use super::{Limiter, NANOS_PER_MICRO, Route};
use crate::catalogue::SaleFlags;
use crate::engine::Living;

/// Keys that one call charges; the rest waits for the next one. The server does nothing else meanwhile.
const BATCH_KEYS_MAX: usize = 256;
/// Keys that wait to be told of; what comes beyond stays with its node until there is room.
const QUEUE_MAX: usize = 65_536;
/// Shortest time from one call to the next.
const BATCH_EVERY: Duration = Duration::from_millis(2);

/// What all nodes together keep to themselves of what a key used is at most this part of its burst: a crowd in which each asks once or twice costs the
/// others nothing.
const SILENT_PART: u64 = 16;

/// What waits to be told.
pub(super) enum Owed {
    /// What a cell of the table owes.
    Cell { key: u64, reach_us: u64 },
    /// What everybody together used of a sale.
    Everybody { key: u64, flags: Arc<SaleFlags>, route: Route, reach_us: u64 },
}

/// The way to the other nodes.
#[derive(Debug)]
pub(crate) struct Sharing {
    shared: Shared,
    queue: Mutex<Vec<Owed>>,
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

impl std::fmt::Debug for Owed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Cell { key, .. } | Self::Everybody { key, .. }) = self;
        write!(f, "Owed({key:x})")
    }
}

impl Sharing {
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

    /// Among how many a limit is divided now: by those who lived lately while they cannot be told. Whoever is not heard of for a moment keeps its part.
    pub(super) fn parts(&self) -> u32 {
        if self.is_away() { self.living.lately() } else { 1 }
    }

    /// How much of a limit that reaches so far this node need not tell: its share of what all nodes together keep to themselves. What it kept while it knew
    /// of fewer nodes is told with the key's next request.
    pub(super) fn silent(&self, reach: u64) -> u64 {
        reach / SILENT_PART / u64::from(self.living.lately())
    }

    /// Whether the other nodes cannot be told at present.
    pub(crate) fn is_away(&self) -> bool {
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
    pub(super) fn owe(&self, owed: Owed) -> bool {
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

    pub(super) fn take(&self) -> Vec<Owed> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = queue.len().saturating_sub(BATCH_KEYS_MAX);
        queue.split_off(rest)
    }
}

impl Limiter {
    /// Tells other nodes what was let in here, until it is dropped. Returns at once where limits are not shared.
    pub(crate) async fn share(&self) {
        let Some(sharing) = &self.sharing else { return };
        loop {
            sharing.waits.notified().await;
            loop {
                let batch = sharing.take();
                if batch.is_empty() {
                    break;
                }
                self.tell(sharing, batch).await;
                tokio::time::sleep(BATCH_EVERY).await;
            }
        }
    }

    async fn tell(&self, sharing: &Sharing, batch: Vec<Owed>) {
        // Before it is read what is owed: what is used from here on is for the next call.
        let sent_at = self.now();
        let charges: Vec<Charge> = batch.iter().map(|owed| self.charge(owed)).collect();
        match sharing.shared.charge(&charges).await {
            Ok(ahead) => {
                sharing.batches.fetch_add(1, Ordering::Relaxed);
                if sharing.away.swap(false, Ordering::AcqRel) {
                    tracing::info!("limits are shared with other nodes again");
                }
                for (owed, ahead_us) in batch.iter().zip(ahead) {
                    self.hear(owed, sent_at, ahead_us);
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
    pub(super) fn charge(&self, owed: &Owed) -> Charge {
        match owed {
            Owed::Cell { key, reach_us } => {
                let taken = self.table.with_known(*key, |cell| {
                    cell.is_queued = false;
                    std::mem::take(&mut cell.rest)
                });
                Charge {
                    key: *key,
                    used_us: taken.unwrap_or(0).div_ceil(NANOS_PER_MICRO),
                    reach_us: *reach_us,
                }
            }
            Owed::Everybody { key, flags, route, reach_us } => {
                let everybody = &flags.limits.everybody[*route as usize];
                everybody.is_queued.store(false, Ordering::Release);
                Charge {
                    key: *key,
                    used_us: everybody.owed.swap(0, Ordering::AcqRel).div_ceil(NANOS_PER_MICRO),
                    reach_us: *reach_us,
                }
            }
        }
    }

    /// All nodes together are so far ahead; on top of that comes what was used here meanwhile.
    pub(super) fn hear(&self, owed: &Owed, sent_at: u64, ahead_us: u64) {
        let all = |owed: u64| sent_at + ahead_us * NANOS_PER_MICRO + owed;
        match owed {
            Owed::Cell { key, .. } => {
                self.table.with_known(*key, |cell| cell.state = cell.state.max(all(cell.rest)));
            }
            Owed::Everybody { flags, route, .. } => {
                let everybody = &flags.limits.everybody[*route as usize];
                let told = all(everybody.owed.load(Ordering::Acquire));
                everybody.state.fetch_max(told, Ordering::AcqRel);
            }
        }
    }
}
