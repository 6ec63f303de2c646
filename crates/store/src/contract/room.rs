//! Rows of waiting rooms. The rules are in [`doorbuster_core::check_accepting::room`].
use doorbuster_core::gate::draw::{Lot, Seed};
use doorbuster_core::gate::room::{QueuePosition, RoomProgress, RoomSupply};
use doorbuster_core::{BuyerId, Millis};

/// A sale's waiting room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoom {
    /// The sale.
    pub sale: String,
    /// What its draw is made from.
    pub seed: Seed,
    /// How far its line has come.
    pub line: RoomProgress,
    /// A room that opens by itself is open until then.
    pub open_until: Option<Millis>,
}

/// A buyer's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomVisitor {
    /// Whose.
    pub buyer: BuyerId,
    /// The lot of somebody who came before the opening.
    pub lot: Option<Lot>,
    /// The rank, once it is in the rows: of those drawn it is when they are called in; before, it
    /// is the lot's place among all lots.
    pub rank: Option<u64>,
    /// Until when the buyer may buy; `None`: not called in yet.
    pub until: Option<Millis>,
}

impl RoomVisitor {
    /// What the rules take, given the rank that the draw gives.
    #[must_use]
    pub fn place(&self, drawn: Option<u64>) -> QueuePosition {
        QueuePosition { rank: self.rank.or(drawn), until: self.until }
    }
}

/// What became of somebody who came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnterOutcome {
    /// Has a place since this moment.
    New(RoomVisitor),
    /// Had this place.
    Known(RoomVisitor),
    /// There is no room.
    Full,
}

/// A room and its shop, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRoomView {
    /// The room.
    pub room: WaitingRoom,
    /// What there is to sell, and who is on the way to it; nothing, unless the sale is open.
    pub shop: RoomSupply,
}
