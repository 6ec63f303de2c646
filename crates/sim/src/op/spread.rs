//! The operations that change the spread of an item while its sale runs.
use serde::{Deserialize, Serialize};

/// One operation of an operator or a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names explain the fields")]
pub enum SpreadOp {
    /// An operator changes an item's partitions. `partitions` is the number of the item's slots in
    /// its spread, minus one. [`crate::op::ItemSetup::choose`] describes `choose`.
    Set { item: u8, partitions: u8, choose: u8 },
    /// A leader continues to drain a slot that left its item's spread.
    Leave { leader: u8, slot: u8 },
}
