//! The task that publishes commits to the node. A call that makes a commit returns after the commit
//! is published. The task polls for other nodes' commits after a notification, and at least once a
//! second.
//!
//! Only this task calls the sink. Counts come only from polls, so older counts are never published
//! after newer counts. Every order that the counts include is published with the counts or earlier.
//! Under load, the orders of a settled batch are published earlier than their counts.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};

use doorbuster_core::Order;
use doorbuster_core::digest::DigestFollower;
use doorbuster_core::settler_pace::REFRESH_INTERVAL_MIN;

use crate::contract::{Committed, OpenError};
use crate::failure::Failure;
use crate::limits::{PG_CHECK_WAIT, PG_CONNECT_WAIT, PG_POLL_INTERVAL, PG_POLL_WAIT};

use super::connector::SessionMessage;
use super::notice::{CHANNEL, CommitNotice};
use super::poll::{Changes, PollResult, Poller};
use super::shared::{CommitMessage, OwnCommit, Shared};

/// If a settled batch has at least this many orders, the publisher publishes the orders first and
/// the counts later. A smaller batch means low load, so the publisher publishes its orders and
/// counts together. So at low load, a buyer who waits for each answer sees counts that include the
/// buyer's own orders.
const EARLY_ORDERS_MIN: usize = 8;

pub(super) struct Publisher {
    shared: Arc<Shared>,
    commits: mpsc::Receiver<CommitMessage>,
    look: Option<Poller>,
    /// How far this node has read the commits of other nodes. Until `DigestFollower::is_complete`
    /// returns true, this node must not refuse a request because of the published state.
    follower: DigestFollower,
    /// The follower's monotonic time counts from this instant.
    born: Instant,
    /// Transactions of this node that were announced to the publisher, but are not in any poll yet.
    own: Vec<String>,
    /// The notification for other nodes about this node's newest commits. It is sent with the next
    /// poll.
    notice: Option<CommitNotice>,
    is_failing: bool,
}

#[derive(Default)]
struct OwnCommits {
    orders: Vec<Order>,
    events: bool,
    needs_counts: bool,
    /// Callers that wait until these commits are published.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Publisher {
    /// Creates a publisher that starts at the current state: it publishes later commits only. Rows
    /// of earlier commits are read on demand.
    pub(super) async fn new(
        shared: Arc<Shared>,
        commits: mpsc::Receiver<CommitMessage>,
    ) -> Result<Self, OpenError> {
        let failed = |failure: Failure| OpenError::Failed(failure.to_string());
        let look = connect(&shared).await.map_err(failed)?;
        let began = Instant::now();
        let since = look.position(&shared.clock).await.map_err(failed)?;
        shared.clock.set_seen(began);
        let follower = DigestFollower::new(since, 0);
        Ok(Self {
            shared,
            commits,
            look: Some(look),
            follower,
            born: began,
            own: Vec::new(),
            notice: None,
            is_failing: false,
        })
    }

    /// Publishes commits until the store closes. If the sink panics, the store fails, because
    /// nothing would be published any more.
    pub(super) async fn run(self) {
        let shared = Arc::clone(&self.shared);
        if AssertUnwindSafe(self.work()).catch_unwind().await.is_err() {
            shared.state.fail("the publisher task panicked");
        }
        shared.state.stop_accepting();
    }

    /// Polls soon after a commit or a notification. The orders of a large batch of settled tickets
    /// are published at once, and several such batches share the next poll. So under load, the
    /// number of polls does not grow with the number of commits.
    async fn work(mut self) {
        let (mut looked, mut wants_poll) = (Instant::now(), false);
        loop {
            let apart = self.shared.refresh_interval();
            let has_hint = wants_poll || self.notice.is_some();
            let next = pause(self.follower.is_complete(), self.is_failing, has_hint, apart);
            let first = tokio::select! {
                biased;
                commits = self.commits.recv() => commits,
                // Notifications that arrive close together share a poll.
                () = self.shared.wake.notified(), if !wants_poll => {
                    wants_poll = true;
                    continue;
                }
                () = sleep_until((looked + next).into()) => Some(empty_commit()),
            };
            let (own, stop) = self.collect(first);
            if stop || own.needs_counts || looked.elapsed() >= apart {
                (looked, wants_poll) = (Instant::now(), false);
                self.poll_and_publish(own).await;
            } else {
                self.publish(own, Changes::default());
            }
            if stop {
                return;
            }
        }
    }

    /// Takes all commits from the queue. The returned `bool` says whether the task must end.
    fn collect(&mut self, first: Option<CommitMessage>) -> (OwnCommits, bool) {
        let (mut own, mut next) = (OwnCommits::default(), first);
        loop {
            match next {
                Some(CommitMessage::Committed(commit)) => {
                    let OwnCommit { transaction, orders, events, only_settled, done } = commit;
                    // If an earlier poll included this transaction, its orders are already
                    // published, perhaps in a newer state. So the orders in this message are not
                    // published.
                    let lives = self.follower.is_complete()
                        && self.look.as_ref().is_some_and(|look| !look.is_closed());
                    let known = lives
                        && transaction.as_ref().is_some_and(|t| self.follower.since().includes(t));
                    if transaction.is_some() || events {
                        self.add_notice(events);
                    }
                    self.shared.acknowledged.add(&orders);
                    self.own.extend(transaction.filter(|_| !known));
                    own.orders.extend(orders.into_iter().filter(|_| !known));
                    own.events |= events;
                    // If the polling session has ended, another node may have changed one of these
                    // orders unnoticed. So these orders wait for the next poll, and are published
                    // with its counts.
                    own.needs_counts |=
                        !(only_settled && lives && own.orders.len() >= EARLY_ORDERS_MIN);
                    own.waiting.push(done);
                }
                Some(CommitMessage::Stop) | None => return (own, true),
            }
            match self.commits.try_recv() {
                Ok(more) => next = Some(more),
                Err(_) => return (own, false),
            }
        }
    }

    async fn poll_and_publish(&mut self, own: OwnCommits) {
        let began = Instant::now();
        let looked = self.poll().await;
        let is_seen = looked.is_ok();
        self.is_failing = !is_seen;
        let seen = match looked {
            Ok(seen) => {
                self.shared.set_unavailable(None);
                seen
            }
            Err(failure) => {
                tracing::debug!(%failure, "failed to poll for commits; retrying");
                self.look = None;
                self.shared.set_unavailable(Some(failure.to_string()));
                // This node's commits are durable, so their callers get their results now. The next
                // successful poll publishes the counts.
                Changes::default()
            }
        };
        if is_seen {
            self.read_backlog().await;
        }
        if !self.follower.is_complete() {
            self.shared.clock.forget_seen();
        }
        self.publish(own, seen);
        if is_seen && self.follower.is_complete() {
            self.shared.clock.set_seen(began);
        }
    }

    /// Reads the next part of the backlog, if there is one. After a failure, the next call
    /// continues at the same position.
    async fn read_backlog(&mut self) {
        let (Some(look), Some(old)) = (&self.look, self.follower.backlog()) else { return };
        let mut tell = publish_in_parts(&self.shared);
        let read = look.read_backlog(old, self.shared.writer, &mut tell);
        match timeout(PG_POLL_WAIT, read).await {
            Ok(Ok(last)) => self.follower.advance_backlog(last),
            // During an outage, the log lines about the outage are enough.
            Ok(Err(_)) | Err(_) if self.shared.health().is_err() => {}
            Ok(Err(failure)) => {
                tracing::warn!(
                    %failure,
                    event = "store.backlog_failed",
                    "failed to read the backlog of orders; retrying"
                );
            }
            Err(_) => tracing::warn!(
                event = "store.backlog_timed_out",
                "timed out while reading the backlog of orders; retrying"
            ),
        }
    }

    fn publish(&self, own: OwnCommits, seen: Changes) {
        let OwnCommits { mut orders, events, waiting, .. } = own;
        orders.extend(seen.orders);
        let announced = self.shared.events.swap(false, Ordering::AcqRel);
        // Counts are published even if their numbers are unchanged, because a slot's feed may have
        // new units that another grant gave up.
        let committed = Committed {
            counts: seen.counts,
            orders,
            digests: seen.digests,
            verdicts: seen.verdicts,
            sales: seen.sales,
            may_lose_orders: seen.may_lose_orders,
            events: events || announced,
        };
        if !is_empty(&committed) {
            (self.shared.sink)(&committed);
        }
        for done in waiting {
            // A send fails if the caller no longer waits.
            let _ = done.send(());
        }
    }

    async fn poll(&mut self) -> Result<Changes, Failure> {
        let (shared, mut wait) = (Arc::clone(&self.shared), PG_POLL_WAIT);
        if self.look.as_ref().is_none_or(Poller::is_closed) {
            self.look = Some(connect(&shared).await?);
            let now = self.now();
            self.follower.rewind(now);
            self.own.clear();
            wait = PG_CHECK_WAIT;
        }
        let Some(look) = &self.look else { return Err(Failure::TimedOut) };
        let mut piece = publish_in_parts(&shared);
        let looked = look.poll(self.follower.since(), &self.own, &shared, &mut piece);
        let looked = async { tokio::join!(look.notify(self.notice), looked) };
        let (notified, looked) =
            timeout(wait, looked).await.unwrap_or((false, Err(Failure::TimedOut)));
        if notified {
            self.notice = None;
        }
        let PollResult { position, seen, old } = looked?;
        self.check_history(position.fence)?;
        // Every commit that was announced before this poll began is in the poll's snapshot, so
        // `own` is cleared.
        let now = self.now();
        self.follower.advance(position, old, now);
        self.own.clear();
        Ok(seen)
    }

    /// Fails if the database's fencing number differs from the newest number that this node knows.
    /// In this case, the session is at an old primary, or another node registered a change. The
    /// task then opens a new session, which inspects the database again.
    fn check_history(&self, fence: Option<i64>) -> Result<(), Failure> {
        let connector = &self.shared.connector;
        let Some(known) = connector.memory().known().map(|known| known.fence) else {
            return Ok(());
        };
        if fence == Some(known) {
            return Ok(());
        }
        connector.distrust_host();
        let found = fence.unwrap_or(0);
        Err(Failure::Refused(format!(
            "the database has fencing number {found}, but this deployment has used {known}; \
             connecting again"
        )))
    }

    fn add_notice(&mut self, events: bool) {
        let events = events || self.notice.is_some_and(|notice| notice.events);
        self.notice = Some(CommitNotice { writer: self.shared.writer, events });
    }

    /// Returns the monotonic time in milliseconds.
    fn now(&self) -> i64 {
        i64::try_from(self.born.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Returns the longest time from one poll to the next. `has_hint` is true if a commit of another
/// node, or of this node, was announced but is not in any poll yet. `apart` is the shortest time
/// between two polls for announced commits.
fn pause(is_complete: bool, is_failing: bool, has_hint: bool, apart: Duration) -> Duration {
    match is_complete {
        // Until the backlog is read, this node must not refuse a request because of the state in
        // its memory. Short pauses keep this period short.
        false => REFRESH_INTERVAL_MIN,
        // During an outage, announced commits do not shorten the pause. Only new commits of this
        // node cause earlier polls.
        true if has_hint && !is_failing => apart,
        true => PG_POLL_INTERVAL,
    }
}

/// Returns a function that publishes a part of the changes, without counts.
fn publish_in_parts(shared: &Arc<Shared>) -> impl FnMut(Changes) + Send + use<> {
    let shared = Arc::clone(shared);
    move |seen: Changes| {
        let Changes { orders, digests, verdicts, .. } = seen;
        let committed = Committed { orders, digests, verdicts, ..Committed::default() };
        if !is_empty(&committed) {
            (shared.sink)(&committed);
        }
    }
}

/// Returns a message that requests a poll. No caller waits for this poll.
fn empty_commit() -> CommitMessage {
    let (done, (orders, events)) = (oneshot::channel().0, (Vec::new(), false));
    let (transaction, only_settled) = (None, false);
    CommitMessage::Committed(OwnCommit { transaction, orders, events, only_settled, done })
}

fn is_empty(committed: &Committed) -> bool {
    let Committed { counts, orders, digests, verdicts, sales, may_lose_orders, events } = committed;
    let has_orders = !orders.is_empty() || !digests.is_empty();
    let has_rows = !counts.is_empty() || has_orders || !verdicts.is_empty();
    !has_rows && !sales && !may_lose_orders && !events
}

/// Opens a connection for polls, which also receives notifications.
async fn connect(shared: &Arc<Shared>) -> Result<Poller, Failure> {
    let weak = Arc::downgrade(shared);
    let listener = move |message| {
        let Some(shared) = weak.upgrade() else { return };
        match message {
            SessionMessage::Notification(wake) => {
                let wake = CommitNotice::parse(wake.payload());
                if wake.is_none_or(|wake| wake.writer != shared.writer) {
                    if wake.is_some_and(|wake| wake.events) {
                        shared.events.store(true, Ordering::Release);
                    }
                    shared.wake.notify_one();
                }
            }
            // The next poll opens a new connection.
            SessionMessage::Ended => shared.wake.notify_one(),
        }
    };
    // The session must use indexes for its reads, even if the tables were empty when the connection
    // was opened.
    let opened = Instant::now();
    let open = shared.connector.open(" -c enable_seqscan=off", Some(Box::new(listener)));
    let (client, _) = timeout(PG_CONNECT_WAIT, open).await.map_err(|_| Failure::TimedOut)??;
    let accepted = Instant::now();
    // Every commit of this node waits for the publisher, so the steps below have a time limit.
    let ready = async {
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
        Poller::new(client, opened, accepted, shared).await
    };
    timeout(PG_CONNECT_WAIT, ready).await.map_err(|_| Failure::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_causes_a_poll_soon_unless_the_database_is_unavailable() {
        let apart = Duration::from_millis(40);
        assert_eq!(pause(true, false, false, apart), PG_POLL_INTERVAL);
        assert_eq!(pause(true, false, true, apart), apart);
        assert_eq!(
            pause(true, true, true, apart),
            PG_POLL_INTERVAL,
            "the pause during an outage must be the longest"
        );
        assert_eq!(
            pause(false, false, true, apart),
            REFRESH_INTERVAL_MIN,
            "during a backlog, the pause must have the minimum length"
        );
    }
}
