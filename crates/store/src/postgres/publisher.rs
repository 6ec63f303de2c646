//! The task that tells the node what was committed: by this node, before its callers hear; by
//! others, on their hint and at least each second.
//!
//! It alone calls the sink, and only with what a look saw, so that counts never go back and orders
//! are complete up to them.
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout};
use tokio_postgres::AsyncMessage;

use doorbuster_core::Order;
use doorbuster_postgres_tls::Address;

use crate::contract::{Committed, OpenError};
use crate::limits::{
    PG_CHECK_WAIT, PG_CONNECT_WAIT, PG_POLL_BACK, PG_POLL_EVERY, PG_POLL_WAIT, PG_POLLS_APART,
};

use super::failure::Failure;
use super::flush::{CHANNEL, CommitNotice};
use super::poll::{Backlog, Changes, PollResult, Poller, SnapshotPosition};
use super::shared::{CommitMessage, Shared};

/// The task's own state.
pub(super) struct Publisher {
    shared: Arc<Shared>,
    commits: mpsc::Receiver<CommitMessage>,
    look: Option<Poller>,
    since: SnapshotPosition,
    /// Where looks ended some time ago, a second apart, the oldest first.
    before: VecDeque<(Instant, SnapshotPosition)>,
    /// Orders of before the last look that are yet to be read. Until they are, nobody is to be
    /// refused from what this node shows.
    old: Option<Backlog>,
    /// Transactions of this node that were announced and are in no look yet.
    own: Vec<String>,
}

/// Commits of this node that are to be told.
#[derive(Default)]
struct OwnCommits {
    orders: Vec<Order>,
    /// Whether something is to be told that happened.
    events: bool,
    /// Who waits until all of it was told.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Publisher {
    /// Begins here: what is committed before is read by whoever asks for it, what is committed
    /// later is told.
    pub(super) async fn new(
        shared: Arc<Shared>,
        commits: mpsc::Receiver<CommitMessage>,
    ) -> Result<Self, OpenError> {
        let failed = |failure: Failure| OpenError::Failed(failure.to_string());
        let look = connect(&shared).await.map_err(failed)?;
        let began = Instant::now();
        let since = look.position(&shared.clock).await.map_err(failed)?;
        shared.clock.set_seen(began);
        let (before, own) = (VecDeque::from([(Instant::now(), since.clone())]), Vec::new());
        Ok(Self { shared, commits, look: Some(look), since, before, old: None, own })
    }

    /// Works until it is stopped. A panic of the sink ends the store: from then on nobody would be
    /// told anything.
    pub(super) async fn run(self) {
        let shared = Arc::clone(&self.shared);
        if AssertUnwindSafe(self.work()).catch_unwind().await.is_err() {
            shared.fail("the task that tells of commits panicked");
        }
        shared.stop_accepting();
    }

    async fn work(mut self) {
        let mut looked = Instant::now();
        loop {
            let due =
                (looked + if self.old.is_some() { PG_POLLS_APART } else { PG_POLL_EVERY }).into();
            let first = tokio::select! {
                biased;
                commits = self.commits.recv() => commits,
                () = self.shared.wake.notified() => {
                    // Hints that come close together share a look; a commit of this node does not
                    // wait.
                    tokio::select! {
                        biased;
                        commits = self.commits.recv() => commits,
                        () = sleep_until((looked + PG_POLLS_APART).into()) => Some(empty_commit()),
                    }
                }
                () = sleep_until(due) => Some(empty_commit()),
            };
            let (own, stop) = self.collect(first);
            looked = Instant::now();
            self.publish_commits(own).await;
            if stop {
                return;
            }
        }
    }

    /// What waits to be told, and whether this is the end.
    fn collect(&mut self, first: Option<CommitMessage>) -> (OwnCommits, bool) {
        let (mut own, mut next) = (OwnCommits::default(), first);
        loop {
            match next {
                Some(CommitMessage::Committed(transaction, orders, events, told)) => {
                    // A look that came before the announcement told of it already; the orders may
                    // have changed since.
                    let lives = self.old.is_none()
                        && self.look.as_ref().is_some_and(|look| !look.is_closed());
                    let known =
                        lives && transaction.as_ref().is_some_and(|t| self.since.includes(t));
                    self.own.extend(transaction.filter(|_| !known));
                    own.orders.extend(orders.into_iter().filter(|_| !known));
                    own.events |= events;
                    own.waiting.push(told);
                }
                Some(CommitMessage::Stop) | None => return (own, true),
            }
            match self.commits.try_recv() {
                Ok(more) => next = Some(more),
                Err(_) => return (own, false),
            }
        }
    }

    /// Looks, tells what was seen and what this node committed, and lets its callers go.
    async fn publish_commits(&mut self, own: OwnCommits) {
        let OwnCommits { orders, events, waiting } = own;
        let began = Instant::now();
        let looked = self.poll().await;
        let is_seen = looked.is_ok();
        let seen = match looked {
            Ok(seen) => {
                self.shared.set_unavailable(None);
                seen
            }
            Err(failure) => {
                tracing::warn!(%failure, "what was committed cannot be read; it is tried again");
                self.look = None;
                self.shared.set_unavailable(Some(failure.to_string()));
                // What is committed is committed: its callers hear of it. Counts follow with the
                // next look that succeeds.
                Changes::default()
            }
        };
        if is_seen {
            self.read_backlog().await;
        }
        if self.old.is_some() {
            self.shared.clock.forget_seen();
        }
        let heard = self.shared.events.swap(false, Ordering::AcqRel);
        self.publish(orders, seen, events || heard);
        if is_seen && self.old.is_none() {
            self.shared.clock.set_seen(began);
        }
        for told in waiting {
            // Whoever does not wait any more need not hear.
            let _ = told.send(());
        }
    }

    /// Reads some more of what is old, if anything is. Should it fail, it goes on from there.
    async fn read_backlog(&mut self) {
        let (Some(look), Some(old)) = (&self.look, &mut self.old) else { return };
        let mut tell = publish_in_parts(&self.shared);
        match timeout(PG_POLL_WAIT, look.read_backlog(old, self.shared.writer(), &mut tell)).await {
            Ok(Ok(true)) => self.old = None,
            Ok(Ok(false)) => {}
            Ok(Err(failure)) => tracing::warn!(%failure, "orders of before cannot be read yet"),
            Err(_) => tracing::warn!("orders of before are read slowly"),
        }
    }

    fn publish(&self, mut orders: Vec<Order>, seen: Changes, events: bool) {
        orders.extend(seen.orders);
        // Also counts that are the same as before: units that went from one grant to another are in
        // their slot's feed now, and the counts do not show it.
        let committed = Committed {
            counts: seen.counts,
            orders,
            told: seen.verdicts,
            sales: seen.sales,
            events,
        };
        if !is_empty(&committed) {
            (self.shared.sink)(&committed);
        }
    }

    async fn poll(&mut self) -> Result<Changes, Failure> {
        let (shared, mut wait) = (Arc::clone(&self.shared), PG_POLL_WAIT);
        if self.look.as_ref().is_none_or(Poller::is_closed) {
            self.look = Some(connect(&shared).await?);
            self.rewind();
            wait = PG_CHECK_WAIT;
        }
        let Some(look) = &self.look else { return Err(Failure::TimedOut) };
        let mut piece = publish_in_parts(&shared);
        let looked = look.poll(&self.since, &self.own, shared.writer(), &shared.clock, &mut piece);
        let PollResult { position, seen, old } =
            timeout(wait, looked).await.unwrap_or(Err(Failure::TimedOut))?;
        // Whatever was announced before this look began is in its snapshot.
        self.since = position;
        self.old = old.or(self.old.take());
        self.own.clear();
        let now = Instant::now();
        if self.before.back().is_none_or(|(at, _)| now.duration_since(*at) >= PG_POLL_EVERY) {
            self.before.push_back((now, self.since.clone()));
        }
        while self.before.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= PG_POLL_BACK) {
            self.before.pop_front();
        }
        Ok(seen)
    }

    /// After a lost connection the database may have crashed. Transactions whose last words were
    /// not on its disk yet (a hint, an abort) are then forgotten, and their numbers are given to
    /// others, which a snapshot of before shows as ended. One that is old enough does not know such
    /// numbers.
    fn rewind(&mut self) {
        let old = self.before.front().filter(|(at, _)| at.elapsed() >= PG_POLL_BACK).cloned();
        let long_ago = Instant::now().checked_sub(PG_POLL_BACK).unwrap_or_else(Instant::now);
        let (at, since) = old.unwrap_or_else(|| (long_ago, self.since.with_unknown_past()));
        self.since = since.clone();
        self.before = VecDeque::from([(at, since)]);
        self.own.clear();
    }
}

/// Tells what is seen in pieces, without counts.
fn publish_in_parts(shared: &Arc<Shared>) -> impl FnMut(Changes) + Send + use<> {
    let shared = Arc::clone(shared);
    move |seen: Changes| {
        let committed =
            Committed { orders: seen.orders, told: seen.verdicts, ..Committed::default() };
        if !is_empty(&committed) {
            (shared.sink)(&committed);
        }
    }
}

/// A reason to look, and nobody who waits for it.
fn empty_commit() -> CommitMessage {
    CommitMessage::Committed(None, Vec::new(), false, oneshot::channel().0)
}

fn is_empty(committed: &Committed) -> bool {
    let Committed { counts, orders, told, sales, events } = committed;
    counts.is_empty() && orders.is_empty() && told.is_empty() && !sales && !events
}

/// A connection that hears hints and looks.
async fn connect(shared: &Arc<Shared>) -> Result<Poller, Failure> {
    let Address { mut config, tls } = shared.address.clone();
    // It reads by indexes that it must use also when its tables were empty at first.
    let options = format!("{} -c enable_seqscan=off", config.get_options().unwrap_or_default());
    let connected = timeout(PG_CONNECT_WAIT, config.options(options).connect(tls)).await;
    let (client, mut connection) = connected.map_err(|_| Failure::TimedOut)??;
    let heard = Arc::downgrade(shared);
    // It ends with its client.
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            let Some(shared) = heard.upgrade() else { return };
            let AsyncMessage::Notification(wake) = message else { continue };
            let wake = CommitNotice::parse(wake.payload());
            if wake.is_none_or(|wake| wake.writer != shared.writer()) {
                if wake.is_some_and(|wake| wake.events) {
                    shared.events.store(true, Ordering::Release);
                }
                shared.wake.notify_one();
            }
        }
        // The next look makes a new connection.
        if let Some(shared) = heard.upgrade() {
            shared.wake.notify_one();
        }
    });
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
    Poller::new(client, shared.node).await
}
