//! The job that watches the database's history and its standbys. After a failover it pauses sales,
//! and it logs missing standbys and stalled commits.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_store::{HistoryReaction, Replication, Store, StoreError};
use tokio::time::{Instant, timeout};

use super::commit_check::CommitProgress;
use crate::node::Node;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the node repeats its reaction to a failover. The reaction of another node may have
/// been incomplete, for example because that node crashed.
const REACT_INTERVAL: Duration = Duration::from_secs(5);
/// The longest duration of one read of the standbys' state.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// The time after which a persistent fault is logged again.
const LOG_REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// A commit that runs for longer than this is logged as stalled. This job and the commit checks run
/// once a second, so the log line appears within 3 s.
const STALL_LOGGED_AFTER: Duration = Duration::from_millis(1500);

/// Watches the database's history and its standbys until the program stops.
pub async fn run(node: Arc<Node>) {
    let Some(mut changes) = node.store().history_changes() else {
        return std::future::pending().await;
    };
    let (mut reacted_to, mut reacted_at) = (None, Instant::now());
    let mut log = StandbyLog::default();
    loop {
        // This wait ends early if the history changes. `changed` cannot fail, because the channel's
        // sender lives as long as the node.
        drop(timeout(CHECK_INTERVAL, changes.changed()).await);
        let fence = *changes.borrow_and_update();
        if reacted_to != Some(fence) || reacted_at.elapsed() >= REACT_INTERVAL {
            match react(&node).await {
                Ok(()) => {
                    if reacted_to.is_some_and(|earlier| earlier < fence) {
                        tracing::warn!(
                            fence,
                            event = "database.history_changed",
                            "the database's history changed"
                        );
                    }
                    (reacted_to, reacted_at) = (Some(fence), Instant::now());
                }
                Err(error) => {
                    tracing::debug!(%error, "failed to process a change of the database's history");
                }
            }
        }
        // This line must come before the next check begins: a check that has just begun is always
        // running, so its progress would say nothing.
        let progress = node.database().commit_check.progress();
        if node.catalogue().sales().any(|sale| sale.row.phase == Phase::Open) {
            node.database().commit_check.begin_if_due(node.store());
        }
        node.database().memory.ask_peers().await;
        // If the database is unreachable, nothing is known about the standbys, and nothing is
        // logged about them. Another log line says that the database is unreachable.
        let found = timeout(LOOK_MAX, node.store().replication()).await;
        let found = found.ok().and_then(Result::ok).flatten();
        if let Some(found) = &found {
            log.note(found);
        }
        if let Some(progress) = progress
            && node.store().is_available()
        {
            log.note_commit(progress, found.as_ref());
        }
        node.database().set_replication(found);
    }
}

async fn react(node: &Node) -> Result<(), StoreError> {
    if pause_after_change(node.store()).await? {
        node.control().wake_catalogue_job();
    }
    let lost = node.store().lost_orders().await?;
    node.database().set_lost_orders(lost.iter().map(|report| report.lost).sum());
    Ok(())
}

/// Reacts to a change of the database's history: pauses sales, and checks whether the database has
/// the orders that this node confirmed to buyers. Returns whether a sale was paused. A starting
/// node calls this function before it sells.
pub(crate) async fn pause_after_change(store: &Store) -> Result<bool, StoreError> {
    let HistoryReaction { paused, lost } = store.react_to_history().await?;
    if let Some(lost) = lost {
        tracing::error!(
            fence = lost.fence,
            acknowledged = lost.acknowledged,
            lost = lost.lost,
            sample = lost.sample.join(" "),
            event = "database.orders_missing",
            "the database lacks orders that this node acknowledged; open sales are paused; \
             compare the orders with the payment provider and the shop's records, then resume \
             the sales"
        );
    }
    for sale in &paused {
        tracing::error!(
            sale = sale.sale,
            was = sale.was.as_str(),
            event = "database.sale_paused",
            "paused the sale because the database changed; run doorbuster audit --server, \
             doorbuster csv orders and doorbuster csv payments, compare their output with the \
             payment provider and the shop's records, then resume the sale; see \
             docs/how-to/postgres-failover.md"
        );
    }
    Ok(!paused.is_empty())
}

/// Logs problems of the standbys and of commits, and remembers what it logged.
#[derive(Debug, Default)]
struct StandbyLog {
    missing_at: Option<Instant>,
    /// Whether commits waited for a standby at any time since this node started.
    was_synchronous: bool,
    /// The last time at which this node logged that commits wait for no standby.
    unsafe_at: Option<Instant>,
    /// Whether the node already logged that it lacks the privilege to see the standbys.
    said_hidden: bool,
    stalled_at: Option<Instant>,
}

impl StandbyLog {
    fn note(&mut self, found: &Replication) {
        if found.hides_standbys() && !std::mem::replace(&mut self.said_hidden, true) {
            tracing::warn!(
                event = "database.standbys_hidden",
                "commits wait for a standby, but the database user lacks the privilege to see the \
                 standbys, so no alarm names a missing standby; run GRANT pg_monitor TO the user \
                 of store.url"
            );
        }
        if found.lacks_standbys() {
            if is_due(&mut self.missing_at) {
                tracing::error!(
                    synchronous_standby_names = found.standby_names,
                    required = found.required,
                    connected = found.synchronous.unwrap_or(0),
                    missing = found.missing.join(" "),
                    event = "database.standby_missing",
                    "commits wait for a synchronous standby that is not connected; start it, or \
                     change synchronous_standby_names"
                );
            }
        } else {
            if self.missing_at.take().is_some() {
                tracing::warn!(
                    event = "database.standby_back",
                    "the synchronous standby is connected again"
                );
            }
        }
        if found.is_synchronous() {
            (self.was_synchronous, self.unsafe_at) = (true, None);
        } else if self.was_synchronous && is_due(&mut self.unsafe_at) {
            tracing::error!(
                synchronous_standby_names = found.standby_names,
                event = "database.no_synchronous_standby",
                "the database has no synchronous standby any more; orders would be lost with the \
                 primary's disk or in a failover; set synchronous_standby_names"
            );
        }
    }

    /// Logs when commits begin to stall, and when they are fast again. The log line about a stall
    /// also has the standbys' names, because a standby may be the cause.
    fn note_commit(&mut self, progress: CommitProgress, found: Option<&Replication>) {
        match progress {
            CommitProgress::Running(running) if running >= STALL_LOGGED_AFTER => {
                if is_due(&mut self.stalled_at) {
                    let found = found.cloned().unwrap_or_default();
                    tracing::error!(
                        running_ms = running.as_millis(),
                        synchronous_standby_names = found.standby_names,
                        missing = found.missing.join(" "),
                        standbys = found.standbys.join(", "),
                        event = "database.commits_stalled",
                        "a commit does not return; check the disk of the database, and the \
                         synchronous standbys and their network"
                    );
                }
            }
            // A commit that returns late does not end the stall. If it did, slow commits would
            // cause two log lines every few seconds.
            CommitProgress::Succeeded(took) if took >= STALL_LOGGED_AFTER => {}
            CommitProgress::Running(_) | CommitProgress::Failed => {}
            CommitProgress::Succeeded(_) => {
                if self.stalled_at.take().is_some() {
                    tracing::warn!(
                        event = "database.commits_return",
                        "the database completes commits again"
                    );
                }
            }
        }
    }
}

/// Returns whether a log line is due because it was not logged within [`LOG_REPEAT_INTERVAL`]. If
/// so, sets `at`, the time of the last log line, to now.
fn is_due(at: &mut Option<Instant>) -> bool {
    let is_due = at.is_none_or(|at| at.elapsed() >= LOG_REPEAT_INTERVAL);
    if is_due {
        *at = Some(Instant::now());
    }
    is_due
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing::{Event, Metadata, Subscriber, span};

    use super::*;

    /// Counts log lines.
    #[derive(Default)]
    struct LineCount(AtomicU32);

    impl Subscriber for LineCount {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_is_logged_again_each_minute() {
        let count = Arc::new(LineCount::default());
        let _logging = tracing::subscriber::set_default(count.clone());
        let connected = Replication { required: 1, synchronous: Some(1), ..Replication::default() };
        let missing = Replication { synchronous: Some(0), ..connected.clone() };
        let stalled = CommitProgress::Running(STALL_LOGGED_AFTER);
        let (asynchronous, mut log) = (Replication::default(), StandbyLog::default());
        let miss = |log: &mut StandbyLog| log.note(&missing);
        let stall = |log: &mut StandbyLog| log.note_commit(stalled, None);
        let lose = |log: &mut StandbyLog| log.note(&asynchronous);
        let faults: [&dyn Fn(&mut StandbyLog); 3] = [&miss, &stall, &lose];
        for (number, fault) in faults.into_iter().enumerate() {
            log.note(&connected);
            count.0.store(0, Ordering::Relaxed);
            for _ in 0..150 {
                fault(&mut log);
                tokio::time::advance(CHECK_INTERVAL).await;
            }
            assert_eq!(count.0.load(Ordering::Relaxed), 3, "fault {number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_ends_only_with_a_commit_that_returns_in_time() {
        let mut log = StandbyLog::default();
        log.note_commit(CommitProgress::Running(STALL_LOGGED_AFTER), None);
        assert!(log.stalled_at.is_some());
        log.note_commit(CommitProgress::Succeeded(STALL_LOGGED_AFTER), None);
        log.note_commit(CommitProgress::Failed, None);
        assert!(log.stalled_at.is_some(), "slow commits must not end the stall");
        log.note_commit(CommitProgress::Succeeded(Duration::from_millis(5)), None);
        assert!(log.stalled_at.is_none());
    }
}
