//! The task that tells the node what was committed: by this node, before its callers hear; by others, on their hint and at least each second.
//!
//! It alone calls the sink, and only with what a look saw, so that counts never go back and orders are complete up to them.
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
    PG_CHECK_WAIT, PG_CONNECT_WAIT, PG_LOOK_BACK, PG_LOOK_EVERY, PG_LOOK_WAIT, PG_LOOKS_APART,
};

use super::failure::Failure;
use super::flush::{CHANNEL, Hint};
use super::look::{Look, Looked, Old, Seen, Since};
use super::shared::{News, Shared};

/// The task's own state.
pub(super) struct Teller {
    shared: Arc<Shared>,
    news: mpsc::Receiver<News>,
    look: Option<Look>,
    since: Since,
    /// Where looks ended some time ago, a second apart, the oldest first.
    before: VecDeque<(Instant, Since)>,
    /// Orders of before the last look that are yet to be read. Until they are, nobody is to be refused from what this node shows.
    old: Option<Old>,
    /// Transactions of this node that were announced and are in no look yet.
    own: Vec<String>,
}

/// Commits of this node that are to be told.
#[derive(Default)]
struct Own {
    orders: Vec<Order>,
    /// Whether something is to be told that happened.
    events: bool,
    /// Who waits until all of it was told.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Teller {
    /// Begins here: what is committed before is read by whoever asks for it, what is committed later is told.
    pub(super) async fn new(
        shared: Arc<Shared>,
        news: mpsc::Receiver<News>,
    ) -> Result<Self, OpenError> {
        let failed = |failure: Failure| OpenError::Failed(failure.to_string());
        let look = connect(&shared).await.map_err(failed)?;
        let began = Instant::now();
        let since = look.here(&shared.clock).await.map_err(failed)?;
        shared.clock.saw(began);
        let (before, own) = (VecDeque::from([(Instant::now(), since.clone())]), Vec::new());
        Ok(Self { shared, news, look: Some(look), since, before, old: None, own })
    }

    /// Works until it is stopped. A panic of the sink ends the store: from then on nobody would be told anything.
    pub(super) async fn run(self) {
        let shared = Arc::clone(&self.shared);
        if AssertUnwindSafe(self.work()).catch_unwind().await.is_err() {
            shared.fail("the task that tells of commits panicked");
        }
        shared.close_gate();
    }

    async fn work(mut self) {
        let mut looked = Instant::now();
        loop {
            let due =
                (looked + if self.old.is_some() { PG_LOOKS_APART } else { PG_LOOK_EVERY }).into();
            let first = tokio::select! {
                biased;
                news = self.news.recv() => news,
                () = self.shared.hint.notified() => {
                    // Hints that come close together share a look; a commit of this node does not wait.
                    tokio::select! {
                        biased;
                        news = self.news.recv() => news,
                        () = sleep_until((looked + PG_LOOKS_APART).into()) => Some(nothing()),
                    }
                }
                () = sleep_until(due) => Some(nothing()),
            };
            let (own, stop) = self.gather(first);
            looked = Instant::now();
            self.tell(own).await;
            if stop {
                return;
            }
        }
    }

    /// What waits to be told, and whether this is the end.
    fn gather(&mut self, first: Option<News>) -> (Own, bool) {
        let (mut own, mut next) = (Own::default(), first);
        loop {
            match next {
                Some(News::Committed(transaction, orders, events, told)) => {
                    // A look that came before the announcement told of it already; the orders may have changed since.
                    let lives = self.old.is_none()
                        && self.look.as_ref().is_some_and(|look| !look.is_closed());
                    let known = lives && transaction.as_ref().is_some_and(|t| self.since.shows(t));
                    self.own.extend(transaction.filter(|_| !known));
                    own.orders.extend(orders.into_iter().filter(|_| !known));
                    own.events |= events;
                    own.waiting.push(told);
                }
                Some(News::Stop) | None => return (own, true),
            }
            match self.news.try_recv() {
                Ok(more) => next = Some(more),
                Err(_) => return (own, false),
            }
        }
    }

    /// Looks, tells what was seen and what this node committed, and lets its callers go.
    async fn tell(&mut self, own: Own) {
        let Own { orders, events, waiting } = own;
        let began = Instant::now();
        let looked = self.look().await;
        let is_seen = looked.is_ok();
        let seen = match looked {
            Ok(seen) => {
                self.shared.set_away(None);
                seen
            }
            Err(failure) => {
                tracing::warn!(%failure, "what was committed cannot be read; it is tried again");
                self.look = None;
                self.shared.set_away(Some(failure.to_string()));
                // What is committed is committed: its callers hear of it. Counts follow with the next look that succeeds.
                Seen::default()
            }
        };
        if is_seen {
            self.read_old().await;
        }
        if self.old.is_some() {
            self.shared.clock.saw_nothing();
        }
        let heard = self.shared.events.swap(false, Ordering::AcqRel);
        self.publish(orders, seen, events || heard);
        if is_seen && self.old.is_none() {
            self.shared.clock.saw(began);
        }
        for told in waiting {
            // Whoever does not wait any more need not hear.
            let _ = told.send(());
        }
    }

    /// Reads some more of what is old, if anything is. Should it fail, it goes on from there.
    async fn read_old(&mut self) {
        let (Some(look), Some(old)) = (&self.look, &mut self.old) else { return };
        let mut tell = pieces(&self.shared);
        match timeout(PG_LOOK_WAIT, look.read_old(old, self.shared.writer(), &mut tell)).await {
            Ok(Ok(true)) => self.old = None,
            Ok(Ok(false)) => {}
            Ok(Err(failure)) => tracing::warn!(%failure, "orders of before cannot be read yet"),
            Err(_) => tracing::warn!("orders of before are read slowly"),
        }
    }

    fn publish(&self, mut orders: Vec<Order>, seen: Seen, events: bool) {
        orders.extend(seen.orders);
        // Also counts that are the same as before: units that went from one grant to another are in their slot's feed now, and the counts do not show it.
        let committed =
            Committed { counts: seen.counts, orders, told: seen.told, sales: seen.sales, events };
        if !is_empty(&committed) {
            (self.shared.sink)(&committed);
        }
    }

    async fn look(&mut self) -> Result<Seen, Failure> {
        let (shared, mut wait) = (Arc::clone(&self.shared), PG_LOOK_WAIT);
        if self.look.as_ref().is_none_or(Look::is_closed) {
            self.look = Some(connect(&shared).await?);
            self.go_back();
            wait = PG_CHECK_WAIT;
        }
        let Some(look) = &self.look else { return Err(Failure::Silent) };
        let mut piece = pieces(&shared);
        let looked = look.look(&self.since, &self.own, shared.writer(), &shared.clock, &mut piece);
        let Looked { here, seen, old } =
            timeout(wait, looked).await.unwrap_or(Err(Failure::Silent))?;
        // Whatever was announced before this look began is in its snapshot.
        self.since = here;
        self.old = old.or(self.old.take());
        self.own.clear();
        let now = Instant::now();
        if self.before.back().is_none_or(|(at, _)| now.duration_since(*at) >= PG_LOOK_EVERY) {
            self.before.push_back((now, self.since.clone()));
        }
        while self.before.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= PG_LOOK_BACK) {
            self.before.pop_front();
        }
        Ok(seen)
    }

    /// After a lost connection the database may have crashed. Transactions whose last words were not on its disk yet (a hint, an abort) are then
    /// forgotten, and their numbers are given to others, which a snapshot of before shows as ended. One that is old enough does not know such numbers.
    fn go_back(&mut self) {
        let old = self.before.front().filter(|(at, _)| at.elapsed() >= PG_LOOK_BACK).cloned();
        let long_ago = Instant::now().checked_sub(PG_LOOK_BACK).unwrap_or_else(Instant::now);
        let (at, since) = old.unwrap_or_else(|| (long_ago, self.since.all_unknown()));
        self.since = since.clone();
        self.before = VecDeque::from([(at, since)]);
        self.own.clear();
    }
}

/// Tells what is seen in pieces, without counts.
fn pieces(shared: &Arc<Shared>) -> impl FnMut(Seen) + Send + use<> {
    let shared = Arc::clone(shared);
    move |seen: Seen| {
        let committed = Committed { orders: seen.orders, told: seen.told, ..Committed::default() };
        if !is_empty(&committed) {
            (shared.sink)(&committed);
        }
    }
}

/// A reason to look, and nobody who waits for it.
fn nothing() -> News {
    News::Committed(None, Vec::new(), false, oneshot::channel().0)
}

fn is_empty(committed: &Committed) -> bool {
    let Committed { counts, orders, told, sales, events } = committed;
    counts.is_empty() && orders.is_empty() && told.is_empty() && !sales && !events
}

/// A connection that hears hints and looks.
async fn connect(shared: &Arc<Shared>) -> Result<Look, Failure> {
    let Address { mut config, tls } = shared.address.clone();
    // It reads by indexes that it must use also when its tables were empty at first.
    let options = format!("{} -c enable_seqscan=off", config.get_options().unwrap_or_default());
    let connected = timeout(PG_CONNECT_WAIT, config.options(options).connect(tls)).await;
    let (client, mut connection) = connected.map_err(|_| Failure::Silent)??;
    let heard = Arc::downgrade(shared);
    // It ends with its client.
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            let Some(shared) = heard.upgrade() else { return };
            let AsyncMessage::Notification(hint) = message else { continue };
            let hint = Hint::parse(hint.payload());
            if hint.is_none_or(|hint| hint.writer != shared.writer()) {
                if hint.is_some_and(|hint| hint.events) {
                    shared.events.store(true, Ordering::Release);
                }
                shared.hint.notify_one();
            }
        }
        // The next look makes a new connection.
        if let Some(shared) = heard.upgrade() {
            shared.hint.notify_one();
        }
    });
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await?;
    Look::new(client, shared.node).await
}
