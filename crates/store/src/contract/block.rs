//! Rows of those whom operators turn away.
use doorbuster_core::Millis;

/// What is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// A buyer.
    Buyer,
    /// A network of addresses, or one address.
    Ip,
}

impl BlockKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Buyer, Self::Ip];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Ip => "ip",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Somebody whom operators turn away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whether a buyer or addresses.
    pub kind: BlockKind,
    /// The buyer's id, or the network in its one way of writing.
    pub value: String,
    /// Until when; `None`: for good.
    pub until: Option<Millis>,
    /// Why, for people.
    pub reason: String,
    /// When this was last written.
    pub at: Millis,
}

/// Changes whenever the blocks do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlocksVersion {
    /// How many there are.
    pub count: i64,
    /// All of their times added up.
    pub sum: i64,
}
