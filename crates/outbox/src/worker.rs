//! Delivers events to one endpoint: reads the events after the endpoint's position, sends those
//! that [`DeliveryQueue`] chooses, and stores the results.
//!
//! The worker delivers only while its node has the endpoint's lease. If the worker stops, the next
//! worker reads the results from the store, and sends all events without a stored result again.
//! [`doorbuster_steps::delivery`] defines the sequence of steps in a worker's turn.
mod attempt;
mod ending;
mod read_ahead;
mod starting;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::notification;
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::Millis;
use doorbuster_core::outbox::{
    DeliveryQueue, EventFilter, PendingDelivery, RowChange, SendOutcome, ordering_key,
};
use doorbuster_steps::delivery::{self, Effect};
use doorbuster_store::{Endpoint, EndpointKind, StoreError};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::log;
use super::metrics::AttemptOutcome;
use super::{Outbox, POLL_INTERVAL};
use attempt::{SendError, delivery_outcome, send};
use read_ahead::{ReadAhead, event_type};
use starting::{start, stored_endpoint};

/// How long a lease is valid after its last renewal, in milliseconds. After that time, another node
/// can take the lease.
const LEASE_MS: i64 = 5_000;
const _: () = assert!(
    LEASE_MS + 1_000 <= doorbuster_store::limits::LEASE_END_MAX_MS,
    "the store must accept a new lease of a node whose clock is 1 s ahead"
);
/// How often the worker renews the lease, and how often a node without the lease tries to get it.
const RENEW_INTERVAL: Duration = Duration::from_millis(1_500);
/// How often the worker reads the delivery rows again, because operators can change them at other
/// nodes. A delivery row stands for an undelivered event that the endpoint's position has already
/// passed.
const ROWS_REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// How often the worker stores the results of deliveries. Because of this pause, one commit covers
/// many results under load.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);

pub(super) async fn run(outbox: Arc<Outbox>, mut endpoint: watch::Receiver<Arc<Endpoint>>) {
    let id = endpoint.borrow().id.clone();
    let store = outbox.node.store();
    loop {
        let leased = store.lease_endpoint(&id, outbox.node.id(), LEASE_MS).await;
        let ended = match leased {
            Ok(true) => deliver(&outbox, &id, &mut endpoint).await,
            // Another node has the lease.
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            log::delivery_failed(outbox.node.outage_log(), &id, &error);
        }
        tokio::select! {
            () = tokio::time::sleep(RENEW_INTERVAL) => {}
            changed = endpoint.changed() => if changed.is_err() { break },
        }
        if endpoint.has_changed().is_err() {
            break;
        }
    }
    // Gives up the lease, so that another node can take the lease at once.
    drop(store.lease_endpoint(&id, outbox.node.id(), 0).await);
}

/// Reads all delivery rows of an endpoint. None may be missing: otherwise, the worker would deliver
/// later events of an order before the event of the missing row.
///
/// The store can have up to twice as many rows as the bound. An operator adds a row only while the
/// store has fewer rows than the bound. A worker also checks the bound before it adds a row, but it
/// counts only the rows that it knows. It may not know the operators' newest rows.
async fn pending_rows(outbox: &Outbox, id: &str) -> Result<Vec<PendingDelivery>, StoreError> {
    outbox.node.store().pending_deliveries(id, 2 * outbox.bounds.pending).await
}

/// The result of a delivery: the event's position, the settings of the endpoint when the event was
/// sent, and whether the endpoint accepted the event.
type SendResult = (i64, Arc<Endpoint>, Result<(), SendError>);

struct Worker<'o> {
    outbox: &'o Arc<Outbox>,
    id: &'o str,
    kind: EndpointKind,
    url: String,
    wanted: EventFilter,
    queue: DeliveryQueue,
    events: ReadAhead,
    sending: JoinSet<SendResult>,
    notes: Vec<RowChange>,
    /// Whether the position may be able to advance, because the worker has handled events since the
    /// last attempt to advance it.
    can_advance: bool,
    advanced_at: Instant,
    /// Whether there may be unread events.
    may_have_more: bool,
    /// Whether the endpoint answered that it wants no more events.
    is_gone: bool,
    refusals: log::RefusalLog,
}

/// Delivers events while this node has the lease. Returns `Ok` when another node has the lease, or
/// after a failover of the database. Also returns `Ok` when an operator removed or disabled the
/// endpoint, or changed its list of event types.
async fn deliver(
    outbox: &Arc<Outbox>,
    id: &str,
    endpoint: &mut watch::Receiver<Arc<Endpoint>>,
) -> Result<(), StoreError> {
    let store = outbox.node.store();
    let mut new_events = outbox.new_events.subscribe();
    let history = store.history_changes();
    let Some(mut worker) = start(outbox, id, endpoint).await? else { return Ok(()) };
    let (mut renew, mut know) =
        (Instant::now() + RENEW_INTERVAL, Instant::now() + ROWS_REFRESH_INTERVAL);
    loop {
        let Some(now) = worker.run_turn(endpoint, history.as_ref()).await? else {
            if !has_failed_over(history.as_ref()) {
                log::other_node_delivered(id);
            }
            return Ok(());
        };
        let wake = worker.next_wake_up(now).min(renew).min(know);
        tokio::select! {
            Some(sent) = worker.sending.join_next(), if !worker.sending.is_empty() =>
                worker.handle_sent(sent)?,
            changed = new_events.changed() => {
                worker.may_have_more = true;
                // The signal may also mean that an operator added delivery rows, so the worker soon
                // reads the rows again.
                know = know.min(Instant::now() + WRITE_INTERVAL);
                if changed.is_err() { return Ok(()) }
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
        if endpoint.borrow().wanted != worker.wanted {
            return worker.finish_for_new_types(endpoint).await;
        }
        if Instant::now() >= renew {
            if !store.lease_endpoint(id, outbox.node.id(), LEASE_MS).await? {
                return Ok(());
            }
            renew = Instant::now() + RENEW_INTERVAL;
        }
        if Instant::now() >= know {
            worker.write_notes().await?;
            worker.queue.replace_rows(pending_rows(outbox, id).await?);
            know = Instant::now() + ROWS_REFRESH_INTERVAL;
        }
    }
}

fn has_failed_over(history: Option<&watch::Receiver<i64>>) -> bool {
    history.is_some_and(|history| history.has_changed().unwrap_or(true))
}

impl<'o> Worker<'o> {
    fn new(
        outbox: &'o Arc<Outbox>,
        id: &'o str,
        row: Endpoint,
        rows: Vec<PendingDelivery>,
    ) -> Self {
        Self {
            outbox,
            id,
            kind: row.kind,
            url: row.url,
            wanted: row.wanted,
            queue: DeliveryQueue::new(outbox.bounds, row.position, rows),
            events: ReadAhead::default(),
            sending: JoinSet::new(),
            notes: Vec::new(),
            can_advance: false,
            advanced_at: Instant::now(),
            may_have_more: true,
            is_gone: false,
            refusals: log::RefusalLog::default(),
        }
    }

    /// Runs the steps of one turn. Returns the time after the turn. Returns `None` if this worker
    /// must stop: another worker has changed the position, or a failover may have lost events and
    /// results that this worker knows.
    async fn run_turn(
        &mut self,
        endpoint: &mut watch::Receiver<Arc<Endpoint>>,
        history: Option<&watch::Receiver<i64>>,
    ) -> Result<Option<Millis>, StoreError> {
        for effect in delivery::effects() {
            if has_failed_over(history) {
                return Ok(None);
            }
            match effect {
                Effect::StoreResults => self.write_notes().await?,
                Effect::AdvancePosition => {
                    if !self.advance().await? {
                        return Ok(None);
                    }
                }
                Effect::ReadEvents => self.read(endpoint).await?,
                // Each turn reads the endpoint's current settings, so each event is signed with the
                // current secrets.
                Effect::SendEvents => {
                    let to = endpoint.borrow_and_update().clone();
                    if to.wanted == self.wanted {
                        self.send(&to, self.outbox.node.now());
                    } else {
                        // `deliver` must also see the new event types, and then end this worker.
                        // This call wakes `deliver`.
                        endpoint.mark_changed();
                    }
                }
            }
        }
        Ok(Some(self.outbox.node.now()))
    }

    /// Stores the results of attempts. If a failed attempt has no row in the store, an operator may
    /// have requested the event again. Then this function reads the rows again, so that the
    /// requested delivery precedes later events of the same order.
    async fn write_notes(&mut self) -> Result<(), StoreError> {
        if self.notes.is_empty() {
            return Ok(());
        }
        let store = self.outbox.node.store();
        let are_current = store.record_deliveries(self.id, self.notes.clone()).await?;
        self.notes.clear();
        failpoint::reach(Failpoint::OutboxNoted);
        if !are_current {
            self.queue.replace_rows(pending_rows(self.outbox, self.id).await?);
        }
        Ok(())
    }

    /// Advances the endpoint's position past events that are delivered, that have an unwanted type,
    /// or that have a delivery row. Returns `false` if another worker changed the position.
    async fn advance(&mut self) -> Result<bool, StoreError> {
        if !self.can_advance
            || (!self.sending.is_empty() && self.advanced_at.elapsed() < WRITE_INTERVAL)
        {
            return Ok(true);
        }
        self.can_advance = false;
        self.advanced_at = Instant::now();
        let Some(progress) = self.queue.next_advance() else { return Ok(true) };
        self.events.remove_to(progress.to);
        for parcel in progress.failed.iter().filter(|parcel| parcel.dead) {
            self.record_dead_letter(parcel.position, parcel.error.as_deref());
        }
        let is_there = self.outbox.node.store().advance_endpoint(self.id, progress).await?;
        failpoint::reach(Failpoint::OutboxAdvanced);
        self.queue.confirm_advance();
        Ok(is_there)
    }

    /// Reads further events if at least half of the window is free, or if no event is being sent.
    /// So a busy worker reads many events at once.
    async fn read(&mut self, endpoint: &watch::Receiver<Arc<Endpoint>>) -> Result<(), StoreError> {
        let room = self.queue.free_capacity();
        let is_time = room >= self.outbox.bounds.window / 2 || self.sending.is_empty();
        if !self.may_have_more || room == 0 || !is_time {
            return Ok(());
        }
        let page = self.outbox.node.store().events_after(self.queue.read_after(), room).await?;
        // The endpoint's list of event types has changed. Some of these events may have a type that
        // is wanted only now, so this worker adds none of these events. The next worker reads all
        // these events again.
        if endpoint.borrow().wanted != self.wanted {
            return Ok(());
        }
        // An operator may have changed the list of event types at another node. So the worker reads
        // the list from the store before it skips an event. The list is read after the events, so
        // the list is at least as new as the events.
        if page.iter().any(|read| !self.wanted.has(event_type(read))) {
            let stored = stored_endpoint(self.outbox, self.id).await?;
            if stored.is_none_or(|stored| stored.wanted != self.wanted) {
                // Soon, `endpoint` brings the new list to this worker. This worker then ends, and
                // the next worker reads these events.
                self.may_have_more = false;
                return Ok(());
            }
        }
        if !page.is_empty() {
            failpoint::reach(Failpoint::OutboxRead);
        }
        self.may_have_more = page.len() == room;
        for read in page {
            let is_wanted = self.wanted.has(event_type(&read));
            let (position, ordering_key) = match &read {
                Ok(stored) => (stored.position, ordering_key(&stored.event)),
                Err(unreadable) => (unreadable.position, unreadable.about.clone()),
            };
            self.queue.add(position, &ordering_key, is_wanted);
            if is_wanted {
                self.events.insert(position, read);
            } else {
                self.can_advance = true;
            }
        }
        Ok(())
    }

    /// If the endpoint has a new address, resets the queue, so that failures at the old address do
    /// not delay events.
    fn follow_address(&mut self, endpoint: &Endpoint, now: Millis) {
        if self.url != endpoint.url {
            self.url.clone_from(&endpoint.url);
            self.queue.reset_for_new_address(now);
        }
    }

    fn send(&mut self, endpoint: &Arc<Endpoint>, now: Millis) {
        self.follow_address(endpoint, now);
        while let Some(position) = self.queue.next(now) {
            let (outbox, endpoint) = (self.outbox.clone(), endpoint.clone());
            let read = self.events.recent(position);
            self.sending.spawn(async move {
                let answer = send(&outbox, &endpoint, position, read).await;
                (position, endpoint, answer)
            });
        }
    }

    /// Returns the time at which the worker runs its next turn if no signal comes earlier.
    fn next_wake_up(&self, now: Millis) -> Instant {
        let due = self.queue.next_due_at().map_or(POLL_INTERVAL, |due| {
            Duration::from_millis((due.0 - now.0).max(0).unsigned_abs())
        });
        let write = if self.can_advance {
            (self.advanced_at + WRITE_INTERVAL).duration_since(Instant::now())
        } else {
            POLL_INTERVAL
        };
        Instant::now() + due.min(write).min(POLL_INTERVAL)
    }

    fn handle_sent(&mut self, sent: Result<SendResult, JoinError>) -> Result<(), StoreError> {
        let (position, to, answer) = sent
            .map_err(|error| StoreError::Unexpected(format!("a delivery task failed: {error}")))?;
        if answer.is_err() && to.url != self.url {
            self.queue.sent_to_old_address(position);
            return Ok(());
        }
        if answer.is_ok() {
            failpoint::reach(Failpoint::OutboxSent);
        }
        let was_open = self.queue.is_open();
        let (delivery_outcome, error) = delivery_outcome(answer);
        self.is_gone |= delivery_outcome == SendOutcome::Gone;
        self.can_advance = true;
        let was_sent = !matches!(delivery_outcome, SendOutcome::Deferred { .. });
        let now = self.outbox.node.now();
        let note = self.queue.record(position, delivery_outcome, now, rand::random());
        let is_dead_row = matches!(&note, Some(RowChange::Pending(parcel)) if parcel.dead);
        if is_dead_row {
            self.record_dead_letter(position, error.as_deref());
        }
        let sent = &self.outbox.meter.sent[self.kind as usize];
        if is_dead_row || self.queue.is_dead_in_window(position) {
            sent[AttemptOutcome::Dead as usize].add_one();
        } else if was_sent {
            let outcome =
                if error.is_none() { AttemptOutcome::Delivered } else { AttemptOutcome::Failed };
            sent[outcome as usize].add_one();
        }
        self.notes.extend(note);
        let is_changed = self.queue.is_open() != was_open;
        self.refusals.note(self.id, (is_changed, was_open), error.as_deref());
        Ok(())
    }

    fn record_dead_letter(&self, position: i64, error: Option<&str>) {
        failpoint::reach(Failpoint::OutboxDead);
        log::dead_letter(self.id, &notification::event_id_prefix(position), error);
    }
}

#[cfg(test)]
mod tests;
