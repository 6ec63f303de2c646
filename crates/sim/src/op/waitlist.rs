//! The operations on the waitlist of a held-out item.
use serde::{Deserialize, Serialize};

/// One operation of a waiting buyer, an operator or a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waitlist {
    /// A buyer joins the waitlist under a key.
    Join {
        /// The buyer.
        buyer: u8,
        /// The request key.
        key: u8,
        /// The item.
        item: u8,
    },
    /// A buyer leaves the waitlist.
    Leave {
        /// Among all entries, including ended ones.
        place: u8,
    },
    /// An operator cancels an order, from a waitlist or not.
    TakeAway {
        /// Among all orders.
        order: u8,
    },
    /// A leader serves the entries that have waited longest.
    Serve {
        /// The leader.
        leader: u8,
        /// The item.
        item: u8,
    },
    /// A leader ends the waitlist of an item whose sale has ended.
    End {
        /// The leader.
        leader: u8,
        /// The item.
        item: u8,
    },
    /// A buyer asks for the state of an entry.
    Ask {
        /// Among all entries.
        place: u8,
    },
}
