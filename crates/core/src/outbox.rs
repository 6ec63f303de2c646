//! Plans the deliveries to one endpoint: which event to send next, which events wait, when to retry
//! an event, and when to give it up.
//!
//! A [`DeliveryQueue`] sends nothing itself. Its driver sends the events, and writes the queue's
//! decisions to the store. The store has a position for each endpoint. Every event up to that
//! position was delivered, or has a row with the state of its delivery. After a crash, the driver
//! starts again from the position and these rows. So each event is sent until it is delivered or
//! dead. Events about one order, item or sale are sent one after another.
//!
//! Two facts are not in the store: that an endpoint is down, and that an endpoint asked for a
//! pause. So after a restart, the driver tries the endpoint immediately.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::event::{Event, Subject};
use crate::limits::{BREAKER_FAILURES, BREAKER_PAUSE_MAX_MS, LOST_POSITIONS_MAX};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

mod breaker;
mod delivery;
mod event_filter;
mod pending_row;
mod queue_bounds;
mod retry;
#[cfg(test)]
mod tests;

use breaker::Breaker;
pub use delivery::{PendingDelivery, PositionAdvance, RowChange, SendOutcome};
pub use event_filter::EventFilter;
use pending_row::PendingRow;
pub use queue_bounds::DeliveryBounds;
use retry::RefusedRun;

/// Returns the key of an event's subject. Events with the same key are delivered one after another.
#[must_use]
pub fn ordering_key(event: &Event) -> String {
    match &event.subject {
        Subject::Order(order) => order.id.to_string(),
        Subject::Ticket { id, .. } => id.to_string(),
        // A payment and its reversals name an order by its id, even if no such order exists. The id
        // is the key.
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => order.clone(),
        Subject::Item(item) => format!("item:{}", item.0),
        Subject::Sale(sale) => format!("sale:{sale}"),
    }
}

/// After a standby became the primary, new events get positions above the position that this
/// function returns. `last` is the last position in the new primary. The new primary may lack the
/// newest events of the old primary. No new event may get the position of a lost event: a client
/// may already have read past that position, and would miss the new event.
#[must_use]
pub fn last_position_after_failover(last: i64) -> i64 {
    if enforces(Rule::NewPositionsAfterFailover) { last + LOST_POSITIONS_MAX } else { last }
}

/// An event that the queue has read from the store, and that the endpoint's position has not
/// passed.
#[derive(Clone, Debug)]
enum NewEvent {
    Waiting(Arc<str>),
    InFlight,
    Failed(PendingDelivery),
    /// The event was delivered, or the endpoint does not want it. The endpoint's position can move
    /// past the event.
    Done,
}

/// The delivery plan of one endpoint.
#[derive(Clone, Debug)]
pub struct DeliveryQueue {
    bounds: DeliveryBounds,
    /// The endpoint's position that the store has recorded.
    position: i64,
    /// The position of the last event that was read from the store.
    read: i64,
    window: BTreeMap<i64, NewEvent>,
    rows: BTreeMap<i64, PendingRow>,
    /// How many times in a row the endpoint refused each event. A restart resets the counts.
    refused: HashMap<i64, RefusedRun>,
    /// How many times in a row this server could not send each event. A restart resets the counts.
    later: HashMap<i64, u32>,
    /// The events that are being sent. For each event: its key, and whether a failed delivery
    /// counts as a try of the event.
    in_flight: HashMap<i64, (Arc<str>, bool)>,
    /// The new position that the store has not confirmed yet.
    advancing_to: Option<i64>,
    breaker: Breaker,
    /// When the endpoint last accepted or refused an event.
    answered_at: Option<Millis>,
    /// When the endpoint last accepted an event.
    accepted_at: Option<Millis>,
}

impl DeliveryQueue {
    /// Returns a queue for an endpoint at `position`. `rows` are the endpoint's rows in the store,
    /// without dead events. An event that failed is tried at once, because the endpoint may have
    /// recovered.
    #[must_use]
    pub fn new(bounds: DeliveryBounds, position: i64, rows: Vec<PendingDelivery>) -> Self {
        let mut queue = Self {
            bounds,
            position,
            read: position,
            window: BTreeMap::new(),
            rows: BTreeMap::new(),
            refused: HashMap::new(),
            later: HashMap::new(),
            in_flight: HashMap::new(),
            advancing_to: None,
            breaker: Breaker::default(),
            answered_at: None,
            accepted_at: None,
        };
        queue.replace_rows(rows);
        let failed = queue.rows.values_mut().filter(|row| row.parcel.tries > 0);
        failed.for_each(|row| row.early_at = Some(Millis(0)));
        queue
    }

    /// Returns the position after which to read the next event.
    #[must_use]
    pub fn read_after(&self) -> i64 {
        self.read
    }

    /// Returns how many more events the queue can read ahead.
    #[must_use]
    pub fn free_capacity(&self) -> usize {
        self.bounds.window.saturating_sub(self.window.len())
    }

    /// Returns whether the endpoint counts as down.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Returns how many events of this queue wait or are being sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let fresh = self
            .window
            .values()
            .filter(|fresh| matches!(fresh, NewEvent::Waiting(_) | NewEvent::InFlight));
        fresh.count() + self.rows.len()
    }

    /// Adds the next event. Its position must be higher than the position of the last event.
    /// `about` is the key of the event's subject. The queue skips an event that the endpoint does
    /// not want.
    pub fn add(&mut self, position: i64, about: &str, is_wanted: bool) {
        assert!(position > self.read, "events must be read in the order of their positions");
        self.read = position;
        let fresh = if is_wanted { NewEvent::Waiting(about.into()) } else { NewEvent::Done };
        self.window.insert(position, fresh);
    }

    /// Replaces the queue's rows with the present rows of the store. An operator may have added or
    /// discarded rows, or requested the immediate retry of a row. An added row, or a row to retry,
    /// has its full number of tries, and ends the endpoint's pause. Call this only after the store
    /// has recorded every [`RowChange`].
    pub fn replace_rows(&mut self, rows: Vec<PendingDelivery>) {
        let known: HashSet<i64> = rows.iter().map(|row| row.position).collect();
        self.rows
            .retain(|at, row| !row.saved || self.in_flight.contains_key(at) || known.contains(at));
        for parcel in rows {
            match self.rows.get_mut(&parcel.position) {
                Some(row) if row.parcel.tries == parcel.tries => {
                    if parcel.next_at < row.parcel.next_at {
                        row.parcel.next_at = parcel.next_at;
                        self.breaker.end_pause();
                    }
                }
                Some(row) if !row.saved => {}
                _ => {
                    self.refused.remove(&parcel.position);
                    self.later.remove(&parcel.position);
                    self.rows.insert(parcel.position, PendingRow::new(parcel, true));
                    self.breaker.end_pause();
                }
            }
        }
        let is_here = |at: &i64| self.rows.contains_key(at) || self.window.contains_key(at);
        self.refused.retain(|at, _| is_here(at));
        self.later.retain(|at, _| is_here(at));
    }

    /// Clears the failures, refusals and pauses of the endpoint's old address.
    pub fn reset_for_new_address(&mut self, now: Millis) {
        self.breaker = Breaker::default();
        self.answered_at = None;
        self.accepted_at = None;
        self.refused.clear();
        for fresh in self.window.values_mut() {
            if let NewEvent::Failed(parcel) = fresh {
                parcel.next_at = parcel.next_at.min(now);
            }
        }
        self.retry_now(now);
    }

    fn retry_now(&mut self, now: Millis) {
        self.rows.values_mut().for_each(|row| row.early_at = Some(now));
    }

    /// Returns the next event to send now, and marks the event as in delivery.
    pub fn next(&mut self, now: Millis) -> Option<i64> {
        if self.breaker.is_paused(now) {
            return None;
        }
        let at = if self.breaker.is_open() {
            self.probe(now)?
        } else {
            let retries = self.in_flight.keys().filter(|at| self.rows.contains_key(at)).count();
            // While new events can be sent, at most half of the simultaneous deliveries are
            // retries.
            let is_due = |row: &PendingRow| row.due_at() <= now;
            let of_rows = |queue: &Self| {
                queue.rows_ready().find(|row| is_due(row)).map(|row| row.parcel.position)
            };
            if self.in_flight.len() >= self.bounds.at_once {
                return None;
            }
            let first =
                if retries < self.bounds.at_once.div_ceil(2) { of_rows(self) } else { None };
            first.or_else(|| self.next_new_event(0)).or_else(|| of_rows(self))?
        };
        let about = match (self.rows.get(&at), self.window.get_mut(&at)) {
            (Some(row), _) => row.parcel.about.clone(),
            (None, Some(fresh)) => {
                let NewEvent::Waiting(about) = fresh else {
                    unreachable!("an event that can be sent must be waiting")
                };
                let about = about.clone();
                *fresh = NewEvent::InFlight;
                about
            }
            (None, None) => {
                unreachable!("an event that can be sent must have a row or be a new event")
            }
        };
        // A try before `next_at` does not count as a try of the event. Such a try only tests
        // whether the endpoint works again.
        let counts = self.rows.get(&at).is_none_or(|row| row.parcel.next_at <= now);
        self.in_flight.insert(at, (about, counts));
        Some(at)
    }

    /// Returns the earliest time at which [`DeliveryQueue::next`] may return an event, if no other
    /// method is called before then. Returns `None` if no event can be sent before a delivery ends,
    /// or before the queue gets a new event or row.
    #[must_use]
    pub fn next_due_at(&self) -> Option<Millis> {
        if self.breaker.is_open() {
            let has_some =
                || self.rows_ready().next().is_some() || self.next_new_event(0).is_some();
            return (self.in_flight.is_empty() && has_some()).then(|| self.breaker.probe_at());
        }
        // All simultaneous deliveries are in use, so the queue first needs the outcome of one of
        // them.
        if self.in_flight.len() >= self.bounds.at_once {
            return None;
        }
        let of_rows = self.rows_ready().map(PendingRow::due_at).min();
        let Some(until) = self.breaker.paused_until() else { return of_rows };
        let fresh = self.next_new_event(0).map(|_| until);
        of_rows.map(|at| at.max(until)).into_iter().chain(fresh).min()
    }

    /// Returns how far the endpoint's position can move. The position can pass delivered events,
    /// failed events, and events that wait behind a failed event. Returns `None` if the position
    /// cannot move, or if the store has not yet confirmed the previous move.
    ///
    /// After the store has recorded the move, the caller calls [`DeliveryQueue::confirm_advance`].
    /// If the store does not record it, the caller must build a new queue from the store's rows.
    pub fn next_advance(&mut self) -> Option<PositionAdvance> {
        if self.advancing_to.is_some() {
            return None;
        }
        let mut failed: Vec<PendingDelivery> = Vec::new();
        let mut to = self.position;
        while let Some(first) = self.window.first_entry() {
            let at = *first.key();
            let row = match first.get() {
                NewEvent::Done => None,
                NewEvent::Failed(parcel) => Some(parcel.clone()),
                // The event waits because an earlier event with the same key has a row. The waiting
                // event gets its own row, so that the endpoint's position can pass the event.
                NewEvent::Waiting(about)
                    if self.rows.values().any(|row| row.parcel.about == *about) =>
                {
                    Some(blocked_delivery(at, about))
                }
                NewEvent::InFlight if !enforces(Rule::AdvanceBehindSent) => None,
                NewEvent::Waiting(_) | NewEvent::InFlight => break,
            };
            if let Some(parcel) = row {
                if self.rows.len() >= self.bounds.pending && enforces(Rule::PendingBound) {
                    break;
                }
                // A dead event stays in `rows` until the store has recorded that it is dead. Until
                // then, the events behind it wait.
                if !parcel.dead || enforces(Rule::GivenUpOnceKept) {
                    self.rows.insert(at, PendingRow::new(parcel.clone(), false));
                }
                if enforces(Rule::FailedIsKept) {
                    failed.push(parcel);
                }
            }
            self.window.pop_first();
            to = at;
        }
        if to == self.position {
            return None;
        }
        self.advancing_to = Some(to);
        Some(PositionAdvance { from: self.position, to, failed })
    }

    /// Call this after the store has recorded the last [`PositionAdvance`].
    pub fn confirm_advance(&mut self) {
        if let Some(to) = self.advancing_to.take() {
            self.position = to;
            self.rows.retain(|_, row| !row.parcel.dead);
            self.rows.values_mut().for_each(|row| row.saved = true);
        }
    }

    fn in_flight_keys(&self) -> HashSet<Arc<str>> {
        let all = self.in_flight.values().filter(|_| enforces(Rule::OneOnItsWay));
        all.map(|(about, _)| about.clone()).collect()
    }

    /// Returns the first row of each key. Leaves out a key if the store has not recorded this row
    /// yet, or if an event with this key is being sent.
    fn rows_ready(&self) -> impl Iterator<Item = &PendingRow> {
        let mut seen = self.in_flight_keys();
        let mut is_first = move |row: &PendingRow| {
            seen.insert(row.parcel.about.clone()) || !enforces(Rule::RowsInTurn)
        };
        self.rows.values().filter(move |row| is_first(row) && row.saved)
    }

    /// Returns the first new event after this position that can be sent. An event cannot be sent
    /// while an earlier event with the same key waits, has failed, or is in delivery.
    fn next_new_event(&self, after: i64) -> Option<i64> {
        let mut seen = self.in_flight_keys();
        if enforces(Rule::FreshBehindFailed) {
            seen.extend(self.rows.values().map(|row| row.parcel.about.clone()));
        }
        for (at, fresh) in &self.window {
            match fresh {
                NewEvent::Waiting(about) if seen.insert(about.clone()) && *at > after => {
                    return Some(*at);
                }
                NewEvent::Failed(parcel) => drop(seen.insert(parcel.about.clone())),
                NewEvent::Waiting(_) | NewEvent::InFlight | NewEvent::Done => {}
            }
        }
        None
    }

    /// Returns the event with which to try an endpoint that is down: in turn a new event, and an
    /// event of a stored row.
    fn probe(&mut self, now: Millis) -> Option<i64> {
        if !self.in_flight.is_empty() || now < self.breaker.probe_at() {
            return None;
        }
        let fresh =
            self.next_new_event(self.breaker.last_new_event()).or_else(|| self.next_new_event(0));
        let ready: Vec<i64> = self.rows_ready().map(|row| row.parcel.position).collect();
        self.breaker.next_probe(fresh, &ready)
    }
}

fn blocked_delivery(position: i64, about: &Arc<str>) -> PendingDelivery {
    PendingDelivery {
        position,
        about: about.clone(),
        tries: 0,
        next_at: Millis(0),
        error: None,
        dead: false,
    }
}

const _: () =
    assert!(BREAKER_FAILURES >= 2, "an endpoint must not count as down after one failed event");
const _: () =
    assert!(BREAKER_PAUSE_MAX_MS >= 1_000, "an endpoint that is down must not be tried too often");
