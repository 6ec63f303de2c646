//! What happens in the line of an item that is held out.
use serde::{Deserialize, Serialize};

/// One step of those in line, or of whoever serves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waitlist {
    /// A buyer asks for a place under a key.
    Join {
        /// Who.
        buyer: u8,
        /// Under which key.
        key: u8,
        /// For what.
        item: u8,
    },
    /// A buyer gives a place up.
    Leave {
        /// Among all places, ended ones too.
        place: u8,
    },
    /// An operator cancels an order, out of a line or not.
    TakeAway {
        /// Among all orders.
        order: u8,
    },
    /// A leader serves those who have waited longest.
    Serve {
        /// Which leader.
        leader: u8,
        /// Of which item.
        item: u8,
    },
    /// A leader ends the line, as of an item whose sale has ended.
    End {
        /// Which leader.
        leader: u8,
        /// Of which item.
        item: u8,
    },
    /// A buyer asks what became of a place.
    Ask {
        /// Among all places.
        place: u8,
    },
}
