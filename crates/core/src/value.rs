//! Small value types that must not be confused. Each is parsed once, when the input arrives.
use std::fmt;
use std::sync::Arc;

use crate::limits::{NAME_BYTES_MAX, STOCK_MAX, UNITS_MAX};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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
    /// A slot's epoch. Each grant that is opened for a slot has a higher epoch than the grants
    /// before.
    Epoch(u64)
);
number!(
    /// Position in a grant's feed, from 1, without gaps.
    Seq(u64)
);
number!(
    /// Number of a ticket under its grant, from 1, as the slot counted it.
    TicketN(u64)
);
number!(
    /// 48 random bits that a node creates before it asks a slot.
    Token(u64)
);
number!(
    /// A recall's random id.
    RecallId(u64)
);
number!(
    /// A node of the cluster, as tickets name it.
    NodeId(u32)
);

impl Millis {
    /// Returns this time plus `ms` milliseconds, or the largest time if the sum is too large.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The number of units in one request: 1 to [`UNITS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Units(u32);

impl Units {
    /// One unit.
    pub const ONE: Self = Self(1);

    /// Returns `None` if the number is 0 or above [`UNITS_MAX`].
    #[must_use]
    pub fn new(units: u32) -> Option<Self> {
        (1..=UNITS_MAX).contains(&units).then_some(Self(units))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// Returns the number in the type that counts stock.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        u64::from(self.0)
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The amount of an item: a count, or unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// This many units, at most [`STOCK_MAX`].
    Counted(u64),
    /// Unlimited stock. The limits for buyers still hold, but no units are counted.
    Unlimited,
}

impl Stock {
    /// Returns `None` above [`STOCK_MAX`].
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

/// A slot: one of the counters that issue an item's tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    /// The item that the slot sells.
    pub item: ItemId,
    /// The index among the item's slots: a partition's number, or a node's.
    pub index: u32,
}

impl SlotKey {
    /// The index of a waitlist's grant: the largest number that a store can hold. No slot has this
    /// index.
    pub const WAITLIST: u32 = i32::MAX as u32;

    /// Returns the slot key of the grant of an item's waitlist ([`crate::waitlist`]).
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

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns `None` if the text is too long, empty, or has a character that is not
            /// allowed.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                let ok: fn(u8) -> bool = $ok;
                let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
                (fits && text.bytes().all(ok)).then(|| Self(text.into()))
            }

            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// A buyer's id, chosen by the shop: `A–Z a–z 0–9 _ . : -`.
    BuyerId,
    |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-')
);
text!(
    /// The idempotency key of one request of one buyer: visible ASCII.
    RequestKey,
    |b| b.is_ascii_graphic()
);
