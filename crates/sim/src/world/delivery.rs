//! Simulates workers that deliver events to endpoints. A worker reads events by position, sends
//! them, and stores its progress, in the sequence of [`doorbuster_steps::delivery`].
use std::collections::BTreeMap;

use doorbuster_core::outbox::{
    DeliveryBounds, DeliveryQueue, PendingDelivery, PositionAdvance, RowChange, SendOutcome,
};
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_steps::delivery::{self, Effect};

use super::World;
use crate::state::{
    Deliveries, DeliveryMessage, ENDPOINTS, Endpoint, EndpointMemory, EndpointMode, Message,
    Sending, WORKERS, Worker, WorkerTransaction,
};

/// Returns the bounds of deliveries to an endpoint. These bounds are so small that runs reach them.
fn bounds(endpoint: usize) -> DeliveryBounds {
    let tries = 1 + endpoint as u32;
    DeliveryBounds { tries, refusals: tries, refused_ms: 0, at_once: 3, window: 6, pending: 4 }
}
/// The largest number of events that one worker sends in one step.
const SENDS_MAX: usize = 8;
/// If the rule `ReadByPosition` is removed, workers read events by number instead of by position.
/// An event's number is its transaction's id times this factor, plus the event's index.
const NUMBERS: i64 = 1_000;

fn no_answer(from: Sending) -> Message {
    Message::DeliveryMessage(DeliveryMessage::Answer {
        from,
        outcome: SendOutcome::Failed { error: "no answer".into(), pause_ms: 0 },
    })
}

impl World {
    /// Gives positions to new events, in the order of their transactions' numbers. A transaction
    /// gets its number when it begins, but transactions may commit in any order.
    pub(crate) fn place_events(&mut self) {
        let mut new: Vec<_> =
            (self.deliveries.placed.len()..self.store.model.events.len()).collect();
        new.sort_by_key(|&i| (self.store.writer_xids[i], i));
        for event in new {
            self.deliveries.last_position += 1;
            self.deliveries.placed.push((self.deliveries.last_position, event));
        }
    }

    fn events_after(&mut self, position: i64, limit: usize) -> Vec<(i64, usize)> {
        if enforces(Rule::ReadByPosition) {
            self.place_events();
            let all = self.deliveries.placed.iter().copied();
            return all.skip_while(|(at, _)| *at <= position).take(limit).collect();
        }
        let number = |i: usize| self.store.writer_xids[i] as i64 * NUMBERS + i as i64;
        let mut all: Vec<_> = (0..self.store.model.events.len()).map(|i| (number(i), i)).collect();
        all.sort_unstable();
        all.into_iter().filter(|(at, _)| *at > position).take(limit).collect()
    }

    /// Returns the event at a position. Returns `None` for the position of an event that a failover
    /// lost.
    fn event_at(&self, position: i64) -> Option<usize> {
        if !enforces(Rule::ReadByPosition) {
            return Some((position % NUMBERS) as usize)
                .filter(|e| *e < self.store.model.events.len());
        }
        let placed = &self.deliveries.placed;
        let found = placed.binary_search_by_key(&position, |(at, _)| *at).ok()?;
        Some(placed[found].1)
    }

    /// Begins a turn of a worker for an endpoint. Does nothing if the worker's earlier turn for
    /// this endpoint is still running.
    pub(crate) fn deliver_events(&mut self, worker: u8, endpoint: u8) {
        let (w, e) = (usize::from(worker) % WORKERS, usize::from(endpoint) % ENDPOINTS);
        let Worker { memories, sendings } = &mut self.deliveries.workers[w];
        if memories[e].is_none() {
            let Endpoint { position, rows, .. } = &self.deliveries.endpoints[e];
            let rows = rows.values().filter(|row| !row.dead).cloned().collect();
            sendings.retain(|(of, _), _| *of != e);
            let queue = DeliveryQueue::new(bounds(e), *position, rows);
            memories[e] = Some(EndpointMemory {
                queue,
                outcomes: Vec::new(),
                results: Vec::new(),
                waits_for: None,
                advancing: None,
                read: BTreeMap::new(),
            });
        }
        let Some(it) = memories[e].as_mut().filter(|it| it.waits_for.is_none()) else { return };
        for (position, outcome) in it.outcomes.drain(..) {
            it.results.extend(it.queue.record(position, outcome, self.mono, 0));
        }
        self.continue_turn(w, e, delivery::effects());
    }

    /// Performs the remaining effects of a turn. A transaction of the turn becomes a message, so
    /// that other actors can act first. In the server, the turn waits until the position has moved.
    /// Here, the turn does not wait, so the simulator tests more sequences.
    fn continue_turn(&mut self, worker: usize, endpoint: usize, mut rest: &'static [Effect]) {
        while let Some(effect) = rest.split_off_first() {
            let Some(mut memory) = self.deliveries.workers[worker].memories[endpoint].take() else {
                return;
            };
            self.deliveries.transactions += 1;
            let by = WorkerTransaction { worker, endpoint, number: self.deliveries.transactions };
            match effect {
                Effect::StoreResults if memory.results.is_empty() => {}
                Effect::StoreResults => {
                    let results = std::mem::take(&mut memory.results);
                    memory.waits_for = Some((by.number, rest));
                    let message = DeliveryMessage::StoreResults { by, results };
                    self.send(Message::DeliveryMessage(message));
                }
                Effect::AdvancePosition => {
                    if let Some(progress) = memory.queue.next_advance() {
                        memory.advancing = Some(by.number);
                        let message = DeliveryMessage::Advance { by, progress };
                        self.send(Message::DeliveryMessage(message));
                    }
                }
                Effect::ReadEvents => self.read_events(&mut memory),
                Effect::SendEvents => self.send_events(worker, endpoint, &mut memory),
            }
            let waits = memory.waits_for.is_some();
            self.deliveries.workers[worker].memories[endpoint] = Some(memory);
            if waits {
                return;
            }
        }
    }

    fn read_events(&mut self, memory: &mut EndpointMemory) {
        let queue = &mut memory.queue;
        for (at, event) in self.events_after(queue.read_after(), queue.free_capacity()) {
            let word = self.checker.event_key(event);
            queue.add(at, &word, true);
            memory.read.insert(at, Some(event));
        }
    }

    /// Sends events that may be sent now. If the store lost an event in a failover before the
    /// worker sends it, the event counts as delivered.
    fn send_events(&mut self, worker: usize, endpoint: usize, memory: &mut EndpointMemory) {
        for _ in 0..SENDS_MAX {
            let Some(position) = memory.queue.next(self.mono) else { break };
            self.deliveries.sendings += 1;
            let from = Sending { worker, endpoint, position, sending: self.deliveries.sendings };
            self.deliveries.workers[worker].sendings.insert((endpoint, position), from.sending);
            let event = match memory.read.get(&position) {
                Some(known) => *known,
                None => self.event_at(position),
            };
            let message = match event {
                Some(event) => {
                    self.checker.event_tried(endpoint, event);
                    DeliveryMessage::Send { from, event }
                }
                None => DeliveryMessage::Answer { from, outcome: SendOutcome::Delivered },
            };
            self.send(Message::DeliveryMessage(message));
        }
    }

    pub(crate) fn run_delivery_message(&mut self, delivery_message: DeliveryMessage) {
        match delivery_message {
            DeliveryMessage::Send { from, event } => self.sent(from, event),
            DeliveryMessage::Answer { from, outcome } => self.handle_send_outcome(from, outcome),
            DeliveryMessage::Advance { by, progress } => {
                let is_done = self.advance(by.endpoint, &progress);
                let Some(waiting) = self.memory_of(by) else { return };
                *waiting = waiting.take().filter(|_| is_done);
                if let Some(memory) = waiting {
                    memory.advancing = None;
                    memory.queue.confirm_advance();
                }
            }
            DeliveryMessage::StoreResults { by, results } => {
                let mut is_current = true;
                for result in results {
                    is_current &= self.change_row(by.endpoint, result);
                }
                let Some(waiting) = self.memory_of(by) else { return };
                *waiting = waiting.take().filter(|_| is_current);
                let Some(memory) = waiting else { return };
                if let Some((_, rest)) = memory.waits_for.take() {
                    self.continue_turn(by.worker, by.endpoint, rest);
                }
            }
        }
    }

    /// Returns the worker's memory of its endpoint, if the worker still waits for this transaction
    /// and has not restarted.
    fn memory_of(&mut self, by: WorkerTransaction) -> Option<&mut Option<EndpointMemory>> {
        let memory = &mut self.deliveries.workers[by.worker].memories[by.endpoint];
        let is_its = |known: &EndpointMemory| {
            let waits_for = known.waits_for.map(|(number, _)| number);
            [known.advancing, waits_for].contains(&Some(by.number))
        };
        memory.as_ref().is_some_and(is_its).then_some(memory)
    }

    fn sent(&mut self, from: Sending, event: usize) {
        let mode = self.deliveries.endpoints[from.endpoint].mode;
        let takes = match mode {
            EndpointMode::Accepts | EndpointMode::Hangs => true,
            EndpointMode::Fails => false,
            EndpointMode::Refuses(one) => event != one,
        };
        if takes {
            let dead = self.dead_letters(from.endpoint);
            self.checker.event_delivered(&self.store.model.events, from.endpoint, event, &dead);
        } else {
            self.checker.event_refused(from.endpoint, event);
        }
        let outcome = match (takes, mode) {
            (true, EndpointMode::Hangs) => {
                SendOutcome::Failed { error: "no answer".into(), pause_ms: 0 }
            }
            (true, _) => SendOutcome::Delivered,
            (false, EndpointMode::Refuses(_)) => SendOutcome::Refused { error: "400".into() },
            (false, _) => SendOutcome::Failed { error: "500".into(), pause_ms: 0 },
        };
        self.send(Message::DeliveryMessage(DeliveryMessage::Answer { from, outcome }));
    }

    fn handle_send_outcome(&mut self, from: Sending, outcome: SendOutcome) {
        let Sending { worker, endpoint, position, sending } = from;
        let Worker { memories, sendings } = &mut self.deliveries.workers[worker];
        if sendings.get(&(endpoint, position)) != Some(&sending) {
            return;
        }
        sendings.remove(&(endpoint, position));
        if let Some(memory) = &mut memories[endpoint] {
            memory.outcomes.push((position, outcome));
        }
    }

    /// Moves the endpoint's position, if the position still has the value that the worker read.
    /// Returns whether the position moved.
    fn advance(&mut self, endpoint: usize, progress: &PositionAdvance) -> bool {
        let it = &mut self.deliveries.endpoints[endpoint];
        if it.position != progress.from && enforces(Rule::AdvanceCompares) {
            return false;
        }
        let back = progress.to < it.position;
        it.position = progress.to;
        for delivery in &progress.failed {
            it.rows.insert(delivery.position, delivery.clone());
        }
        let pending = it.rows.values().filter(|r| !r.dead).count();
        self.checker.endpoint_position_moved(back, pending, bounds(endpoint).pending);
        true
    }

    /// Applies a worker's result to its row. A row that another worker deleted stays deleted, and a
    /// dead letter stays unchanged. Returns false if the result is older than the row. In this
    /// case, the worker must read the rows again.
    fn change_row(&mut self, endpoint: usize, note: RowChange) -> bool {
        let rows = &mut self.deliveries.endpoints[endpoint].rows;
        let position = match note {
            RowChange::Delivered(position) => position,
            RowChange::Pending(PendingDelivery { position, .. }) => position,
        };
        let Some(row) = rows.get(&position) else { return true };
        let was_dead = row.dead;
        if was_dead && enforces(Rule::NoteOnlyWhatWaits) {
            return true;
        }
        if let RowChange::Pending(delivery) = &note
            && !was_dead
            && !delivery.can_follow(row.tries)
        {
            return false;
        }
        self.checker.row_changed(was_dead);
        match note {
            RowChange::Delivered(_) => drop(rows.remove(&position)),
            RowChange::Pending(delivery) => drop(rows.insert(position, delivery)),
        }
        true
    }

    pub(crate) fn set_endpoint_mode(&mut self, endpoint: u8, mode: u8) {
        let events = self.store.model.events.len();
        self.deliveries.endpoints[usize::from(endpoint) % ENDPOINTS].mode = match mode {
            0 => EndpointMode::Accepts,
            1 => EndpointMode::Fails,
            2 => EndpointMode::Hangs,
            n => usize::from(n)
                .checked_rem(events)
                .map_or(EndpointMode::Accepts, EndpointMode::Refuses),
        };
    }

    pub(crate) fn crash_worker(&mut self, worker: u8) {
        let w = usize::from(worker) % WORKERS;
        self.deliveries.workers[w] = Worker::default();
        let is_lost = |m: &Message| match m {
            Message::DeliveryMessage(
                DeliveryMessage::Advance { by, .. } | DeliveryMessage::StoreResults { by, .. },
            ) => by.worker == w,
            Message::DeliveryMessage(DeliveryMessage::Answer { from, .. }) => from.worker == w,
            _ => false,
        };
        self.flight.retain(|m| !is_lost(m));
        self.late.retain(|m| !is_lost(m));
    }

    /// Handles a lost message. If a request or an answer is lost, the delivery counts as failed. If
    /// a transaction is lost, the worker does not know the transaction's outcome, and starts again
    /// from the store's rows.
    pub(crate) fn delivery_message_lost(&mut self, delivery_message: &DeliveryMessage) {
        match delivery_message {
            DeliveryMessage::Send { from, .. } | DeliveryMessage::Answer { from, .. } => {
                self.send(no_answer(*from))
            }
            DeliveryMessage::Advance { by, .. } | DeliveryMessage::StoreResults { by, .. } => {
                if let Some(memory) = self.memory_of(*by) {
                    *memory = None;
                }
            }
        }
    }

    pub(crate) fn all_delivered(&self, endpoint: usize) -> bool {
        let Endpoint { position, rows, .. } = &self.deliveries.endpoints[endpoint];
        let is_read = !enforces(Rule::ReadByPosition) || {
            let Deliveries { placed, .. } = &self.deliveries;
            let last = placed.last().map_or(0, |(at, _)| *at);
            placed.len() == self.store.model.events.len() && *position >= last
        };
        is_read && rows.values().all(|row| row.dead)
    }

    pub(crate) fn dead_letters(&self, endpoint: usize) -> Vec<usize> {
        let rows = self.deliveries.endpoints[endpoint].rows.values();
        rows.filter(|r| r.dead).filter_map(|r| self.event_at(r.position)).collect()
    }

    pub(crate) fn next_delivery_at(&self, endpoint: usize) -> Option<doorbuster_core::Millis> {
        let memories = self.deliveries.workers.iter().filter_map(|w| w.memories[endpoint].as_ref());
        memories.filter_map(|memory| memory.queue.next_due_at()).min()
    }
}
