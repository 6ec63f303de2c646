//! How an item's stock is spread over its slots.
use crate::limits::PARTITIONS_MAX;

/// How an item's stock is spread: over how many partitions, who goes to which, and in what portions units reach them.
///
/// `initial`, `threshold` and `refill` of 0 mean that everything there is goes to the slots at once, and that sub-domains are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    /// Slots that the item is spread over: 1 to [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// How a buyer's partition is chosen.
    pub choose: Choose,
    /// Units that a sub-domain starts with.
    pub initial: u64,
    /// Below so many units the active sub-domain gives way to the other one, and asks for a refill.
    pub threshold: u64,
    /// Units of one refill.
    pub refill: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { partitions: 1, choose: Choose::Buyer, initial: 0, threshold: 0, refill: 0 }
    }
}

/// Why a spread is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpreadFault {
    /// No partition, or more than [`PARTITIONS_MAX`].
    Partitions,
    /// Some of `initial`, `threshold` and `refill` are 0 and some are not.
    Portions,
}

impl Spread {
    /// What is wrong with it, if anything is. Asked once, at the edge.
    #[must_use]
    pub fn fault(&self) -> Option<SpreadFault> {
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Some(SpreadFault::Partitions);
        }
        let portions = [self.initial, self.threshold, self.refill];
        let whole = portions.iter().all(|&p| p == 0) || portions.iter().all(|&p| p > 0);
        (!whole).then_some(SpreadFault::Portions)
    }
}

/// How the partition of a request is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choose {
    /// By hash of the buyer.
    Buyer,
    /// By chance.
    Random,
    /// One after the other.
    RoundRobin,
}

impl Choose {
    /// Every way.
    pub const ALL: &[Self] = &[Self::Buyer, Self::Random, Self::RoundRobin];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
        }
    }

    /// The way that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }
}

/// One of a slot's two counters (sub-domains).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// The one that is active at first.
    A,
    /// The other one.
    B,
}

impl Counter {
    /// Both, in their order.
    pub const ALL: &[Self] = &[Self::A, Self::B];

    /// The one that this is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its place in an array of both.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The counter that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == word)
    }
}
