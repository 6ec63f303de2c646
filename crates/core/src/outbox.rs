//! Telling others what happened: which event goes to an endpoint now, which waits, when it is tried again, and when it is given up.
//!
//! One [`Desk`] plans for one endpoint and sends nothing itself. It is told what happened and gives out what to do; whoever drives it keeps the store
//! in step. In the store an endpoint has a position: every event up to it was told, or has a row of its own that says what became of it. So a healthy
//! endpoint costs no row for each event.
//!
//! What holds, whatever fails and whenever the driver dies (it starts again from the store's rows):
//! - each event that the endpoint wants is sent until it is told or dead, at least once;
//! - of events about the same order, item or sale, none is sent before an earlier one is told or dead;
//! - at most [`crate::limits::DELIVERIES_PENDING_MAX`] rows wait, however long the endpoint is down.
//!
//! An endpoint that is down, or that asked for a pause, is known as such in memory: whoever starts again asks it once more.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::event::{Event, Subject};
use crate::limits::{BREAKER_AFTER, BREAKER_PAUSE_MAX_MS};
use crate::rules::{Rule, keeps};
use crate::value::Millis;

mod bounds;
mod breaker;
mod done;
mod parcel;
#[cfg(test)]
mod tests;
mod wanted;

pub use bounds::Bounds;
use breaker::Breaker;
use done::Refused;
pub use parcel::{Note, Outcome, Parcel, Progress};
pub use wanted::Wanted;

/// What an event is about: events of one word are told in their order.
#[must_use]
pub fn about(event: &Event) -> String {
    match &event.subject {
        Subject::Order(order) => order.id.to_string(),
        Subject::Ticket { id, .. } => id.to_string(),
        // Also when it names no order of ours: it is what the shop and the provider know the payment by.
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => order.clone(),
        Subject::Item(item) => format!("item:{}", item.0),
        Subject::Sale(sale) => format!("sale:{sale}"),
    }
}

/// An event that was read ahead.
#[derive(Clone, Debug)]
enum Fresh {
    Waits(Arc<str>),
    Flies,
    Failed(Parcel),
    /// It was told, or is not wanted.
    Done,
}

#[derive(Clone, Debug)]
struct Row {
    parcel: Parcel,
    /// Whether the store has it.
    saved: bool,
}

/// One endpoint's plan.
#[derive(Clone, Debug)]
pub struct Desk {
    bounds: Bounds,
    /// The endpoint's position as the store has it.
    position: i64,
    /// The last event that was read.
    read: i64,
    window: BTreeMap<i64, Fresh>,
    rows: BTreeMap<i64, Row>,
    /// How often the endpoint refused an event since anything else came of it, as far as this desk knows: whoever starts again counts anew.
    refused: HashMap<i64, Refused>,
    /// How often an event could not be sent in a row for a reason that is not the endpoint's. As far as this desk knows, too.
    later: HashMap<i64, u32>,
    /// What is on its way, and whether a failure counts as a try.
    flying: HashMap<i64, (Arc<str>, bool)>,
    /// Where the position goes once the store has taken it.
    going: Option<i64>,
    breaker: Breaker,
}

impl Desk {
    /// A desk for an endpoint that stands at `position` with these rows, which are not dead.
    #[must_use]
    pub fn new(bounds: Bounds, position: i64, rows: Vec<Parcel>) -> Self {
        let mut desk = Self {
            bounds,
            position,
            read: position,
            window: BTreeMap::new(),
            rows: BTreeMap::new(),
            refused: HashMap::new(),
            later: HashMap::new(),
            flying: HashMap::new(),
            going: None,
            breaker: Breaker::default(),
        };
        desk.know(rows);
        desk
    }

    /// The position after which to read on.
    #[must_use]
    pub fn read_after(&self) -> i64 {
        self.read
    }

    /// How many more events it has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bounds.window.saturating_sub(self.window.len())
    }

    /// Whether the endpoint counts as down.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    /// Events that wait or are on their way, of those that are known here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let fresh =
            self.window.values().filter(|fresh| matches!(fresh, Fresh::Waits(_) | Fresh::Flies));
        fresh.count() + self.rows.len()
    }

    /// Takes the next event, which follows the last one that was read; one that the endpoint does not want is only passed by.
    pub fn read(&mut self, position: i64, about: &str, is_wanted: bool) {
        assert!(position > self.read, "events are read in their order");
        self.read = position;
        let fresh = if is_wanted { Fresh::Waits(about.into()) } else { Fresh::Done };
        self.window.insert(position, fresh);
    }

    /// Takes the store's rows as they are now: an operator may have added some, discarded some, or asked that one is tried at once and from the first
    /// try on. Whoever asks for that ends a pause that the endpoint asked for. Only while the store has every [`Note`].
    pub fn know(&mut self, rows: Vec<Parcel>) {
        let known: HashSet<i64> = rows.iter().map(|row| row.position).collect();
        self.rows
            .retain(|at, row| !row.saved || self.flying.contains_key(at) || known.contains(at));
        for parcel in rows {
            match self.rows.get_mut(&parcel.position) {
                // As it stands here, but for its time: an endpoint that came up again is told at once what the store has for later.
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
                    self.rows.insert(parcel.position, Row { parcel, saved: true });
                    self.breaker.end_pause();
                }
            }
        }
        let is_here = |at: &i64| self.rows.contains_key(at) || self.window.contains_key(at);
        self.refused.retain(|at, _| is_here(at));
        self.later.retain(|at, _| is_here(at));
    }

    /// The endpoint has another address: that it was down, refused, or asked for a pause, says nothing of what is there.
    pub fn moved(&mut self, now: Millis) {
        self.breaker = Breaker::default();
        self.refused.clear();
        for fresh in self.window.values_mut() {
            if let Fresh::Failed(parcel) = fresh {
                parcel.next_at = parcel.next_at.min(now);
            }
        }
        self.hurry(now);
    }

    /// What failed need not wait any longer.
    fn hurry(&mut self, now: Millis) {
        self.rows.values_mut().for_each(|row| row.parcel.next_at = row.parcel.next_at.min(now));
    }

    /// The next event to send now, which is on its way from then on.
    pub fn next(&mut self, now: Millis) -> Option<i64> {
        if self.breaker.is_paused(now) {
            return None;
        }
        let at = if self.breaker.is_open() {
            self.probe(now)?
        } else {
            let retries = self.flying.keys().filter(|at| self.rows.contains_key(at)).count();
            // Those that failed before leave half of the places to others, as long as there are others.
            let is_due = |row: &Row| row.parcel.next_at <= now;
            let of_rows = |desk: &Self| {
                desk.rows_ready().find(|row| is_due(row)).map(|row| row.parcel.position)
            };
            if self.flying.len() >= self.bounds.at_once {
                return None;
            }
            let first =
                if retries < self.bounds.at_once.div_ceil(2) { of_rows(self) } else { None };
            first.or_else(|| self.fresh_ready(0)).or_else(|| of_rows(self))?
        };
        let about = match (self.rows.get(&at), self.window.get_mut(&at)) {
            (Some(row), _) => row.parcel.about.clone(),
            (None, Some(fresh)) => {
                let Fresh::Waits(about) = fresh else { unreachable!("what is ready waits") };
                let about = about.clone();
                *fresh = Fresh::Flies;
                about
            }
            (None, None) => unreachable!("what is ready is a row or was read"),
        };
        // A try before its time, of an endpoint that is down, costs an event nothing.
        let counts = self.rows.get(&at).is_none_or(|row| row.parcel.next_at <= now);
        self.flying.insert(at, (about, counts));
        Some(at)
    }

    /// When [`Desk::next`] may have something without further news; `None`: never.
    #[must_use]
    pub fn due(&self) -> Option<Millis> {
        if self.breaker.is_open() {
            let has_some = || self.rows_ready().next().is_some() || self.fresh_ready(0).is_some();
            return (self.flying.is_empty() && has_some()).then(|| self.breaker.probe_at());
        }
        // With every place taken it is news when one is free.
        if self.flying.len() >= self.bounds.at_once {
            return None;
        }
        let of_rows = self.rows_ready().map(|row| row.parcel.next_at).min();
        let Some(until) = self.breaker.paused_until() else { return of_rows };
        let fresh = self.fresh_ready(0).map(|_| until);
        of_rows.map(|at| at.max(until)).into_iter().chain(fresh).min()
    }

    /// How far the position can go, if it can: past what was told, what failed, and what waits behind something that failed. The store must take it, or
    /// the desk is made anew; then [`Desk::gone`].
    pub fn go(&mut self) -> Option<Progress> {
        if self.going.is_some() {
            return None;
        }
        let mut failed: Vec<Parcel> = Vec::new();
        let mut to = self.position;
        while let Some(first) = self.window.first_entry() {
            let at = *first.key();
            let row = match first.get() {
                Fresh::Done => None,
                Fresh::Failed(parcel) => Some(parcel.clone()),
                // What it waits for has a row: so must it, or nothing behind it could be told.
                Fresh::Waits(about) if self.rows.values().any(|row| row.parcel.about == *about) => {
                    Some(behind(at, about))
                }
                Fresh::Flies if !keeps(Rule::AdvanceBehindSent) => None,
                Fresh::Waits(_) | Fresh::Flies => break,
            };
            if let Some(parcel) = row {
                if self.rows.len() >= self.bounds.pending && keeps(Rule::PendingBound) {
                    break;
                }
                // Also one that is given up: those behind it go on once the store knows.
                if !parcel.dead || keeps(Rule::GivenUpOnceKept) {
                    self.rows.insert(at, Row { parcel: parcel.clone(), saved: false });
                }
                if keeps(Rule::FailedIsKept) {
                    failed.push(parcel);
                }
            }
            self.window.pop_first();
            to = at;
        }
        if to == self.position {
            return None;
        }
        self.going = Some(to);
        Some(Progress { from: self.position, to, failed })
    }

    /// The store has taken the last [`Progress`].
    pub fn gone(&mut self) {
        if let Some(to) = self.going.take() {
            self.position = to;
            self.rows.retain(|_, row| !row.parcel.dead);
            self.rows.values_mut().for_each(|row| row.saved = true);
        }
    }

    /// What the events on their way are about.
    fn on_their_way(&self) -> HashSet<Arc<str>> {
        let all = self.flying.values().filter(|_| keeps(Rule::OneOnItsWay));
        all.map(|(about, _)| about.clone()).collect()
    }

    /// Rows that may be sent whatever the time: the first of what they are about, in the store, nothing of theirs on its way.
    fn rows_ready(&self) -> impl Iterator<Item = &Row> {
        let mut seen = self.on_their_way();
        let mut is_first =
            move |row: &Row| seen.insert(row.parcel.about.clone()) || !keeps(Rule::RowsInTurn);
        self.rows.values().filter(move |row| is_first(row) && row.saved)
    }

    /// The first event after this position that was read and may be sent: nothing before it is about the same and not told.
    fn fresh_ready(&self, after: i64) -> Option<i64> {
        let mut seen = self.on_their_way();
        if keeps(Rule::FreshBehindFailed) {
            seen.extend(self.rows.values().map(|row| row.parcel.about.clone()));
        }
        for (at, fresh) in &self.window {
            match fresh {
                Fresh::Waits(about) if seen.insert(about.clone()) && *at > after => {
                    return Some(*at);
                }
                Fresh::Failed(parcel) => drop(seen.insert(parcel.about.clone())),
                Fresh::Waits(_) | Fresh::Flies | Fresh::Done => {}
            }
        }
        None
    }

    /// What an endpoint that is down is tried with, one at a time: something new and what failed by turns, each in its turn.
    fn probe(&mut self, now: Millis) -> Option<i64> {
        if !self.flying.is_empty() || now < self.breaker.probe_at() {
            return None;
        }
        let fresh = self.fresh_ready(self.breaker.last_fresh()).or_else(|| self.fresh_ready(0));
        let ready: Vec<i64> = self.rows_ready().map(|row| row.parcel.position).collect();
        self.breaker.choose(fresh, &ready)
    }
}

/// An event that waits behind another one of what it is about.
fn behind(position: i64, about: &Arc<str>) -> Parcel {
    Parcel {
        position,
        about: about.clone(),
        tries: 0,
        next_at: Millis(0),
        error: None,
        dead: false,
    }
}

const _: () =
    assert!(BREAKER_AFTER >= 2, "one event that is always refused does not stop the others");
const _: () =
    assert!(BREAKER_PAUSE_MAX_MS >= 1_000, "an endpoint that is down is left alone for a while");
