//! Waiting rooms: who may go on to a purchase pass, and when.
//!
//! Places are rows of the store; a node keeps those of its own visitors in memory, so that asking for one costs no lookup, and learns from the rows
//! whom any node called in. Whoever leads calls in, by one transaction that any number of nodes may try at once: nothing is safe because one leads.

mod arrivals;
mod desk;
mod hall;
mod limits;
#[cfg(test)]
mod tests;
mod usher;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_api::gate::Room;
use doorbuster_core::gate::draw::Seed;
use doorbuster_core::gate::room::{Estimate, Told};
use doorbuster_core::{BuyerId, Millis, Phase};
use doorbuster_store::{Entered, StoreError, WaitingRoom};
use tokio::time::Instant;

use super::pass::Masters;
use crate::catalogue::SaleState;
use crate::engine::Engine;
pub(crate) use arrivals::Arrivals;
use desk::Desk;
use hall::Hall;
pub(crate) use limits::PER_SEC;

/// What the key of place tokens is derived for.
const TOKEN_CONTEXT: &str = "doorbuster 2026-11 waiting room place";
const TOKEN_PREFIX: &str = "plc_";
const TOKEN_BYTES: usize = 16;

/// Why a room could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RoomError {
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
    Free,
    /// The buyer was called in, until then.
    Until(Millis),
    /// The buyer has to wait.
    Wait,
}

/// A place as its buyer is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The place's own name.
    pub token: String,
    /// What it stands for. A position of 0: the sale is over.
    pub told: Told,
    /// When it is called in.
    pub estimate: Option<Estimate>,
}

/// What is counted of a sale's room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomCounts {
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
pub struct Rooms {
    halls: Mutex<HashMap<Arc<str>, Arc<Hall>>>,
    desk: Desk,
    key: [u8; 32],
    for_ms: i64,
    per_sec: u64,
}

impl Rooms {
    /// Rooms whose admissions leave time to fetch a pass that is good for `pass_ttl`, and to use it; `per_sec` may be called into each sale within a second.
    #[must_use]
    pub fn new(masters: &Masters, pass_ttl: Duration, per_sec: u64) -> Self {
        let key = masters.keys(TOKEN_CONTEXT).next().expect("there is at least one master");
        let window = pass_ttl + pass_ttl.min(limits::FETCH_WITHIN);
        let for_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        Self { halls: Mutex::default(), desk: Desk::new(), key, for_ms, per_sec }
    }

    /// Counts a buyer who came to a room that may open by itself.
    pub(crate) fn note(&self, sale: &SaleState, buyer: &str) {
        sale.flags.arrivals.note(buyer, self.per_sec);
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
    ) -> Result<(bool, Shown), RoomError> {
        let hall = self.hall(&sale.row.id);
        self.note(sale, buyer.as_str());
        // A place in memory that has not lapsed is the place; the store is not asked again by a reload.
        if let Some(shown) = self.glimpse(engine, sale, buyer) {
            return Ok((false, shown));
        }
        let entered = self.desk.ask(hall.sale(), buyer, true).await?;
        let is_new = match entered {
            Some(Entered::New(_)) => true,
            Some(Entered::Known(_)) => false,
            Some(Entered::Full) | None => return Err(RoomError::Busy),
        };
        self.drawn(engine, sale, &hall).await?;
        Ok((
            is_new,
            self.shown(engine, sale, &hall, buyer).unwrap_or_else(|| self.over(sale, buyer)),
        ))
    }

    /// The buyer's place. `None`: there is none, or it has lapsed.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn look(
        &self,
        engine: &Engine,
        sale: &SaleState,
        buyer: &BuyerId,
    ) -> Result<Option<Shown>, RoomError> {
        if let Some(shown) = self.glimpse(engine, sale, buyer) {
            return Ok(Some(shown));
        }
        let hall = self.hall(&sale.row.id);
        for _ in 0..limits::LOOKS_MAX {
            let Some(Entered::Known(place)) = self.desk.ask(hall.sale(), buyer, false).await?
            else {
                return Ok(None);
            };
            if place.until.is_some_and(|until| until <= engine.now()) {
                return Ok(None);
            }
            self.drawn(engine, sale, &hall).await?;
            // What was read may be older than what this node knows of the line: then it is read again.
            if let Some(shown) = self.shown(engine, sale, &hall, buyer) {
                return Ok(Some(shown));
            }
        }
        Err(RoomError::Busy)
    }

    /// The buyer's place as far as this node knows it, without asking.
    #[must_use]
    pub fn glimpse(&self, engine: &Engine, sale: &SaleState, buyer: &BuyerId) -> Option<Shown> {
        let hall = self.known_hall(&sale.row.id)?;
        let can_tell = hall.can_tell(buyer, sale.row.phase.is_before_opening());
        can_tell.then(|| self.shown(engine, sale, &hall, buyer)).flatten()
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
    ) -> Result<Admission, RoomError> {
        match sale.door.waiting_room {
            Room::Off => return Ok(Admission::Free),
            Room::Auto => {
                let hall = self.hall(&sale.row.id);
                self.note(sale, buyer.as_str());
                if !hall.is_held(engine.now()) {
                    return Ok(Admission::Free);
                }
            }
            Room::Always => {}
        }
        let known = self.glimpse(engine, sale, buyer).map(|shown| shown.told);
        if let Some(Told::Admitted(until)) = known {
            return Ok(Admission::Until(until));
        }
        if sale.row.phase.is_before_opening() {
            return Ok(Admission::Wait);
        }
        let hall = self.hall(&sale.row.id);
        // Whoever stands behind all that were called waits, as the node knows that calls them in. Others are behind it by a moment, in which their visitor may
        // have been called and told so.
        if known.is_some() && engine.control().leads() && hall.is_fresh(Instant::now()) {
            return Ok(Admission::Wait);
        }
        let until = match self.desk.ask(hall.sale(), buyer, false).await? {
            Some(Entered::Known(place)) => place.until.filter(|until| *until > engine.now()),
            _ => None,
        };
        Ok(until.map_or(Admission::Wait, Admission::Until))
    }

    /// The sale's room, made now if it has none; drawn if the sale has opened.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn draw(&self, engine: &Engine, sale: &SaleState) -> Result<WaitingRoom, RoomError> {
        let hall = self.hall(&sale.row.id);
        let opened = sale.row.opened_at.is_some();
        let enough = |room: &WaitingRoom| room.line.participants.is_some() || !opened;
        if let Some(room) = hall.room().filter(enough) {
            return Ok(room);
        }
        let found = engine.store().rooms(vec![sale.row.id.clone()]).await?.pop();
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
        hall.know(&room);
        Ok(room)
    }

    /// Whether a sale that has no room any more had one.
    ///
    /// # Errors
    /// When the store has to be asked and is away.
    pub async fn was_open(&self, engine: &Engine, sale: &SaleState) -> Result<bool, RoomError> {
        let hall = self.hall(&sale.row.id);
        // A hall of a sale without a room lives until the next tick; so long it is not looked for again.
        if hall.room().is_none() && !hall.has_none() {
            match engine.store().rooms(vec![sale.row.id.clone()]).await?.pop() {
                Some(room) => hall.know(&room),
                None => hall.know_none(),
            }
        }
        Ok(hall.room().is_some())
    }

    /// Works at the desk, calls in and tells, until it is dropped.
    pub(crate) async fn tend(&self, engine: &Engine) {
        tokio::join!(self.desk.work(self, engine), usher::run(self, engine));
    }

    /// The rooms that this node looks after, by sale.
    #[must_use]
    pub fn counts(&self) -> Vec<RoomCounts> {
        let mut counts: Vec<_> = self.all_halls().iter().map(|hall| hall.counts()).collect();
        counts.sort_by(|a, b| a.sale.cmp(&b.sale));
        counts
    }

    /// Places that this node looked for in the store because its memory did not say enough.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.desk.looks()
    }

    /// After the opening, ranks are known as soon as the draw is closed and its lots are read.
    async fn drawn(&self, engine: &Engine, sale: &SaleState, hall: &Hall) -> Result<(), RoomError> {
        if sale.row.opened_at.is_some() && !hall.is_drawn() {
            let _alone = hall.drawing().await;
            if !hall.is_drawn() {
                self.draw(engine, sale).await?;
                usher::read_lots(engine, hall).await?;
            }
        }
        Ok(())
    }

    fn shown(
        &self,
        engine: &Engine,
        sale: &SaleState,
        hall: &Hall,
        buyer: &BuyerId,
    ) -> Option<Shown> {
        let (told, estimate) = hall.tell(buyer, free(sale), engine.now())?;
        if sale.row.phase == Phase::Closed {
            return Some(self.over(sale, buyer));
        }
        Some(Shown { token: self.token(&sale.row.id, buyer), told, estimate })
    }

    fn over(&self, sale: &SaleState, buyer: &BuyerId) -> Shown {
        Shown { token: self.token(&sale.row.id, buyer), told: Told::Gone(0), estimate: None }
    }

    fn token(&self, sale: &str, buyer: &BuyerId) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(sale.as_bytes()).update(b"\0").update(buyer.as_str().as_bytes());
        format!(
            "{TOKEN_PREFIX}{}",
            URL_SAFE_NO_PAD.encode(&hasher.finalize().as_bytes()[..TOKEN_BYTES])
        )
    }

    fn known_hall(&self, sale: &str) -> Option<Arc<Hall>> {
        self.halls.lock().unwrap_or_else(PoisonError::into_inner).get(sale).cloned()
    }

    fn hall(&self, sale: &str) -> Arc<Hall> {
        let mut halls = self.halls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hall) = halls.get(sale) {
            return hall.clone();
        }
        let hall = Arc::new(Hall::new(sale.into(), self.per_sec));
        halls.insert(hall.sale().clone(), hall.clone());
        hall
    }

    fn all_halls(&self) -> Vec<Arc<Hall>> {
        self.halls.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets the rooms of sales that are over.
    fn keep(&self, is_kept: impl Fn(&str) -> bool) {
        self.halls.lock().unwrap_or_else(PoisonError::into_inner).retain(|sale, _| is_kept(sale));
    }
}

/// Units of a sale that nobody holds, as this node knows them; `None`: without end.
fn free(sale: &SaleState) -> Option<u64> {
    sale.items.iter().map(|item| item.gauge.free().free).sum()
}
