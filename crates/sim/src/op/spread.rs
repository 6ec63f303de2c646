//! The operations that change how an item's stock is spread over slots, while the item's sale runs.
use serde::{Deserialize, Serialize};

/// One operation of an operator or a leader on an item's spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names explain the fields")]
pub enum SpreadOp {
    /// An operator changes an item's spread. After the change, the spread has `partitions` + 1
    /// slots. [`crate::op::ItemSetup::choose`] describes `choose`.
    Set { item: u8, partitions: u8, choose: u8 },
    /// A leader continues to drain a slot that left its item's spread.
    Leave { leader: u8, slot: u8 },
}
