//! Tells one endpoint: reads events after its position, sends what its desk says, writes down what came of it.
//!
//! It runs while its node holds the endpoint's lease. Whatever it has in memory can be lost at any instant: what was sent and not written down is sent again.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::told;
use doorbuster_core::Millis;
use doorbuster_core::event::EventType;
use doorbuster_core::outbox::{Desk, Note, Outcome, about};
use doorbuster_store::{Endpoint, EndpointChange, EndpointKind, Read, StoreError, Unreadable};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::meter::Sent;
use super::sink::Refusal;
use super::{Outbox, POLL_EVERY};
use crate::failpoint::{self, Point};

/// How long an endpoint stays with a node that says nothing.
const LEASE_MS: i64 = 5_000;
/// How often the lease is renewed, and tried to be had.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How often rows are read again that an operator may have added or discarded at another node.
const KNOW_EVERY: Duration = Duration::from_secs(2);
/// What was told is written down at least so often, and in one go: under load a commit covers many.
const WRITE_EVERY: Duration = Duration::from_millis(50);

/// Tells an endpoint until it is removed or disabled; gives its id back.
pub(super) async fn run(
    outbox: Arc<Outbox>,
    mut endpoint: watch::Receiver<Arc<Endpoint>>,
) -> String {
    let id = endpoint.borrow().id.clone();
    let store = outbox.engine.store();
    loop {
        let leased = store.lease_endpoint(&id, outbox.engine.node(), LEASE_MS).await;
        let ended = match leased {
            Ok(true) => tell(&outbox, &id, &mut endpoint).await,
            // Another node tells it.
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, endpoint = id, "an endpoint cannot be told further yet");
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            gone = endpoint.changed() => if gone.is_err() { break },
        }
        if endpoint.has_changed().is_err() {
            break;
        }
    }
    // Whoever comes next need not wait.
    drop(store.lease_endpoint(&id, outbox.engine.node(), 0).await);
    id
}

/// An event that was sent, the endpoint as it was then, and what it answered.
type Answered = (i64, Arc<Endpoint>, Result<(), Unsent>);

/// What a worker has in its hands.
struct Worker<'o> {
    outbox: &'o Arc<Outbox>,
    id: &'o str,
    kind: EndpointKind,
    /// Where it was when something was last sent to it.
    url: String,
    desk: Desk,
    /// Events that were read and are not told.
    events: HashMap<i64, Arc<Read>>,
    sending: JoinSet<Answered>,
    /// What the store does not know yet of rows that were tried.
    notes: Vec<Note>,
    /// Whether the position may be moved.
    may_go: bool,
    wrote: Instant,
    /// Whether there may be events that were not read.
    may_read: bool,
    /// The endpoint said that it wants nothing any more.
    is_gone: bool,
}

/// Why an event was not told.
#[derive(Debug, PartialEq, Eq)]
enum Unsent {
    /// The endpoint, or whatever lies before it.
    Refused(Refusal),
    /// The event's row: nobody can read it, or it is gone.
    Unreadable(String),
    /// Something that this program does not know, or could not read now. The endpoint was asked nothing.
    Later(String),
}

impl From<Refusal> for Unsent {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Tells while the lease is held. Ends well when another one has the endpoint, or it is gone.
async fn tell(
    outbox: &Arc<Outbox>,
    id: &str,
    endpoint: &mut watch::Receiver<Arc<Endpoint>>,
) -> Result<(), StoreError> {
    let store = outbox.engine.store();
    let mut news = outbox.news.subscribe();
    let Some(row) = store.endpoints().await?.into_iter().find(|row| row.id == id) else {
        return Ok(());
    };
    let rows = store.pending_deliveries(id, outbox.bounds.pending).await?;
    let mut worker = Worker {
        outbox,
        id,
        kind: row.kind,
        url: row.url,
        desk: Desk::new(outbox.bounds, row.position, rows),
        events: HashMap::new(),
        sending: JoinSet::new(),
        notes: Vec::new(),
        may_go: false,
        wrote: Instant::now(),
        may_read: true,
        is_gone: false,
    };
    let (mut renew, mut know) = (Instant::now() + RENEW_EVERY, Instant::now() + KNOW_EVERY);
    loop {
        worker.note().await?;
        if !worker.go().await? {
            tracing::info!(endpoint = id, "another node has told this endpoint further");
            return Ok(());
        }
        let now = outbox.engine.now();
        let to = endpoint.borrow_and_update().clone();
        worker.read(&to).await?;
        worker.follow(&to, now);
        worker.send(&to, now);
        let wake = worker.wake(now).min(renew).min(know);
        tokio::select! {
            Some(sent) = worker.sending.join_next(), if !worker.sending.is_empty() => worker.sent(sent)?,
            changed = news.changed() => {
                worker.may_read = true;
                // An operator may have added rows: those are news as well.
                know = know.min(Instant::now() + WRITE_EVERY);
                if changed.is_err() {
                    return Ok(());
                }
            }
            changed = endpoint.changed() => if changed.is_err() { return worker.end().await },
            () = tokio::time::sleep_until(wake) => {}
        }
        while let Some(sent) = worker.sending.try_join_next() {
            worker.sent(sent)?;
        }
        if worker.is_gone {
            worker.disable().await?;
            return worker.end().await;
        }
        if Instant::now() >= renew {
            if !store.lease_endpoint(id, outbox.engine.node(), LEASE_MS).await? {
                return Ok(());
            }
            renew = Instant::now() + RENEW_EVERY;
        }
        if Instant::now() >= know {
            worker.note().await?;
            worker.desk.know(store.pending_deliveries(id, outbox.bounds.pending).await?);
            know = Instant::now() + KNOW_EVERY;
        }
    }
}

impl Worker<'_> {
    /// Writes down what came of rows that were tried.
    async fn note(&mut self) -> Result<(), StoreError> {
        if !self.notes.is_empty() {
            self.outbox.engine.store().note_deliveries(self.id, self.notes.clone()).await?;
            self.notes.clear();
            failpoint::pass(Point::OutboxNoted);
        }
        Ok(())
    }

    /// Moves the position past what was told or got a row. False: it is not where it was left.
    async fn go(&mut self) -> Result<bool, StoreError> {
        if !self.may_go || (!self.sending.is_empty() && self.wrote.elapsed() < WRITE_EVERY) {
            return Ok(true);
        }
        self.may_go = false;
        self.wrote = Instant::now();
        let Some(progress) = self.desk.go() else { return Ok(true) };
        self.events.retain(|at, _| *at > progress.to);
        for parcel in progress.failed.iter().filter(|parcel| parcel.dead) {
            self.given_up(parcel.position, parcel.error.as_deref());
        }
        let is_there = self.outbox.engine.store().advance_endpoint(self.id, progress).await?;
        failpoint::pass(Point::OutboxAdvanced);
        self.desk.gone();
        Ok(is_there)
    }

    /// Reads on, once there is room for many or nothing else to do.
    async fn read(&mut self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let room = self.desk.room();
        let is_time = room >= self.outbox.bounds.window / 2 || self.sending.is_empty();
        if !self.may_read || room == 0 || !is_time {
            return Ok(());
        }
        let told = self.outbox.engine.store().told_after(self.desk.read_after(), room).await?;
        if !told.is_empty() {
            failpoint::pass(Point::OutboxRead);
        }
        self.may_read = told.len() == room;
        for read in told {
            let (position, about, is_wanted) = match &read {
                Ok(told) => (
                    told.position,
                    about(&told.event),
                    endpoint.wanted.has(told.event.what.as_str()),
                ),
                Err(unreadable) => (
                    unreadable.position,
                    unreadable.about.clone(),
                    endpoint.wanted.has(&unreadable.what),
                ),
            };
            self.desk.read(position, &about, is_wanted);
            if is_wanted {
                self.events.insert(position, Arc::new(read));
            } else {
                self.may_go = true;
            }
        }
        Ok(())
    }

    /// An endpoint that an operator moved is another one: nothing that the old address said holds for it.
    fn follow(&mut self, endpoint: &Endpoint, now: Millis) {
        if self.url != endpoint.url {
            self.url.clone_from(&endpoint.url);
            self.desk.moved(now);
        }
    }

    /// Sends what may be sent now.
    fn send(&mut self, endpoint: &Arc<Endpoint>, now: Millis) {
        while let Some(position) = self.desk.next(now) {
            let (outbox, endpoint) = (self.outbox.clone(), endpoint.clone());
            let read = self.events.get(&position).cloned();
            self.sending.spawn(async move {
                let answer = send(&outbox, &endpoint, position, read).await;
                (position, endpoint, answer)
            });
        }
    }

    /// When there is something to do though nothing happens.
    fn wake(&self, now: Millis) -> Instant {
        let due = self
            .desk
            .due()
            .map_or(POLL_EVERY, |due| Duration::from_millis((due.0 - now.0).max(0).unsigned_abs()));
        let write = if self.may_go {
            (self.wrote + WRITE_EVERY).duration_since(Instant::now())
        } else {
            POLL_EVERY
        };
        Instant::now() + due.min(write).min(POLL_EVERY)
    }

    fn sent(&mut self, sent: Result<Answered, JoinError>) -> Result<(), StoreError> {
        let (position, to, answer) = sent
            .map_err(|error| StoreError::Unexpected(format!("a message was dropped: {error}")))?;
        if answer.is_err() && to.url != self.url {
            self.desk.sent_elsewhere(position);
            return Ok(());
        }
        if answer.is_ok() {
            failpoint::pass(Point::OutboxSent);
        }
        let was_open = self.desk.is_open();
        let (outcome, error) = outcome(answer);
        self.is_gone |= outcome == Outcome::Gone;
        self.may_go = true;
        let was_sent = !matches!(outcome, Outcome::Later { .. });
        let now = self.outbox.engine.now();
        let note = self.desk.done(position, outcome, now, rand::random());
        if was_sent {
            self.outbox
                .meter
                .count(self.kind, if error.is_none() { Sent::Told } else { Sent::Failed });
        }
        if let Some(Note::Again(parcel)) = &note
            && parcel.dead
        {
            self.given_up(position, error.as_deref());
        }
        self.notes.extend(note);
        if self.desk.is_open() != was_open {
            let error = error.unwrap_or_default();
            match was_open {
                false => tracing::warn!(
                    endpoint = self.id,
                    error,
                    "an endpoint takes nothing any more; it is tried with one event at a time"
                ),
                true => tracing::info!(endpoint = self.id, "an endpoint takes events again"),
            }
        }
        Ok(())
    }

    /// An event is given up: somebody must look.
    fn given_up(&self, position: i64, error: Option<&str>) {
        failpoint::pass(Point::OutboxDead);
        self.outbox.meter.count(self.kind, Sent::Dead);
        let event = told::bare_event_id(position);
        tracing::error!(
            endpoint = self.id,
            event,
            error,
            "an event was given up and is a dead letter"
        );
    }

    /// The endpoint asked for it: what it was not told waits until an operator enables it again.
    async fn disable(&mut self) -> Result<(), StoreError> {
        let store = self.outbox.engine.store();
        let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
        store.update_endpoint(self.id, off).await?;
        tracing::error!(
            endpoint = self.id,
            "an endpoint answered 410 Gone and is disabled: an operator must look"
        );
        let detail = serde_json::json!({"endpoint": self.id, "reason": "it answered 410"});
        store.log_action("engine", "webhook_endpoint.disable", &detail.to_string()).await?;
        self.outbox.wake();
        Ok(())
    }

    /// Writes down what is known, since nobody will be told any more.
    async fn end(mut self) -> Result<(), StoreError> {
        self.sending.abort_all();
        self.note().await?;
        self.sending = JoinSet::new();
        self.go().await.map(drop)
    }
}

/// What came of sending, for the plan; and what went wrong.
fn outcome(answer: Result<(), Unsent>) -> (Outcome, Option<String>) {
    let Err(unsent) = answer else { return (Outcome::Told, None) };
    match unsent {
        Unsent::Unreadable(error) => (Outcome::Never { error: error.clone() }, Some(error)),
        Unsent::Later(error) => (Outcome::Later { error: error.clone() }, Some(error)),
        Unsent::Refused(Refusal { error, is_gone: true, .. }) => (Outcome::Gone, Some(error)),
        Unsent::Refused(Refusal { error, is_final: true, .. }) => {
            (Outcome::Refused { error: error.clone() }, Some(error))
        }
        Unsent::Refused(Refusal { error, pause_ms, .. }) => {
            (Outcome::Failed { error: error.clone(), pause_ms }, Some(error))
        }
    }
}

/// Sends one event, which is looked up again if it was read long ago.
async fn send(
    outbox: &Outbox,
    endpoint: &Endpoint,
    position: i64,
    read: Option<Arc<Read>>,
) -> Result<(), Unsent> {
    let read = match read {
        Some(read) => read,
        None => match outbox.engine.store().told_at(position).await {
            Ok(Some(read)) => Arc::new(read),
            Ok(None) => return Err(Unsent::Unreadable("the event is forgotten".to_owned())),
            Err(error) => {
                return Err(Unsent::Later(format!("the event could not be read: {error}")));
            }
        },
    };
    let told = match &*read {
        Ok(told) => told,
        Err(Unreadable { what, .. }) if EventType::parse(what).is_none() && is_type(what) => {
            return Err(Unsent::Later(format!(
                "this version knows no event {what:?}; a newer one does"
            )));
        }
        Err(unreadable) => {
            return Err(Unsent::Unreadable(format!(
                "its row cannot be read: {}",
                unreadable.reason
            )));
        }
    };
    match outbox.message(told).await {
        Some(message) => Ok(outbox.send(endpoint, &message).await?),
        None => Err(Unsent::Later("the event's item is not known here yet".to_owned())),
    }
}

/// Whether a text may be an event's type that only a newer version knows.
fn is_type(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text.split_once('.').is_some_and(|(of, what)| is_word(of) && is_word(what))
}

#[cfg(test)]
mod tests;
