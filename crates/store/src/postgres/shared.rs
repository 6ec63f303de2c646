//! The state that all parts of one store share: pools, clock, sink, and health.
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use tokio::sync::{Notify, mpsc, oneshot};

use doorbuster_core::settler_pace::{REFRESH_INTERVAL_MAX, REFRESH_INTERVAL_MIN};
use doorbuster_core::{IdKey, NodeId, Order};

use crate::contract::{BuyerFilter, CommitSink, StoreError};
use crate::failure::{Failure, StoreState};
use crate::limits::OUTAGE_LOG_INTERVAL;

use super::acknowledged::AcknowledgedOrders;
use super::answer_wait::await_commit;
use super::clock::Clock;
use super::connect::Sessions;
use super::connector::Connector;
use super::job_places::JobPlaces;
use super::{connect, inspect_database};

/// A period in which this node cannot use the database.
pub(super) struct Outage {
    began: Instant,
    logged_at: Instant,
    error: String,
}

pub(super) enum CommitMessage {
    Committed(OwnCommit),
    /// Publish the queued commits, then end.
    Stop,
}

pub(super) struct OwnCommit {
    /// The transaction's id. `None` if no other node must read the transaction's rows.
    pub(super) transaction: Option<String>,
    pub(super) orders: Vec<Order>,
    /// Whether the transaction appended events.
    pub(super) events: bool,
    /// Whether the transaction settled tickets and did nothing else. If so, the transaction changed
    /// no earlier order, and its orders may be published before the counts.
    pub(super) only_settled: bool,
    /// Notifies the caller when the commit is published.
    pub(super) done: oneshot::Sender<()>,
}

pub(crate) struct Shared {
    pub(crate) id_key: IdKey,
    pub(super) node: NodeId,
    pub(crate) clock: Clock,
    pub(super) sink: CommitSink,
    pub(super) follows: BuyerFilter,
    pub(super) state: StoreState,
    pub(crate) connector: Connector,
    pub(super) jobs: JobPlaces,
    pub(super) writes: Sessions,
    pub(super) reads: Sessions,
    pub(super) commits: mpsc::Sender<CommitMessage>,
    /// Signals that another node announced a commit.
    pub(super) wake: Notify,
    /// Whether another node announced events that this node has not published yet.
    pub(super) events: AtomicBool,
    /// Locked while a task finds due orders, expires them, and commits. The next expiry may begin
    /// before the commit is published, because the expired orders are no longer due.
    pub(super) expiring: tokio::sync::Mutex<()>,
    pub(super) acknowledged: AcknowledgedOrders,
    /// The fencing number of the newest history against which `acknowledged` was checked.
    pub(super) compared: AtomicI64,
    /// The writer number of this store. It marks the orders, verdicts and catalogue changes of this
    /// node.
    pub(super) writer: i32,
    pub(super) unavailable: Mutex<Option<Outage>>,
    /// The shortest time between two polls, in microseconds. A commit of another node or a large
    /// settled batch of this node waits for the next poll. Any other commit of this node causes a
    /// poll at once.
    pub(super) refreshes_apart_us: AtomicU64,
}

impl Shared {
    /// Returns the shortest time between two polls. Notifications that arrive within this time
    /// share one poll.
    pub(super) fn refresh_interval(&self) -> Duration {
        Duration::from_micros(self.refreshes_apart_us.load(Ordering::Relaxed))
            .clamp(REFRESH_INTERVAL_MIN, REFRESH_INTERVAL_MAX)
    }

    pub(crate) fn set_refresh_interval(&self, apart: Duration) {
        let micros = u64::try_from(apart.as_micros()).unwrap_or(u64::MAX);
        self.refreshes_apart_us.store(micros, Ordering::Relaxed);
    }

    /// Sends a commit to the publisher, and waits until the commit is published.
    pub(super) async fn publish(
        &self,
        transaction: Option<String>,
        orders: Vec<Order>,
        events: bool,
        only_settled: bool,
    ) {
        let (done, published) = oneshot::channel();
        let commit = OwnCommit { transaction, orders, events, only_settled, done };
        if self.commits.send(CommitMessage::Committed(commit)).await.is_ok() {
            // An error means that the store is closing, so nothing is published any more.
            let _ = published.await;
        }
    }

    pub(super) async fn commit_check(&self) -> Result<(), Failure> {
        let object = connect::get(&self.writes).await?;
        let slot = self.connector.slot();
        let done = await_commit(inspect_database::commit_check(&object, slot)).await;
        match done {
            Ok(position) => {
                self.connector.learn_position(position);
                Ok(())
            }
            Err(failure) => {
                if !failure.keeps_connection_usable() {
                    drop(Object::take(object));
                }
                Err(failure)
            }
        }
    }

    /// Records why the database is unavailable. `None` means that it is available. The log gets a
    /// line when an outage begins, after every [`OUTAGE_LOG_INTERVAL`], and when the outage ends.
    pub(super) fn set_unavailable(&self, why: Option<String>) {
        let mut outage = self.unavailable.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *outage, why) {
            (None, None) => {}
            (None, Some(error)) => {
                tracing::error!(
                    error,
                    event = "database.outage_began",
                    "the database is unavailable; retrying"
                );
                let now = Instant::now();
                *outage = Some(Outage { began: now, logged_at: now, error });
            }
            (Some(now), Some(error)) => {
                if now.logged_at.elapsed() >= OUTAGE_LOG_INTERVAL {
                    now.logged_at = Instant::now();
                    let for_secs = now.began.elapsed().as_secs();
                    tracing::error!(
                        error,
                        for_secs,
                        event = "database.outage_continues",
                        "the database is still unavailable; retrying"
                    );
                }
                now.error = error;
            }
            (Some(ended), None) => {
                let for_ms = ended.began.elapsed().as_millis();
                tracing::warn!(
                    for_ms,
                    event = "database.outage_ended",
                    "the database is available again"
                );
                *outage = None;
            }
        }
    }

    /// Returns an error if the store failed or is closed, or if the last poll did not reach the
    /// database.
    pub(crate) fn health(&self) -> Result<(), StoreError> {
        self.state.check_accepting()?;
        match &*self.unavailable.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Outage { error, .. }) => {
                Err(StoreError::Unavailable { reason: error.clone(), may_have_happened: false })
            }
            None => Ok(()),
        }
    }
}

/// Returns a random writer number. The number is negative. A negative number tells nodes that run
/// the previous version of the program that the writer adds a digest to each commit. Rows that a
/// migration writes have the number 0.
pub(super) fn random_writer() -> i32 {
    rand::random_range(i32::MIN..0)
}
