//! Waiting rooms: who may go on to a purchase pass, and when.
//!
//! Places are rows of the store; a node keeps those of its own visitors in memory, so that asking
//! for one costs no lookup, and learns from the rows whom any node called in. Whoever leads calls
//! in, by one transaction that any number of nodes may try at once: nothing is safe because one
//! leads.

mod admitter;
mod arrivals;
mod batcher;
mod limits;
mod room_state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::gate::Room;
use doorbuster_core::gate::draw::Seed;
use doorbuster_core::gate::room::{VisitorStatus, WaitEstimate};
use doorbuster_core::{BuyerId, Millis, Phase};
use doorbuster_store::{EnterOutcome, StoreError, WaitingRoom};
use tokio::time::Instant;

use super::pass::MasterKeys;
use crate::catalogue::SaleState;
use crate::engine::Engine;
pub(crate) use arrivals::Arrivals;
use batcher::PositionBatcher;
pub(crate) use limits::ADMITTED_PER_SEC;
use room_state::WaitingRoomState;

/// What the key of place tokens is derived for.
const TOKEN_CONTEXT: &str = "doorbuster 2026-11 waiting room place";
const TOKEN_PREFIX: &str = "plc_";
const TOKEN_BYTES: usize = 16;

/// Why a room could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitingRoomError {
    /// More wait at the desk than it takes, or the room is full.
    #[error("too many wait for a place")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a buyer may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// No room is in the way.
    NotNeeded,
    /// The buyer was called in, until then.
    AdmittedUntil(Millis),
    /// The buyer has to wait.
    MustWait,
}

/// A place as its buyer is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionView {
    /// The place's own name.
    pub token: String,
    /// What it stands for. A position of 0: the sale is over.
    pub told: VisitorStatus,
    /// When it is called in.
    pub estimate: Option<WaitEstimate>,
}

/// What is counted of a sale's room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoomCounts {
    /// The sale.
    pub sale: Arc<str>,
    /// Places that were not called in yet.
    pub waiting: u64,
    /// Places that were called in, by whichever node.
    pub called: u64,
    /// Places in this node's memory.
    pub in_memory: u64,
}

/// The waiting rooms of this node.
#[derive(Debug)]
pub struct WaitingRooms {
    states: Mutex<HashMap<Arc<str>, Arc<WaitingRoomState>>>,
    batcher: PositionBatcher,
    key: [u8; 32],
    for_ms: i64,
    per_sec: u64,
}

impl WaitingRooms {
    /// Rooms whose admissions leave time to fetch a pass that is good for `pass_ttl`, and to use
    /// it; `per_sec` may be called into each sale within a second.
    #[must_use]
    pub fn new(masters: &MasterKeys, pass_ttl: Duration, per_sec: u64) -> Self {
        let key = masters.keys(TOKEN_CONTEXT).next().expect("there is at least one master");
        let window = pass_ttl + pass_ttl.min(limits::PASS_FETCH_WITHIN);
        let for_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self { states: Mutex::default(), batcher: PositionBatcher::new(), key, for_ms, per_sec }
    }

    /// Counts a buyer who came to a room that may open by itself.
    pub(crate) fn record_arrival(&self, sale: &SaleState, buyer: &str) {
        sale.flags.arrivals.record_arrival(buyer, self.per_sec);
    }

    /// Takes a place for the buyer, or finds the one there is; true: it is new.
    ///
    /// # Errors
    /// When the room is full, or the store is away.
    pub async fn enter(
        &self,
        engine: &Engine,
        sale: &SaleState,
        buyer: &BuyerId,
    ) -> Result<(bool, PositionView), WaitingRoomError> {
        let room_state = self.room_state(&sale.row.id);
        self.record_arrival(sale, buyer.as_str());
        // A place in memory that has not lapsed is the place; the store is not asked again by a
        // reload.
        if let Some(shown) = self.cached_position(engine, sale, buyer) {
            return Ok((false, shown));
        }
        let entered = self.batcher.request(room_state.sale(), buyer, true).await?;
        let is_new = match entered {
            Some(EnterOutcome::New(_)) => true,
            Some(EnterOutcome::Known(_)) => false,
            Some(EnterOutcome::Full) | None => return Err(WaitingRoomError::Busy),
        };
        self.ensure_drawn(engine, sale, &room_state).await?;
        Ok((
            is_new,
            self.position_view(engine, sale, &room_state, buyer)
                .unwrap_or_else(|| self.ended_position(sale, buyer)),
        ))
    }

    /// The buyer's place. `None`: there is none, or it has lapsed.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn fetch_position(
        &self,
        engine: &Engine,
        sale: &SaleState,
        buyer: &BuyerId,
    ) -> Result<Option<PositionView>, WaitingRoomError> {
        if let Some(shown) = self.cached_position(engine, sale, buyer) {
            return Ok(Some(shown));
        }
        let room_state = self.room_state(&sale.row.id);
        for _ in 0..limits::LOOKUPS_MAX {
            let Some(EnterOutcome::Known(place)) =
                self.batcher.request(room_state.sale(), buyer, false).await?
            else {
                return Ok(None);
            };
            if place.until.is_some_and(|until| until <= engine.now()) {
                return Ok(None);
            }
            self.ensure_drawn(engine, sale, &room_state).await?;
            // What was read may be older than what this node knows of the line: then it is read
            // again.
            if let Some(shown) = self.position_view(engine, sale, &room_state, buyer) {
                return Ok(Some(shown));
            }
        }
        Err(WaitingRoomError::Busy)
    }

    /// The buyer's place as far as this node knows it, without asking.
    #[must_use]
    pub fn cached_position(
        &self,
        engine: &Engine,
        sale: &SaleState,
        buyer: &BuyerId,
    ) -> Option<PositionView> {
        let room_state = self.existing_state(&sale.row.id)?;
        let can_tell = room_state.can_answer(buyer, sale.row.phase.is_before_opening());
        can_tell.then(|| self.position_view(engine, sale, &room_state, buyer)).flatten()
    }

    /// Whether a buyer may go on to a pass.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn admission(
        &self,
        engine: &Engine,
        sale: &SaleState,
        buyer: &BuyerId,
    ) -> Result<Admission, WaitingRoomError> {
        match sale.door.waiting_room {
            Room::Off => return Ok(Admission::NotNeeded),
            Room::Auto => {
                let room_state = self.room_state(&sale.row.id);
                self.record_arrival(sale, buyer.as_str());
                if !room_state.is_held_open(engine.now()) {
                    return Ok(Admission::NotNeeded);
                }
            }
            Room::Always => {}
        }
        let known = self.cached_position(engine, sale, buyer).map(|shown| shown.told);
        if let Some(VisitorStatus::Admitted(until)) = known {
            return Ok(Admission::AdmittedUntil(until));
        }
        if sale.row.phase.is_before_opening() {
            return Ok(Admission::MustWait);
        }
        let room_state = self.room_state(&sale.row.id);
        // Whoever stands behind all that were called waits, as the node knows that calls them in.
        // Others are behind it by a moment, in which their visitor may have been called and told
        // so.
        if known.is_some() && engine.control().leads() && room_state.is_fresh(Instant::now()) {
            return Ok(Admission::MustWait);
        }
        let until = match self.batcher.request(room_state.sale(), buyer, false).await? {
            Some(EnterOutcome::Known(place)) => place.until.filter(|until| *until > engine.now()),
            _ => None,
        };
        Ok(until.map_or(Admission::MustWait, Admission::AdmittedUntil))
    }

    /// The sale's room, made now if it has none; drawn if the sale has opened.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn draw(
        &self,
        engine: &Engine,
        sale: &SaleState,
    ) -> Result<WaitingRoom, WaitingRoomError> {
        let room_state = self.room_state(&sale.row.id);
        let opened = sale.row.opened_at.is_some();
        let enough = |room: &WaitingRoom| room.line.participants.is_some() || !opened;
        if let Some(room) = room_state.room().filter(enough) {
            return Ok(room);
        }
        let found = engine.store().waiting_rooms(vec![sale.row.id.clone()]).await?.pop();
        let room = match found.filter(enough) {
            Some(room) => room,
            None => {
                let seed = Seed::new(rand::random());
                let made = engine.store().open_room(&sale.row.id, seed).await?;
                made.ok_or_else(|| {
                    StoreError::Unexpected("a sale of the catalogue is not in the store".to_owned())
                })?
            }
        };
        room_state.apply_row(&room);
        Ok(room)
    }

    /// Whether a sale that has no room any more had one.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn was_open(
        &self,
        engine: &Engine,
        sale: &SaleState,
    ) -> Result<bool, WaitingRoomError> {
        let room_state = self.room_state(&sale.row.id);
        // A hall of a sale without a room lives until the next tick; so long it is not looked for
        // again.
        if room_state.room().is_none() && !room_state.is_absent() {
            match engine.store().waiting_rooms(vec![sale.row.id.clone()]).await?.pop() {
                Some(room) => room_state.apply_row(&room),
                None => room_state.set_absent(),
            }
        }
        Ok(room_state.room().is_some())
    }

    /// Works at the desk, calls in and tells, until it is dropped.
    pub(crate) async fn run_jobs(&self, engine: &Engine) {
        tokio::join!(self.batcher.run(self, engine), admitter::run(self, engine));
    }

    /// The rooms that this node looks after, by sale.
    #[must_use]
    pub fn counts(&self) -> Vec<WaitingRoomCounts> {
        let mut counts: Vec<_> =
            self.all_states().iter().map(|room_state| room_state.counts()).collect();
        counts.sort_by(|a, b| a.sale.cmp(&b.sale));
        counts
    }

    /// Places that this node looked for in the store because its memory did not say enough.
    #[must_use]
    pub fn store_lookups(&self) -> u64 {
        self.batcher.store_lookups()
    }

    /// After the opening, ranks are known as soon as the draw is closed and its lots are read.
    async fn ensure_drawn(
        &self,
        engine: &Engine,
        sale: &SaleState,
        room_state: &WaitingRoomState,
    ) -> Result<(), WaitingRoomError> {
        if sale.row.opened_at.is_some() && !room_state.is_drawn() {
            let _alone = room_state.lock_draw().await;
            if !room_state.is_drawn() {
                self.draw(engine, sale).await?;
                admitter::read_lots(engine, room_state).await?;
            }
        }
        Ok(())
    }

    fn position_view(
        &self,
        engine: &Engine,
        sale: &SaleState,
        room_state: &WaitingRoomState,
        buyer: &BuyerId,
    ) -> Option<PositionView> {
        let (told, estimate) = room_state.position(buyer, free_units(sale), engine.now())?;
        if sale.row.phase == Phase::Closed {
            return Some(self.ended_position(sale, buyer));
        }
        Some(PositionView { token: self.token(&sale.row.id, buyer), told, estimate })
    }

    fn ended_position(&self, sale: &SaleState, buyer: &BuyerId) -> PositionView {
        PositionView {
            token: self.token(&sale.row.id, buyer),
            told: VisitorStatus::BeyondStock(0),
            estimate: None,
        }
    }

    fn token(&self, sale: &str, buyer: &BuyerId) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(sale.as_bytes()).update(b"\0").update(buyer.as_str().as_bytes());
        format!(
            "{TOKEN_PREFIX}{}",
            URL_SAFE_NO_PAD.encode(&hasher.finalize().as_bytes()[..TOKEN_BYTES])
        )
    }

    fn existing_state(&self, sale: &str) -> Option<Arc<WaitingRoomState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).get(sale).cloned()
    }

    fn room_state(&self, sale: &str) -> Arc<WaitingRoomState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room_state) = states.get(sale) {
            return room_state.clone();
        }
        let room_state = Arc::new(WaitingRoomState::new(sale.into(), self.per_sec));
        states.insert(room_state.sale().clone(), room_state.clone());
        room_state
    }

    fn all_states(&self) -> Vec<Arc<WaitingRoomState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets the rooms of sales that are over.
    fn retain_sales(&self, is_kept: impl Fn(&str) -> bool) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).retain(|sale, _| is_kept(sale));
    }
}

/// Units of a sale that nobody holds, as this node knows them; `None`: without end.
fn free_units(sale: &SaleState) -> Option<u64> {
    sale.items.iter().map(|item| item.gauge.free().free).sum()
}
