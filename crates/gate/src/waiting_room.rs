//! Waiting rooms decide which visitors may get a purchase pass, and when.
//!
//! Positions of visitors are rows of the store. A node also keeps the positions of its own visitors
//! in memory, so that it can show them without a read of the store. The leader admits visitors,
//! each time in one transaction. While another node becomes the leader, two nodes may admit
//! visitors. The result is still correct.

mod admitter;
mod batcher;
mod limits;
mod room_state;
mod states;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::gate::room::{VisitorStatus, WaitEstimate};
use doorbuster_core::{BuyerId, Millis, Phase};
use doorbuster_store::{EnterOutcome, RoomKey, RoomVisitor, StoreError, StoreResult, WaitingRoom};

use batcher::{PositionAction, PositionBatcher};
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_engine::node::Node;
use doorbuster_engine::sale_room::SaleRoom;
use room_state::WaitingRoomState;

/// The context from which the key of position tokens is derived.
const TOKEN_CONTEXT: &str = "doorbuster 2026-11 waiting room place";
const TOKEN_PREFIX: &str = "plc_";
const TOKEN_BYTES: usize = 16;

/// Why a waiting room could not answer a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitingRoomError {
    /// Too many requests wait for the batcher, or the room is full.
    #[error("too many visitors wait for a position")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a buyer may get a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The sale has no open waiting room.
    NotNeeded,
    /// The buyer is admitted, and may get a pass until this time.
    AdmittedUntil(Millis),
    /// The buyer has to wait.
    MustWait,
}

/// A position as its buyer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionView {
    /// The position's token.
    pub token: String,
    /// Whether the buyer is admitted or must wait. `BeyondStock(0)` means that the sale has ended.
    pub status: VisitorStatus,
    /// When the buyer will probably be admitted. `None` if this time is unknown or the buyer does
    /// not wait.
    pub estimate: Option<WaitEstimate>,
}

/// How many visitors a waiting room has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoomCounts {
    /// The sale.
    pub sale: Arc<str>,
    /// The name of the room's item. `None` if the room is for all items of the sale.
    pub item: Option<String>,
    /// Visitors who are not admitted yet.
    pub waiting: u64,
    /// Visitors whom any node admitted.
    pub admitted: u64,
    /// Visitors in this node's memory.
    pub in_memory: u64,
}

/// The waiting rooms of this node.
#[derive(Debug)]
pub struct WaitingRooms {
    states: Mutex<HashMap<RoomKey, Arc<WaitingRoomState>>>,
    /// How many times this node has checked the rooms. The number decides with which room of a sale
    /// a check begins, so that the rooms take turns.
    steps: AtomicUsize,
    batcher: PositionBatcher,
    key: [u8; 32],
    for_ms: i64,
    per_sec: u64,
}

impl WaitingRooms {
    /// Creates the waiting rooms. In each sale, all rooms together admit at most `per_sec` visitors
    /// per second. An admission lasts so long that the visitor can fetch a pass and then use the
    /// pass. A pass is valid for `pass_ttl`.
    #[must_use]
    pub fn new(masters: &MasterKeys, pass_ttl: Duration, per_sec: u64) -> Self {
        let key = masters.keys(TOKEN_CONTEXT).next().expect("there is at least one master key");
        let window = pass_ttl + pass_ttl.min(limits::PASS_FETCH_WITHIN);
        let for_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let batcher = PositionBatcher::new();
        Self { states: Mutex::default(), steps: AtomicUsize::new(0), batcher, key, for_ms, per_sec }
    }

    /// Counts a buyer who arrived at a room. The count decides whether an automatic room opens.
    pub fn record_arrival(&self, room: SaleRoom<'_>, buyer: &str) {
        room.runtime().arrivals.record_arrival(buyer, room.part_of(self.per_sec));
    }

    /// Adds the buyer to the room, and returns the buyer's position. If the buyer already has a
    /// position, returns this position. Also returns whether the position is new.
    ///
    /// # Errors
    ///
    /// If the room is full or the store is unreachable.
    pub async fn enter(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
    ) -> Result<(bool, PositionView), WaitingRoomError> {
        let room_state = self.room_state(room);
        self.record_arrival(room, buyer.as_str());
        // If a valid position is in memory, the request writes nothing to the store, so a reload of
        // the page costs little. But with several nodes, another node may have removed the position
        // or extended the buyer's turn. So this node then also reads the position from the store.
        if let Some(shown) = self.cached_position(node, room, buyer) {
            if node.layout().is_single_node() {
                return Ok((false, shown));
            }
            if let Some(found) = self.find(node, &room_state, buyer).await?
                && let Some(shown) =
                    self.position_view(node, room, &room_state, buyer, Some(&found))
            {
                return Ok((false, shown));
            }
        }
        let entered = self.batcher.request(room_state.key(), buyer, PositionAction::Enter).await?;
        let (is_new, visitor) = match entered {
            Some(EnterOutcome::New(visitor)) => (true, visitor),
            Some(EnterOutcome::Known(visitor)) => (false, visitor),
            Some(EnterOutcome::Full) | None => return Err(WaitingRoomError::Busy),
        };
        admitter::hold_open(room, node.now());
        self.ensure_drawn(node, room, &room_state).await?;
        let shown = match self.position_view(node, room, &room_state, buyer, Some(&visitor)) {
            Some(shown) => shown,
            None if room.sale.row.phase == Phase::Closed => self.ended_position(room, buyer),
            // The room may have admitted the buyer during the wait above. If the buyer has no
            // position any more, the client gets `503` and enters again.
            None => {
                let newer = self.read_position(node, room, &room_state, buyer).await?;
                newer.ok_or(WaitingRoomError::Busy)?
            }
        };
        Ok((is_new, shown))
    }

    /// Reads the buyer's position from the store. Returns `None` if the buyer has no position, or
    /// if the position has lapsed.
    async fn find(
        &self,
        node: &Node,
        room_state: &WaitingRoomState,
        buyer: &BuyerId,
    ) -> Result<Option<RoomVisitor>, WaitingRoomError> {
        let found = self.batcher.request(room_state.key(), buyer, PositionAction::Find).await?;
        let Some(EnterOutcome::Known(visitor)) = found else { return Ok(None) };
        Ok(Some(visitor).filter(|found| found.until.is_none_or(|until| until > node.now())))
    }

    /// Removes the buyer's position, if the buyer has one.
    ///
    /// # Errors
    ///
    /// If too many requests wait, or the store is unreachable.
    pub async fn leave(&self, room: SaleRoom<'_>, buyer: &BuyerId) -> Result<(), WaitingRoomError> {
        let room_state = self.room_state(room);
        self.batcher.request(room_state.key(), buyer, PositionAction::Leave).await.map(drop)
    }

    /// Returns the buyer's position. Returns `None` if the buyer has none, or if the position has
    /// lapsed.
    ///
    /// # Errors
    ///
    /// If the store must be read and is unreachable.
    pub async fn fetch_position(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
    ) -> Result<Option<PositionView>, WaitingRoomError> {
        if let Some(shown) = self.cached_position(node, room, buyer)
            && !turn::may_be_extended_elsewhere(node, shown.status)
        {
            return Ok(Some(shown));
        }
        self.read_position(node, room, &self.room_state(room), buyer).await
    }

    /// Reads the buyer's position from the store until it is as new as the room's state in memory.
    /// Returns `None` if the buyer has no position, or if the position has lapsed.
    async fn read_position(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        room_state: &WaitingRoomState,
        buyer: &BuyerId,
    ) -> Result<Option<PositionView>, WaitingRoomError> {
        for _ in 0..limits::LOOKUPS_MAX {
            let Some(visitor) = self.find(node, room_state, buyer).await? else {
                return Ok(None);
            };
            self.ensure_drawn(node, room, room_state).await?;
            // `None` if the position is older than the room's state in memory. The loop then reads
            // the position again.
            let shown = self.position_view(node, room, room_state, buyer, Some(&visitor));
            if let Some(shown) = shown {
                return Ok(Some(shown));
            }
        }
        Err(WaitingRoomError::Busy)
    }

    /// Returns the buyer's position if this node can tell it from its memory. Does not read the
    /// store.
    #[must_use]
    pub fn cached_position(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
    ) -> Option<PositionView> {
        let room_state = self.existing_state(&room.key())?;
        let can_tell = room_state.can_answer(buyer, room.sale.row.phase.is_before_opening());
        can_tell.then(|| self.position_view(node, room, &room_state, buyer, None)).flatten()
    }

    /// Returns the room's row. If the store has no row of the room, creates it. If the sale has
    /// opened, also closes the room's draw.
    ///
    /// # Errors
    ///
    /// If the store must be read and is unreachable.
    pub async fn draw(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
    ) -> Result<WaitingRoom, WaitingRoomError> {
        let room_state = self.room_state(room);
        let opened = room.sale.row.opened_at.is_some();
        let enough = |room: &WaitingRoom| room.line.participants.is_some() || !opened;
        if let Some(row) = room_state.room().filter(enough) {
            return Ok(row);
        }
        // Only one request reads.
        let _reading = room_state.lock_read().await;
        if let Some(row) = room_state.room().filter(enough) {
            return Ok(row);
        }
        let found = self.read_row(node, room_state.key()).await?;
        let row = match found.filter(enough) {
            Some(row) => row,
            None => {
                let seed = DrawSeed::new(rand::random());
                let made = node.store().open_room(room_state.key(), seed).await?;
                made.ok_or_else(|| {
                    StoreError::Unexpected(
                        "the store has no row for a sale that this node serves".to_owned(),
                    )
                })?
            }
        };
        room_state.apply_row(&row);
        Ok(row)
    }

    /// Returns whether a sale without a waiting room had one earlier.
    ///
    /// # Errors
    ///
    /// If the store must be read and is unreachable.
    pub async fn had_room(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
    ) -> Result<bool, WaitingRoomError> {
        let room_state = self.room_state(room);
        // The state in memory also records that the store has no row of the room, so the node does
        // not read the store again. Concurrent requests share one read.
        let is_known = || room_state.room().is_some() || room_state.is_absent();
        if is_known() {
            return Ok(room_state.room().is_some());
        }
        let _reading = room_state.lock_read().await;
        if !is_known() {
            match self.read_row(node, room_state.key()).await? {
                Some(row) => room_state.apply_row(&row),
                None => room_state.set_absent(),
            }
        }
        Ok(room_state.room().is_some())
    }

    async fn read_row(&self, node: &Node, key: &RoomKey) -> StoreResult<Option<WaitingRoom>> {
        let rows = node.store().waiting_rooms(vec![key.sale.to_string()]).await?;
        Ok(rows.into_iter().find(|row| row.key == *key))
    }

    /// Runs the batcher and the admitter until the future is dropped.
    pub async fn run_jobs(&self, node: &Node) {
        tokio::join!(self.batcher.run(self, node), admitter::run(self, node));
    }

    /// Returns the numbers of visitors for each room in this node's memory.
    #[must_use]
    pub fn counts(&self) -> Vec<WaitingRoomCounts> {
        let mut counts: Vec<_> =
            self.all_states().iter().map(|room_state| room_state.counts()).collect();
        counts.sort_by(|a, b| (&a.sale, &a.item).cmp(&(&b.sale, &b.item)));
        counts
    }

    /// Returns how many times this node read a position from the store.
    #[must_use]
    pub fn store_lookups(&self) -> u64 {
        self.batcher.store_lookups()
    }

    /// If the sale has opened, closes the room's draw, and reads all lots of the draw.
    async fn ensure_drawn(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        room_state: &WaitingRoomState,
    ) -> Result<(), WaitingRoomError> {
        if room.sale.row.opened_at.is_some() && !room_state.is_drawn() {
            let _guard = room_state.lock_draw().await;
            if !room_state.is_drawn() {
                self.draw(node, room).await?;
                admitter::read_lots(node, room_state).await?;
            }
        }
        Ok(())
    }

    fn position_view(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        room_state: &WaitingRoomState,
        buyer: &BuyerId,
        found: Option<&RoomVisitor>,
    ) -> Option<PositionView> {
        let (status, estimate) =
            room_state.position(buyer, found, room.free_units(), node.now())?;
        if room.sale.row.phase == Phase::Closed {
            return Some(self.ended_position(room, buyer));
        }
        Some(PositionView { token: self.token(room, buyer), status, estimate })
    }

    fn ended_position(&self, room: SaleRoom<'_>, buyer: &BuyerId) -> PositionView {
        PositionView {
            token: self.token(room, buyer),
            status: VisitorStatus::BeyondStock(0),
            estimate: None,
        }
    }

    fn token(&self, room: SaleRoom<'_>, buyer: &BuyerId) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for name in [Some(&*room.sale.row.id), room.item_name()].into_iter().flatten() {
            hasher.update(name.as_bytes()).update(b"\0");
        }
        hasher.update(buyer.as_str().as_bytes());
        format!(
            "{TOKEN_PREFIX}{}",
            URL_SAFE_NO_PAD.encode(&hasher.finalize().as_bytes()[..TOKEN_BYTES])
        )
    }
}
