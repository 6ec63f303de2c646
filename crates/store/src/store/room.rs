//! Waiting rooms: positions, the draw, and admission.
use doorbuster_core::BuyerId;
use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::RoomSupply;

use crate::contract::{EnterOutcome, RoomProgressStep, RoomVisitor, WaitingRoom, WaitingRoomView};

use super::{Store, StoreResult};

/// Waiting rooms.
impl Store {
    /// Creates the sale's room from this seed if it does not exist, and closes its draw if the sale
    /// has opened. Returns `None` if there is no such sale.
    pub async fn open_room(&self, sale: &str, seed: DrawSeed) -> StoreResult<Option<WaitingRoom>> {
        Ok(self.enter_room(sale, seed, Vec::new()).await?.map(|(room, _)| room))
    }

    /// Does the same as [`Store::open_room`], and gives a position to each of these buyers who has
    /// no position or whose admission has expired. The answers have the order of the buyers.
    pub async fn enter_room(
        &self,
        sale: &str,
        seed: DrawSeed,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
        match self {
            Self::Sqlite(s) => s.enter_room(sale, seed, buyers).await,
            Self::Postgres(s) => Box::pin(s.enter_room(sale, seed, buyers)).await,
        }
    }

    /// Gives up the buyer's position. An admission ends at once, and a waiting buyer is passed
    /// over. Returns the position after that, or `None` if the buyer had no position. The rule is
    /// [`doorbuster_core::gate::room::QueuePosition::leave`].
    pub async fn leave_room(&self, sale: &str, buyer: BuyerId) -> StoreResult<Option<RoomVisitor>> {
        match self {
            Self::Sqlite(s) => s.leave_room(sale, buyer).await,
            Self::Postgres(s) => Box::pin(s.leave_room(sale, buyer)).await,
        }
    }

    /// Lets an admitted buyer keep the whole admission, which lasts `for_ms` from its call, if it
    /// has not ended. Returns the position after that; `None` if the buyer has none. The rule is
    /// [`doorbuster_core::gate::room::kept_until`].
    pub async fn keep_turn(
        &self,
        sale: &str,
        buyer: BuyerId,
        for_ms: i64,
    ) -> StoreResult<Option<RoomVisitor>> {
        match self {
            Self::Sqlite(s) => s.keep_turn(sale, buyer, for_ms).await,
            Self::Postgres(s) => Box::pin(s.keep_turn(sale, buyer, for_ms)).await,
        }
    }

    /// Returns the rooms of these sales, in no order. Rooms that were never created are left out.
    pub async fn waiting_rooms(&self, sales: Vec<String>) -> StoreResult<Vec<WaitingRoom>> {
        match self {
            Self::Sqlite(s) => s.waiting_rooms(sales).await,
            Self::Postgres(s) => Box::pin(s.waiting_rooms(sales)).await,
        }
    }

    /// Returns the positions of these buyers, in no order.
    pub async fn visitors(
        &self,
        sale: &str,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Vec<RoomVisitor>> {
        match self {
            Self::Sqlite(s) => s.visitors(sale, buyers).await,
            Self::Postgres(s) => Box::pin(s.visitors(sale, buyers)).await,
        }
    }

    /// Returns at most `limit` admitted visitors with ranks above `after`, by rank.
    pub async fn admitted_after(
        &self,
        sale: &str,
        after: u64,
        limit: usize,
    ) -> StoreResult<Vec<RoomVisitor>> {
        match self {
            Self::Sqlite(s) => s.admitted_after(sale, after, limit).await,
            Self::Postgres(s) => Box::pin(s.admitted_after(sale, after, limit)).await,
        }
    }

    /// Returns at most `limit` participants of the draw after this lot, in the order of the draw.
    pub async fn drawn_after(
        &self,
        sale: &str,
        after: Option<DrawLot>,
        limit: usize,
    ) -> StoreResult<Vec<(DrawLot, BuyerId)>> {
        match self {
            Self::Sqlite(s) => s.drawn_after(sale, after, limit).await,
            Self::Postgres(s) => Box::pin(s.drawn_after(sale, after, limit)).await,
        }
    }

    /// Returns the sale's room and its supply, in one snapshot, or `None` if the sale has no room.
    pub async fn waiting_room_view(&self, sale: &str) -> StoreResult<Option<WaitingRoomView>> {
        match self {
            Self::Sqlite(s) => s.waiting_room_view(sale).await,
            Self::Postgres(s) => Box::pin(s.waiting_room_view(sale)).await,
        }
    }

    /// Admits as many visitors as the rules allow ([`RoomSupply::calls`]), but at most `calls_max`,
    /// for `for_ms` from now, or at first for a shorter time while others wait
    /// ([`doorbuster_core::gate::room::first_turn_ms`]). It uses the snapshot's admissions and the
    /// current stock. Returns the admitted visitors by rank. If visitors were admitted since the
    /// snapshot, it admits no one and returns none.
    pub async fn admit_visitors(
        &self,
        sale: &str,
        seen: &WaitingRoomView,
        calls_max: u64,
        for_ms: i64,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let (called, shop): (u64, RoomSupply) = (seen.room.line.called, seen.shop);
        match self {
            Self::Sqlite(s) => s.admit_visitors(sale, called, shop, calls_max, for_ms).await,
            Self::Postgres(s) => {
                Box::pin(s.admit_visitors(sale, called, shop, calls_max, for_ms)).await
            }
        }
    }

    /// Admits the next `visitors` at once, whatever is left of the stock, for `for_ms` from now.
    /// Records the caller's action. `None`: the sale is not open, or its draw is not closed.
    pub async fn admit_more(
        &self,
        sale: &str,
        visitors: u64,
        for_ms: i64,
    ) -> StoreResult<Option<RoomProgressStep>> {
        match self {
            Self::Sqlite(s) => s.admit_more(sale, visitors, for_ms).await,
            Self::Postgres(s) => Box::pin(s.admit_more(sale, visitors, for_ms)).await,
        }
    }

    /// Keeps a room that opens automatically open for `for_ms` from now.
    pub async fn keep_room_open(&self, sale: &str, for_ms: i64) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.keep_room_open(sale, for_ms).await,
            Self::Postgres(s) => Box::pin(s.keep_room_open(sale, for_ms)).await,
        }
    }
}
