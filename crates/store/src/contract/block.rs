//! Rows of the buyers and addresses that operators block.
use doorbuster_core::Millis;

pub use doorbuster_types::BlockKind;

/// A buyer or a network that operators block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whether the block applies to a buyer or to addresses.
    pub kind: BlockKind,
    /// The buyer's id, or the network in its canonical form.
    pub value: String,
    /// When the block ends. `None` if the block has no end.
    pub until: Option<Millis>,
    /// The reason, for people.
    pub reason: String,
    /// When this block was last written.
    pub at: Millis,
}

/// A value that changes whenever the blocks change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlocksVersion {
    /// The number of blocks.
    pub count: i64,
    /// The sum of all blocks' `at` times, so that a change of any block changes this value.
    pub sum: i64,
}
