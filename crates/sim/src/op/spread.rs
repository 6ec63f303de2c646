//! The operations that change the spread of an item while its sale runs.
use serde::{Deserialize, Serialize};

/// One operation of an operator or a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpreadOp {
    /// An operator changes an item's partitions.
    Set {
        /// The item.
        item: u8,
        /// How many of the item's slots are in its spread, minus one.
        partitions: u8,
        /// See [`crate::op::ItemSetup::choose`].
        choose: u8,
    },
    /// A leader continues to drain a slot that left its item's spread.
    Leave {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
}
