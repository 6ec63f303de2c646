//! The operations on the waitlist of an item whose units are all held.
use serde::{Deserialize, Serialize};

/// One operation of a waiting buyer, an operator or a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitlistOp {
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
        /// The index among all entries, including ended entries.
        place: u8,
    },
    /// An operator cancels an order, which may be from a waitlist.
    TakeAway {
        /// The index among all orders.
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
        /// The index among all entries.
        place: u8,
    },
}
