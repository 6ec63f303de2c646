//! Rows of the buyers and addresses that operators block.
use doorbuster_core::Millis;

/// The kind of subject that a block applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// A block of a buyer.
    Buyer,
    /// A block of a network of addresses, or of one address.
    Ip,
}

impl BlockKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Buyer, Self::Ip];

    /// Returns the word for this kind in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Ip => "ip",
        }
    }

    /// Parses the word for a kind.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

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
    /// The sum of all their times.
    pub sum: i64,
}
