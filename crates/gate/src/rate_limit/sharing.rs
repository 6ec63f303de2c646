//! Limits that all nodes share. Their state is in one place: Redis or the store. Each node sends
//! one call at a time to this shared storage. A call is for many limits. For each limit, the call
//! takes a share for the waiting requests, and reports the requests that the node has already
//! counted.
//!
//! Requests that arrive during a call wait for the next call. But if the node knows that a request
//! exceeds the limit, it refuses the request at once.
//!
//! While the shared storage is unreachable, each node applies its own part of each limit: the limit
//! divided by the number of nodes that were live recently.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall, SentCall, SharingTerms};
use doorbuster_engine::catalogue::SaleRuntime;
use doorbuster_engine::node::NodeCount;
use doorbuster_engine::sale_limits::LimitCell;
use doorbuster_slots::SharedRedis;
use doorbuster_store::Store;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::{LimitStep, RateLimiter, Route};

/// The maximum number of requests and reports in one call. Further requests and reports wait for
/// the next call. Calls must be short, because Redis serves nothing else during a call.
const BATCH_MAX: usize = 256;
/// The maximum number of requests and reports in the queue. If the queue is full, the node decides
/// further requests by its own part of the limit, and drops further reports. After a dropped
/// report, the next request under the same limit queues a report again, if the queue has room.
const QUEUE_MAX: usize = 65_536;
/// How long a call may take. If a call takes longer, the node decides the waiting requests by its
/// own part of each limit.
const CALL_MAX: Duration = Duration::from_secs(1);
/// How long a request waits for a share. If no share arrives in this time, the node decides the
/// request by its own part of the limit.
pub(super) const SHARE_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often a node deletes unused limits from the store.
const DELETE_INTERVAL: Duration = Duration::from_secs(30);
/// The maximum number of unused limits that a node deletes at once.
const DELETE_MAX: usize = 20_000;

/// Where nodes share limits.
#[derive(Clone)]
pub enum SharedPlace {
    /// A Redis that all nodes use.
    Redis(SharedRedis),
    /// The store that all nodes use. A call to the store costs more than a call to Redis. So nodes
    /// make fewer calls to the store, and each call takes larger shares.
    Store(Store),
}

impl SharedPlace {
    async fn take(&self, calls: Vec<(u64, LimitCall)>) -> Result<Vec<LimitAnswer>, String> {
        match self {
            Self::Redis(shared) => {
                shared.apply_limit_calls(&calls).await.map_err(|error| error.to_string())
            }
            Self::Store(store) => {
                store.apply_limit_calls(calls).await.map_err(|error| error.to_string())
            }
        }
    }

    /// Returns the pause between two calls to the shared storage.
    fn calls_apart(&self) -> Duration {
        match self {
            Self::Redis(_) => Duration::from_millis(1),
            Self::Store(_) => Duration::from_millis(5),
        }
    }

    fn terms(&self, nodes: u32) -> SharingTerms {
        match self {
            Self::Redis(_) => SharingTerms { nodes, share_part: 64, unreported_part: 16 },
            Self::Store(_) => SharingTerms { nodes, share_part: 16, unreported_part: 2 },
        }
    }
}

/// Where the state of a limit is.
pub(super) enum LimitTarget {
    /// In the table of the limits of buyers and addresses.
    Cell,
    /// In the sale's runtime state, because the limit is for all buyers together.
    SaleWideLimit(Arc<SaleRuntime>, Route),
}

/// A request that waits for a share of a limit, or a report of requests that the node has counted.
/// A report has no `waiter`.
pub(super) struct QueuedUse {
    pub(super) step: LimitStep,
    pub(super) target: LimitTarget,
    pub(super) waiter: Option<oneshot::Sender<ShareGrant>>,
}

/// The result for a request that waited for a share.
#[derive(Clone, Copy, Debug)]
pub(super) enum ShareGrant {
    /// The limit has counted the request. `state` is the limit's new state.
    Granted { state: u64 },
    /// The limit is used up. It would allow the request after `nanos` nanoseconds.
    Refused { nanos: u64, state: u64 },
    /// The shared storage did not answer.
    Unreachable,
}

/// The connection through which nodes share limits.
pub struct LimitSharing {
    place: SharedPlace,
    queue: Mutex<Vec<QueuedUse>>,
    /// Wakes the task that sends the calls. Notified when the queue gets an entry.
    waits: Notify,
    live_nodes: Arc<NodeCount>,
    is_unreachable: AtomicBool,
    batches: AtomicU64,
    failures: AtomicU64,
    queue_full: AtomicU64,
}

/// Statistics of the sharing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharingCounts {
    /// Successful calls.
    pub batches: u64,
    /// Failed calls.
    pub failures: u64,
    /// How many requests and reports arrived while the queue was full.
    pub queue_full: u64,
}

/// All requests and reports of one call that are for the same limit.
pub(super) struct LimitGroup {
    step: LimitStep,
    target: LimitTarget,
    waiters: Vec<(u64, oneshot::Sender<ShareGrant>)>,
    sent: SentCall,
}

#[cfg(test)]
impl LimitGroup {
    pub(super) fn key_and_call(&self) -> (u64, LimitCall) {
        (self.step.key, self.sent.call)
    }
}

impl std::fmt::Debug for LimitSharing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitSharing").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl LimitSharing {
    /// Creates the connection to the shared storage `place`. `live_nodes` counts the nodes that
    /// share the limits.
    pub fn new(place: SharedPlace, live_nodes: Arc<NodeCount>) -> Self {
        Self {
            place,
            queue: Mutex::default(),
            waits: Notify::new(),
            live_nodes,
            is_unreachable: AtomicBool::new(false),
            batches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
        }
    }

    /// Returns the number of nodes that share limits. This number includes nodes that stopped a
    /// moment ago.
    pub(super) fn nodes(&self) -> u32 {
        self.live_nodes.recent()
    }

    pub(super) fn terms(&self) -> SharingTerms {
        self.place.terms(self.nodes())
    }

    /// Returns whether the shared storage is unreachable now.
    pub fn is_unreachable(&self) -> bool {
        self.is_unreachable.load(Ordering::Acquire)
    }

    /// Returns statistics of the sharing since the program started.
    pub fn counts(&self) -> SharingCounts {
        SharingCounts {
            batches: self.batches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            queue_full: self.queue_full.load(Ordering::Relaxed),
        }
    }

    /// Returns `false` if the queue is full.
    pub(super) fn enqueue(&self, queued: QueuedUse) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= QUEUE_MAX {
            self.queue_full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        queue.push(queued);
        drop(queue);
        self.waits.notify_one();
        true
    }

    pub(super) fn take_batch(&self) -> Vec<QueuedUse> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() <= BATCH_MAX {
            return std::mem::take(&mut *queue);
        }
        let rest = queue.split_off(BATCH_MAX);
        std::mem::replace(&mut *queue, rest)
    }

    pub(super) fn record_result(&self, failed: Option<&str>) {
        let count = if failed.is_some() { &self.failures } else { &self.batches };
        count.fetch_add(1, Ordering::Relaxed);
        let was_unreachable = self.is_unreachable.swap(failed.is_some(), Ordering::AcqRel);
        match failed {
            None if was_unreachable => {
                tracing::info!(event = "limits.shared", "limits are shared with other nodes again");
            }
            Some(error) if !was_unreachable => {
                tracing::warn!(
                    %error,
                    event = "limits.not_shared",
                    "failed to share limits with other nodes; each node applies its part of each limit"
                );
            }
            None | Some(_) => {}
        }
    }
}

impl RateLimiter {
    /// Sends the calls to the shared storage, until the future is dropped. If nodes do not share
    /// limits, returns at once.
    pub(crate) async fn run_sharing(&self) {
        let Some(sharing) = &self.sharing else { return };
        let mut deleted_at = Instant::now();
        loop {
            sharing.waits.notified().await;
            loop {
                let batch = sharing.take_batch();
                if batch.is_empty() {
                    break;
                }
                self.send_batch(sharing, batch).await;
                tokio::time::sleep(sharing.place.calls_apart()).await;
            }
            if let SharedPlace::Store(store) = &sharing.place
                && deleted_at.elapsed() >= DELETE_INTERVAL
            {
                deleted_at = Instant::now();
                if let Err(error) = store.delete_unused_limits(DELETE_MAX).await {
                    tracing::debug!(%error, "failed to delete unused limits; will retry");
                }
            }
        }
    }

    async fn send_batch(&self, sharing: &LimitSharing, batch: Vec<QueuedUse>) {
        let groups = self.group(sharing, batch);
        if groups.is_empty() {
            return;
        }
        let calls = groups.iter().map(|group| (group.step.key, group.sent.call)).collect();
        let answered = timeout(CALL_MAX, sharing.place.take(calls)).await;
        match answered.unwrap_or_else(|_| Err("the call took too long".to_owned())) {
            Ok(answers) => {
                sharing.record_result(None);
                for (group, answer) in groups.into_iter().zip(answers) {
                    self.apply_answer(sharing, group, answer);
                }
            }
            Err(error) => {
                sharing.record_result(Some(&error));
                for (_, waiter) in groups.into_iter().flat_map(|group| group.waiters) {
                    // The send fails if the request has ended.
                    let _ = waiter.send(ShareGrant::Unreachable);
                }
            }
        }
    }

    /// Divides a batch into one group for each limit, because a call has one entry for each limit.
    pub(super) fn group(&self, sharing: &LimitSharing, batch: Vec<QueuedUse>) -> Vec<LimitGroup> {
        let mut groups: Vec<LimitGroup> = Vec::with_capacity(batch.len());
        let mut known = HashMap::with_capacity(batch.len());
        for QueuedUse { step, target, waiter } in batch {
            let at = *known.entry(step.key).or_insert_with(|| {
                let (waiters, sent) = (Vec::new(), SentCall::default());
                groups.push(LimitGroup { step, target, waiters, sent });
                groups.len() - 1
            });
            groups[at].waiters.extend(waiter.map(|waiter| (step.cost, waiter)));
        }
        groups.retain_mut(|group| self.prepare(sharing, group));
        groups
    }

    /// Grants as many requests of the group as this node's present share allows. Then prepares the
    /// next call to the shared storage, which reports the counted requests and asks for a share for
    /// the requests that still wait. Returns `false` if the group needs no call.
    fn prepare(&self, sharing: &LimitSharing, group: &mut LimitGroup) -> bool {
        let (terms, LimitStep { pace, cost, .. }) = (sharing.terms(), group.step);
        let costs: Vec<u64> = group.waiters.iter().map(|(cost, _)| *cost).collect();
        let now = self.now();
        let (served, state, sent) = self.with_group_cell(group, |cell| {
            // The call that is prepared here reports all requests that the cell has counted so far.
            // Requests that the cell counts later need a new report.
            cell.is_queued = false;
            cell.with_share(|node| {
                let served = node.serve(pace, now, &costs);
                let state = node.used_state();
                let waiting = costs[served..].iter().sum();
                (served, state, node.call(pace, (now, cost), &terms, waiting))
            })
        });
        let unserved = group.waiters.split_off(served);
        let covered = std::mem::replace(&mut group.waiters, unserved);
        self.send_grants(group, covered, state);
        group.sent = sent;
        !group.waiters.is_empty() || sent.reported > 0
    }

    /// Tells these requests that the limit has counted them. If a request no longer waits, gives
    /// its cost back to this node's share.
    fn send_grants(
        &self,
        group: &LimitGroup,
        granted: Vec<(u64, oneshot::Sender<ShareGrant>)>,
        state: u64,
    ) {
        let grant = ShareGrant::Granted { state };
        let ended =
            granted.into_iter().filter_map(|(cost, waiter)| waiter.send(grant).err().map(|_| cost));
        let unused: u64 = ended.sum();
        if unused > 0 {
            self.with_group_cell(group, |cell| {
                cell.with_share(|node| node.release(unused, unused))
            });
        }
    }

    pub(super) fn apply_answer(
        &self,
        sharing: &LimitSharing,
        mut group: LimitGroup,
        answer: LimitAnswer,
    ) {
        let (terms, pace, now) = (sharing.terms(), group.step.pace, self.now());
        let mut waiters = std::mem::take(&mut group.waiters);
        let costs: Vec<u64> = waiters.iter().map(|(cost, _)| *cost).collect();
        let sent = group.sent;
        let (served, state) = self.with_group_cell(&group, |cell| {
            cell.with_share(|node| {
                (node.receive((pace, now), answer, &sent, &costs), node.used_state())
            })
        });
        let refused = waiters.split_off(served);
        self.send_grants(&group, waiters, state);
        for (cost, waiter) in refused {
            let nanos = self.with_group_cell(&group, |cell| {
                cell.with_share(|node| node.wait_nanos(pace, (now, cost), &terms))
            });
            let _ = waiter.send(ShareGrant::Refused { nanos, state });
        }
    }

    fn with_group_cell<T>(&self, group: &LimitGroup, step: impl FnOnce(&mut LimitCell) -> T) -> T {
        match &group.target {
            LimitTarget::Cell => self.table.with_cell(group.step.key, self.now(), step),
            LimitTarget::SaleWideLimit(runtime, route) => {
                runtime.limits.sale_wide(*route).with(step)
            }
        }
    }
}
