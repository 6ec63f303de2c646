//! One sale's waiting room in a node's memory: its row as last read, the places of those who came here, the lots of its draw.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_core::gate::draw::Lot;
use doorbuster_core::gate::room::{Estimate, Line, Pace, Place, Told};
use doorbuster_core::{BuyerId, Millis};
use doorbuster_store::{WaitingPlace, WaitingRoom};
use tokio::time::Instant;

use super::limits::{
    FRESH_FOR, PLACES_MAX, TELL_EVERY, TOLD_PER_SEC, arrivals_counted_max, calls_max,
};
use super::{Arrivals, RoomCounts};

#[derive(Debug)]
struct State {
    room: Option<WaitingRoom>,
    /// Those of them that have no rank took part in the draw; their lots are made again when it is read.
    places: HashMap<BuyerId, Place>,
    /// The lots of all who took part, in order; `None`: not read yet.
    lots: Option<Box<[Lot]>>,
    /// Ranks up to which whoever was called in is known here.
    heard: Option<u64>,
    pace: Pace,
    /// There is no row, as of the last look for it.
    has_none: bool,
    /// When the row was last read.
    read: Option<Instant>,
    /// When arrivals were last counted.
    counted: Option<Instant>,
    told: Option<(Instant, Line, Option<u64>)>,
}

impl State {
    fn new(per_sec: u64) -> Self {
        Self {
            room: None,
            places: HashMap::new(),
            lots: None,
            heard: None,
            pace: Pace::new(calls_max(per_sec)),
            has_none: false,
            read: None,
            counted: None,
            told: None,
        }
    }
}

/// A hall: where visitors of one sale wait.
#[derive(Debug)]
pub(super) struct Hall {
    sale: Arc<str>,
    /// How many may be called in within a second.
    per_sec: u64,
    state: Mutex<State>,
    drawing: tokio::sync::Mutex<()>,
}

impl Hall {
    pub(super) fn new(sale: Arc<str>, per_sec: u64) -> Self {
        Self {
            sale,
            per_sec,
            state: Mutex::new(State::new(per_sec)),
            drawing: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is whole before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sale(&self) -> &Arc<str> {
        &self.sale
    }

    /// Held by whoever reads the draw.
    pub(super) async fn drawing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.drawing.lock().await
    }

    /// The row as last read.
    pub(super) fn room(&self) -> Option<WaitingRoom> {
        self.lock().room.clone()
    }

    /// Takes in the row. A reading that is older than what is known changes nothing.
    pub(super) fn know(&self, room: &WaitingRoom) {
        let mut state = self.lock();
        let is_older = |known: &WaitingRoom| {
            room.line.called < known.line.called
                || room.line.entered < known.line.entered
                || (room.line.participants.is_none() && known.line.participants.is_some())
        };
        if !state.room.as_ref().is_some_and(is_older) {
            state.room = Some(room.clone());
        }
        if state.heard.is_none() {
            // Who comes later is read with what became of the place; who is here already may have been called in.
            state.heard = Some(if state.places.is_empty() { room.line.called } else { 0 });
        }
    }

    /// There is no row.
    pub(super) fn know_none(&self) {
        self.lock().has_none = true;
    }

    /// Whether there was no row when it was looked for.
    pub(super) fn has_none(&self) -> bool {
        self.lock().has_none
    }

    /// Notes that the row was read, and whoever was called in by then, no earlier than at this instant.
    pub(super) fn read_at(&self, at: Instant) {
        self.lock().read = Some(at);
    }

    /// Whether that was just now.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.lock().read.is_some_and(|at| now.saturating_duration_since(at) <= FRESH_FOR)
    }

    /// Whether the draw is closed and its ranks are known here.
    pub(super) fn is_drawn(&self) -> bool {
        let state = self.lock();
        state.lots.is_some()
            && state.room.as_ref().is_some_and(|room| room.line.participants.is_some())
    }

    pub(super) fn know_lots(&self, lots: Vec<Lot>) {
        self.lock().lots = Some(lots.into());
    }

    /// Takes in a place as the store has it.
    pub(super) fn learn(&self, place: &WaitingPlace) {
        let mut state = self.lock();
        if state.places.len() < PLACES_MAX || state.places.contains_key(&place.buyer) {
            state.places.insert(place.buyer.clone(), place.place(None));
        }
    }

    /// Takes in who was called in; those of them who are known here, or `reads` here and came to another node.
    pub(super) fn hear(
        &self,
        called: &[WaitingPlace],
        reads: impl Fn(&BuyerId) -> bool,
    ) -> Vec<BuyerId> {
        let mut state = self.lock();
        let mut here = Vec::new();
        for place in called {
            place.until.into_iter().for_each(|until| state.pace.call(until));
            if let Some(held) = state.places.get_mut(&place.buyer) {
                *held = place.place(None);
                here.push(place.buyer.clone());
            } else if state.places.len() < PLACES_MAX && reads(&place.buyer) {
                state.places.insert(place.buyer.clone(), place.place(None));
                here.push(place.buyer.clone());
            }
            state.heard = state.heard.max(place.rank);
        }
        let last = called.iter().filter_map(|place| place.rank).max();
        if let (Some(room), Some(last)) = (&mut state.room, last) {
            room.line.called = room.line.called.max(last);
        }
        here
    }

    /// Up to which rank whoever was called in is known here.
    pub(super) fn heard(&self) -> u64 {
        self.lock().heard.unwrap_or(0)
    }

    /// Whether what is known here of the line goes with the sale's phase, as it must where a place is told by its rank. Of whoever was called in nothing else
    /// has to be known.
    pub(super) fn can_tell(&self, buyer: &BuyerId, is_before_opening: bool) -> bool {
        let is_called = |place: &Place| place.until.is_some();
        self.is_drawn() != is_before_opening || self.lock().places.get(buyer).is_some_and(is_called)
    }

    /// What the buyer is told. `None`: what is known here is not enough, or the place has lapsed.
    pub(super) fn tell(
        &self,
        buyer: &BuyerId,
        free: Option<u64>,
        now: Millis,
    ) -> Option<(Told, Option<Estimate>)> {
        let mut state = self.lock();
        let State { room, places, lots, pace, .. } = &mut *state;
        let place = places.get_mut(buyer)?;
        let room = room.as_ref()?;
        if let (None, Some(lots)) = (place.rank, lots) {
            let drawn = lots.binary_search(&room.seed.lot(buyer.as_str()));
            place.rank = drawn.ok().map(|at| at as u64 + 1);
        }
        let line = room.line;
        if place.until.is_none() && place.rank.is_some_and(|rank| rank <= line.called) {
            // It was called in since it was read.
            return None;
        }
        let told = place.tell(&line, free, now);
        match told {
            Told::Lapsed => None,
            Told::Waiting(position) => Some((told, pace.estimate(position))),
            Told::Before | Told::Gone(_) | Told::Admitted(_) => Some((told, None)),
        }
    }

    /// Notes how far the line has come.
    pub(super) fn mark(&self, now: Millis, free: Option<u64>, limit: u64) {
        let mut state = self.lock();
        let line = state.room.as_ref().map(|room| room.line).unwrap_or_default();
        state.pace.mark(now, &line, free, limit);
    }

    /// Whether more buyers came here in the last second than this node's part of those who can be let in, of so many nodes. Asked more often, it says no.
    pub(super) fn is_pressed(&self, arrivals: &Arrivals, at: Instant, nodes: u64) -> bool {
        let mut state = self.lock();
        let Some(since) =
            state.counted.map(|since| at.saturating_duration_since(since).as_millis())
        else {
            state.counted = Some(at);
            arrivals.take();
            return false;
        };
        if since < 1_000 {
            return false;
        }
        state.counted = Some(at);
        let came = arrivals.take();
        came >= arrivals_counted_max(self.per_sec)
            || came as u128 * u128::from(nodes.max(1)) * 1_000 > u128::from(self.per_sec) * since
    }

    /// Whether a room that opens by itself is open.
    pub(super) fn is_held(&self, now: Millis) -> bool {
        self.lock().room.as_ref().and_then(|room| room.open_until).is_some_and(|until| now < until)
    }

    /// Whether positions are to be told now, to so many readers: something changed, and the last telling is long enough ago, or units ran out or
    /// came back.
    pub(super) fn is_news(&self, free: Option<u64>, readers: usize, at: Instant) -> bool {
        let mut state = self.lock();
        let Some(line) = state.room.as_ref().map(|room| room.line) else { return false };
        let news = match state.told {
            None => true,
            Some((before, told_line, told_free)) => {
                let turned = (told_free == Some(0)) != (free == Some(0))
                    || told_line.participants != line.participants;
                let every = TELL_EVERY.mul_f64((readers as f64 / TOLD_PER_SEC as f64).max(1.0));
                let changed = told_line.called != line.called || told_free != free;
                turned || (changed && at.saturating_duration_since(before) >= every)
            }
        };
        if news {
            state.told = Some((at, line, free));
        }
        news
    }

    /// What is counted of it.
    pub(super) fn counts(&self) -> RoomCounts {
        let state = self.lock();
        let line = state.room.as_ref().map(|room| room.line).unwrap_or_default();
        RoomCounts {
            sale: self.sale.clone(),
            waiting: line.waiting(),
            called: line.called,
            in_memory: state.places.len() as u64,
        }
    }
}
