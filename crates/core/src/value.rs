//! Small types for values that must not be confused, such as ids and times. Each value is parsed
//! once, when the input arrives.
use std::fmt;

pub use doorbuster_types::{BuyerId, BuyerName, PresentedKey, RequestKey, Units};
use serde::{Deserialize, Serialize};

use crate::limits::STOCK_MAX;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            Default,
            Serialize,
            Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Milliseconds since 1970-01-01T00:00:00Z by the store's clock.
    Millis(i64)
);
number!(
    /// The store's number of an item.
    ItemId(i64)
);
number!(
    /// A grant's random id (63 bits, so that it fits a signed column).
    GrantId(u64)
);
number!(
    /// A slot's epoch. Each new grant of a slot has a higher epoch than the slot's earlier grants.
    Epoch(u64)
);
number!(
    /// The number of a row in a grant's feed. The rows are numbered from 1, without gaps.
    Seq(u64)
);
number!(
    /// The number of a ticket under its grant. The slot counts its tickets from 1.
    TicketN(u64)
);
number!(
    /// 48 random bits that identify a ticket. A node creates the token before it sends the request
    /// to a slot.
    Token(u64)
);
number!(
    /// A recall's random id.
    RecallId(u64)
);
number!(
    /// The number of a node of the cluster. Tickets name the node by this number.
    NodeId(u32)
);

impl Millis {
    /// Returns this time plus `ms` milliseconds, or the largest time if the sum is too large.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The stock of an item: a number of units, or unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// This many units, at most [`STOCK_MAX`].
    Counted(u64),
    /// Unlimited stock. The limits for buyers still apply, but no units are counted.
    Unlimited,
}

impl Stock {
    /// Returns this many units as a stock, or `None` if the number is above [`STOCK_MAX`].
    #[must_use]
    pub fn counted(units: u64) -> Option<Self> {
        (units <= STOCK_MAX).then_some(Self::Counted(units))
    }

    /// Returns whether units are counted (and so can run out).
    #[must_use]
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Counted(_))
    }
}

/// Identifies a slot, which is one of the counters that issue tickets for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    /// The item that the slot sells.
    pub item: ItemId,
    /// The number of a partition. For a slot in a node's memory: the number of that node.
    pub index: u32,
}

impl SlotKey {
    /// The index in the key of a waitlist's grant. No slot has this index.
    pub const WAITLIST: u32 = i32::MAX as u32;

    /// Returns the slot key that the grant of an item's waitlist has ([`crate::waitlist`]).
    #[must_use]
    pub fn waitlist(item: ItemId) -> Self {
        Self { item, index: Self::WAITLIST }
    }

    /// Returns whether this is [`SlotKey::waitlist`].
    #[must_use]
    pub fn is_waitlist(self) -> bool {
        self == Self::waitlist(self.item)
    }
}

impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.item.0, self.index)
    }
}
