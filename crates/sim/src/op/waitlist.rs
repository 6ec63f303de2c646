//! The operations on the waitlist of an item whose units are all held.
use serde::{Deserialize, Serialize};

/// One operation of a waiting buyer, an operator or a leader on a waitlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names explain the fields")]
pub enum WaitlistOp {
    /// A buyer joins the waitlist under a key.
    Join { buyer: u8, key: u8, item: u8 },
    /// A buyer leaves the waitlist. `place` is an index among all entries, including ended entries.
    Leave { place: u8 },
    /// An operator cancels an order, which may have come from a waitlist entry. `order` is an index
    /// among all orders.
    TakeAway { order: u8 },
    /// A leader serves an item's waitlist: the entries that have waited longest get the pool's
    /// units.
    Serve { leader: u8, item: u8 },
    /// A leader ends the waitlist of an item whose sale has ended.
    End { leader: u8, item: u8 },
    /// A buyer asks for the state of an entry. `place` is an index among all entries.
    Ask { place: u8 },
}
