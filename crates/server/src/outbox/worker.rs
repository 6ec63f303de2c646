//! Tells one endpoint: reads events after its position, sends what its desk says, writes down what
//! came of it.
//!
//! It runs while its node holds the endpoint's lease. Whatever it has in memory can be lost at any
//! instant: what was sent and not written down is sent again.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::notification;
use doorbuster_core::Millis;
use doorbuster_core::event::EventType;
use doorbuster_core::outbox::{DeliveryQueue, RowChange, SendOutcome, ordering_key};
use doorbuster_store::{
    Endpoint, EndpointChange, EndpointKind, EventRead, StoreError, UnreadableEvent,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::metrics::AttemptOutcome;
use super::sink::DeliveryError;
use super::{Outbox, POLL_EVERY};
use crate::failpoint::{self, Point};

/// How long an endpoint stays with a node that says nothing.
const LEASE_MS: i64 = 5_000;
/// How often the lease is renewed, and tried to be had.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How often rows are read again that an operator may have added or discarded at another node.
const ROWS_REFRESH_EVERY: Duration = Duration::from_secs(2);
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
            Ok(true) => deliver(&outbox, &id, &mut endpoint).await,
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
type SendResult = (i64, Arc<Endpoint>, Result<(), SendError>);

/// What a worker has in its hands.
struct Worker<'o> {
    outbox: &'o Arc<Outbox>,
    id: &'o str,
    kind: EndpointKind,
    /// Where it was when something was last sent to it.
    url: String,
    queue: DeliveryQueue,
    /// Events that were read and are not told.
    events: HashMap<i64, Arc<EventRead>>,
    sending: JoinSet<SendResult>,
    /// What the store does not know yet of rows that were tried.
    notes: Vec<RowChange>,
    /// Whether the position may be moved.
    can_advance: bool,
    advanced_at: Instant,
    /// Whether there may be events that were not read.
    may_have_more: bool,
    /// The endpoint said that it wants nothing any more.
    is_gone: bool,
}

/// Why an event was not told.
#[derive(Debug, PartialEq, Eq)]
enum SendError {
    /// The endpoint, or whatever lies before it.
    Refused(DeliveryError),
    /// The event's row: nobody can read it, or it is gone.
    UnreadableEvent(String),
    /// Something that this program does not know, or could not read now. The endpoint was asked
    /// nothing.
    Deferred(String),
}

impl From<DeliveryError> for SendError {
    fn from(refusal: DeliveryError) -> Self {
        Self::Refused(refusal)
    }
}

/// Tells while the lease is held. Ends well when another one has the endpoint, or it is gone.
async fn deliver(
    outbox: &Arc<Outbox>,
    id: &str,
    endpoint: &mut watch::Receiver<Arc<Endpoint>>,
) -> Result<(), StoreError> {
    let store = outbox.engine.store();
    let mut new_events = outbox.new_events.subscribe();
    let Some(row) = store.endpoints().await?.into_iter().find(|row| row.id == id) else {
        return Ok(());
    };
    let rows = store.pending_deliveries(id, outbox.bounds.pending).await?;
    let mut worker = Worker {
        outbox,
        id,
        kind: row.kind,
        url: row.url,
        queue: DeliveryQueue::new(outbox.bounds, row.position, rows),
        events: HashMap::new(),
        sending: JoinSet::new(),
        notes: Vec::new(),
        can_advance: false,
        advanced_at: Instant::now(),
        may_have_more: true,
        is_gone: false,
    };
    let (mut renew, mut know) = (Instant::now() + RENEW_EVERY, Instant::now() + ROWS_REFRESH_EVERY);
    loop {
        worker.write_notes().await?;
        if !worker.advance().await? {
            tracing::info!(endpoint = id, "another node has told this endpoint further");
            return Ok(());
        }
        let now = outbox.engine.now();
        let to = endpoint.borrow_and_update().clone();
        worker.read(&to).await?;
        worker.follow_address(&to, now);
        worker.send(&to, now);
        let wake = worker.notify_workers(now).min(renew).min(know);
        tokio::select! {
            Some(sent) = worker.sending.join_next(), if !worker.sending.is_empty() => worker.handle_sent(sent)?,
            changed = new_events.changed() => {
                worker.may_have_more = true;
                // An operator may have added rows: those are news as well.
                know = know.min(Instant::now() + WRITE_EVERY);
                if changed.is_err() {
                    return Ok(());
                }
            }
            changed = endpoint.changed() => if changed.is_err() { return worker.finish().await },
            () = tokio::time::sleep_until(wake) => {}
        }
        while let Some(sent) = worker.sending.try_join_next() {
            worker.handle_sent(sent)?;
        }
        if worker.is_gone {
            worker.disable().await?;
            return worker.finish().await;
        }
        if Instant::now() >= renew {
            if !store.lease_endpoint(id, outbox.engine.node(), LEASE_MS).await? {
                return Ok(());
            }
            renew = Instant::now() + RENEW_EVERY;
        }
        if Instant::now() >= know {
            worker.write_notes().await?;
            worker.queue.know(store.pending_deliveries(id, outbox.bounds.pending).await?);
            know = Instant::now() + ROWS_REFRESH_EVERY;
        }
    }
}

impl Worker<'_> {
    /// Writes down what came of rows that were tried.
    async fn write_notes(&mut self) -> Result<(), StoreError> {
        if !self.notes.is_empty() {
            self.outbox.engine.store().record_deliveries(self.id, self.notes.clone()).await?;
            self.notes.clear();
            failpoint::pass(Point::OutboxNoted);
        }
        Ok(())
    }

    /// Moves the position past what was told or got a row. False: it is not where it was left.
    async fn advance(&mut self) -> Result<bool, StoreError> {
        if !self.can_advance
            || (!self.sending.is_empty() && self.advanced_at.elapsed() < WRITE_EVERY)
        {
            return Ok(true);
        }
        self.can_advance = false;
        self.advanced_at = Instant::now();
        let Some(progress) = self.queue.go() else { return Ok(true) };
        self.events.retain(|at, _| *at > progress.to);
        for parcel in progress.failed.iter().filter(|parcel| parcel.dead) {
            self.record_dead_letter(parcel.position, parcel.error.as_deref());
        }
        let is_there = self.outbox.engine.store().advance_endpoint(self.id, progress).await?;
        failpoint::pass(Point::OutboxAdvanced);
        self.queue.gone();
        Ok(is_there)
    }

    /// Reads on, once there is room for many or nothing else to do.
    async fn read(&mut self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let room = self.queue.room();
        let is_time = room >= self.outbox.bounds.window / 2 || self.sending.is_empty();
        if !self.may_have_more || room == 0 || !is_time {
            return Ok(());
        }
        let told = self.outbox.engine.store().events_after(self.queue.read_after(), room).await?;
        if !told.is_empty() {
            failpoint::pass(Point::OutboxRead);
        }
        self.may_have_more = told.len() == room;
        for read in told {
            let (position, ordering_key, is_wanted) = match &read {
                Ok(told) => (
                    told.position,
                    ordering_key(&told.event),
                    endpoint.wanted.has(told.event.what.as_str()),
                ),
                Err(unreadable) => (
                    unreadable.position,
                    unreadable.about.clone(),
                    endpoint.wanted.has(&unreadable.what),
                ),
            };
            self.queue.read(position, &ordering_key, is_wanted);
            if is_wanted {
                self.events.insert(position, Arc::new(read));
            } else {
                self.can_advance = true;
            }
        }
        Ok(())
    }

    /// An endpoint that an operator moved is another one: nothing that the old address said holds
    /// for it.
    fn follow_address(&mut self, endpoint: &Endpoint, now: Millis) {
        if self.url != endpoint.url {
            self.url.clone_from(&endpoint.url);
            self.queue.moved(now);
        }
    }

    /// Sends what may be sent now.
    fn send(&mut self, endpoint: &Arc<Endpoint>, now: Millis) {
        while let Some(position) = self.queue.next(now) {
            let (outbox, endpoint) = (self.outbox.clone(), endpoint.clone());
            let read = self.events.get(&position).cloned();
            self.sending.spawn(async move {
                let answer = send(&outbox, &endpoint, position, read).await;
                (position, endpoint, answer)
            });
        }
    }

    /// When there is something to do though nothing happens.
    fn notify_workers(&self, now: Millis) -> Instant {
        let due = self
            .queue
            .due()
            .map_or(POLL_EVERY, |due| Duration::from_millis((due.0 - now.0).max(0).unsigned_abs()));
        let write = if self.can_advance {
            (self.advanced_at + WRITE_EVERY).duration_since(Instant::now())
        } else {
            POLL_EVERY
        };
        Instant::now() + due.min(write).min(POLL_EVERY)
    }

    fn handle_sent(&mut self, sent: Result<SendResult, JoinError>) -> Result<(), StoreError> {
        let (position, to, answer) = sent
            .map_err(|error| StoreError::Unexpected(format!("a message was dropped: {error}")))?;
        if answer.is_err() && to.url != self.url {
            self.queue.sent_to_old_address(position);
            return Ok(());
        }
        if answer.is_ok() {
            failpoint::pass(Point::OutboxSent);
        }
        let was_open = self.queue.is_open();
        let (delivery_outcome, error) = delivery_outcome(answer);
        self.is_gone |= delivery_outcome == SendOutcome::Gone;
        self.can_advance = true;
        let was_sent = !matches!(delivery_outcome, SendOutcome::Deferred { .. });
        let now = self.outbox.engine.now();
        let note = self.queue.done(position, delivery_outcome, now, rand::random());
        if was_sent {
            self.outbox.meter.count(
                self.kind,
                if error.is_none() { AttemptOutcome::Delivered } else { AttemptOutcome::Failed },
            );
        }
        if let Some(RowChange::Pending(parcel)) = &note
            && parcel.dead
        {
            self.record_dead_letter(position, error.as_deref());
        }
        self.notes.extend(note);
        if self.queue.is_open() != was_open {
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
    fn record_dead_letter(&self, position: i64, error: Option<&str>) {
        failpoint::pass(Point::OutboxDead);
        self.outbox.meter.count(self.kind, AttemptOutcome::Dead);
        let event = notification::event_id_prefix(position);
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
        self.outbox.notify_workers();
        Ok(())
    }

    /// Writes down what is known, since nobody will be told any more.
    async fn finish(mut self) -> Result<(), StoreError> {
        self.sending.abort_all();
        self.write_notes().await?;
        self.sending = JoinSet::new();
        self.advance().await.map(drop)
    }
}

/// What came of sending, for the plan; and what went wrong.
fn delivery_outcome(answer: Result<(), SendError>) -> (SendOutcome, Option<String>) {
    let Err(unsent) = answer else { return (SendOutcome::Delivered, None) };
    match unsent {
        SendError::UnreadableEvent(error) => {
            (SendOutcome::Unsendable { error: error.clone() }, Some(error))
        }
        SendError::Deferred(error) => (SendOutcome::Deferred { error: error.clone() }, Some(error)),
        SendError::Refused(DeliveryError { error, is_gone: true, .. }) => {
            (SendOutcome::Gone, Some(error))
        }
        SendError::Refused(DeliveryError { error, is_final: true, .. }) => {
            (SendOutcome::Refused { error: error.clone() }, Some(error))
        }
        SendError::Refused(DeliveryError { error, pause_ms, .. }) => {
            (SendOutcome::Failed { error: error.clone(), pause_ms }, Some(error))
        }
    }
}

/// Sends one event, which is looked up again if it was read long ago.
async fn send(
    outbox: &Outbox,
    endpoint: &Endpoint,
    position: i64,
    read: Option<Arc<EventRead>>,
) -> Result<(), SendError> {
    let read = match read {
        Some(read) => read,
        None => match outbox.engine.store().event_at(position).await {
            Ok(Some(read)) => Arc::new(read),
            Ok(None) => {
                return Err(SendError::UnreadableEvent("the event is forgotten".to_owned()));
            }
            Err(error) => {
                return Err(SendError::Deferred(format!("the event could not be read: {error}")));
            }
        },
    };
    let told = match &*read {
        Ok(told) => told,
        Err(UnreadableEvent { what, .. })
            if EventType::parse(what).is_none() && is_unknown_type(what) =>
        {
            return Err(SendError::Deferred(format!(
                "this version knows no event {what:?}; a newer one does"
            )));
        }
        Err(unreadable) => {
            return Err(SendError::UnreadableEvent(format!(
                "its row cannot be read: {}",
                unreadable.reason
            )));
        }
    };
    match outbox.message(told).await {
        Some(message) => Ok(outbox.send(endpoint, &message).await?),
        None => Err(SendError::Deferred("the event's item is not known here yet".to_owned())),
    }
}

/// Whether a text may be an event's type that only a newer version knows.
fn is_unknown_type(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text.split_once('.').is_some_and(|(of, what)| is_word(of) && is_word(what))
}

#[cfg(test)]
mod tests;
