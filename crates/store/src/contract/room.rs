//! Rows of waiting rooms. The rules are in [`doorbuster_core::gate::room`].
use doorbuster_core::gate::draw::{Lot, Seed};
use doorbuster_core::gate::room::{QueuePosition, RoomProgress, RoomSupply};
use doorbuster_core::{BuyerId, Millis};

/// A sale's waiting room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoom {
    /// The sale's id.
    pub sale: String,
    /// The seed of its draw.
    pub seed: Seed,
    /// How far the queue has advanced.
    pub line: RoomProgress,
    /// The time until which a room that opens automatically stays open.
    pub open_until: Option<Millis>,
}

/// A buyer's position in a waiting room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomVisitor {
    /// The buyer.
    pub buyer: BuyerId,
    /// The lot of a buyer who entered before the opening.
    pub lot: Option<Lot>,
    /// The rank, once it is stored. A buyer in the draw gets it at admission; until then the rank
    /// is the position of the lot among all lots.
    pub rank: Option<u64>,
    /// The time until which the buyer may buy; `None`: not admitted yet.
    pub until: Option<Millis>,
}

impl RoomVisitor {
    /// The visitor as the rules read it, given the rank from the draw.
    #[must_use]
    pub fn place(&self, drawn: Option<u64>) -> QueuePosition {
        QueuePosition { rank: self.rank.or(drawn), until: self.until }
    }
}

/// The result of entering a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnterOutcome {
    /// The buyer has a position since this call.
    New(RoomVisitor),
    /// The buyer already had this position.
    Known(RoomVisitor),
    /// The sale has no room.
    Full,
}

/// How many visitors one call admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomProgressStep {
    /// Visitors that the call admitted.
    pub admitted: u64,
    /// Visitors that still wait.
    pub waiting: u64,
}

/// A room and its sale's supply, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoomView {
    /// The room.
    pub room: WaitingRoom,
    /// The units to sell and the admitted buyers; empty, unless the sale is open.
    pub shop: RoomSupply,
}
