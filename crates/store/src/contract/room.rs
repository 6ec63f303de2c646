//! Rows of waiting rooms. The rules are in [`doorbuster_core::gate::room`].
use std::sync::Arc;

use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::{QueuePosition, RoomProgress, RoomSupply};
use doorbuster_core::{BuyerId, ItemId, Millis};

/// Names a waiting room: the room of a whole sale, or the room of one of its items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey {
    /// The sale's id.
    pub sale: Arc<str>,
    /// The item. `None` if the room is for all items of the sale.
    pub item: Option<ItemId>,
}

impl RoomKey {
    /// Returns the key of the room of a whole sale.
    #[must_use]
    pub fn of_sale(sale: &str) -> Self {
        Self { sale: sale.into(), item: None }
    }
}

/// A waiting room of a sale or of one item. If each item of a sale has its own room, the store also
/// has a room for the whole sale. Nobody waits in that room: it only keeps the seed of all draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoom {
    /// The sale and the item.
    pub key: RoomKey,
    /// The name of the item, if the room is for one item.
    pub item_name: Option<String>,
    /// The seed of the room's draw. All rooms of a sale have the same seed.
    pub seed: DrawSeed,
    /// How many visitors entered the room, how many take part in its draw, and how many were
    /// admitted.
    pub line: RoomProgress,
    /// The time until which the room stays open, if it opened automatically.
    pub open_until: Option<Millis>,
}

impl WaitingRoom {
    /// Returns the lot of this buyer in the draw of the room.
    #[must_use]
    pub fn lot(&self, buyer: &BuyerId) -> DrawLot {
        self.seed.lot(self.item_name.as_deref(), buyer.as_str())
    }
}

/// A buyer's position in a waiting room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomVisitor {
    /// The buyer.
    pub buyer: BuyerId,
    /// The buyer's lot in the draw. Only buyers who entered before the sale opened have a lot.
    pub lot: Option<DrawLot>,
    /// The stored rank. `None` for a buyer in the draw who is not admitted yet. This buyer's rank
    /// is computed: it is the position of the buyer's lot among all lots.
    pub rank: Option<u64>,
    /// The time until which the buyer may buy. `None` if the buyer is not admitted yet.
    pub until: Option<Millis>,
}

impl RoomVisitor {
    /// Returns the visitor's position. If the visitor has no stored rank, `drawn` must be the
    /// visitor's rank in the draw.
    #[must_use]
    pub fn queue_position(&self, drawn: Option<u64>) -> QueuePosition {
        QueuePosition { rank: self.rank.or(drawn), until: self.until }
    }
}

/// The result of entering a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnterOutcome {
    /// This call gave the buyer a position.
    New(RoomVisitor),
    /// The buyer already had this position.
    Known(RoomVisitor),
    /// The waiting room is full.
    Full,
}

/// How many visitors one call admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomProgressStep {
    /// The number of visitors whom the call admitted.
    pub admitted: u64,
    /// The number of visitors who still wait after the call.
    pub waiting: u64,
}

/// A room and the supply of its items, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoomView {
    /// The room.
    pub room: WaitingRoom,
    /// The free units, and the numbers of admitted buyers. While the sale is not open, no unit
    /// counts as free.
    pub shop: RoomSupply,
}

/// How many visitors a room may admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomAdmissions {
    /// The snapshot of the room from which the caller computed `most`.
    pub seen: WaitingRoomView,
    /// The maximum number of visitors.
    pub most: u64,
}
