//! The number of units in a request.

use std::fmt;

/// The largest number of units in one request.
pub const UNITS_MAX: u32 = 1_000_000;

/// The number of units in one request: 1 to [`UNITS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Units(u32);

impl Units {
    /// One unit.
    pub const ONE: Self = Self(1);

    /// Returns `None` if the number is below 1 or above [`UNITS_MAX`].
    #[must_use]
    pub fn new(units: u32) -> Option<Self> {
        (1..=UNITS_MAX).contains(&units).then_some(Self(units))
    }

    /// Returns the number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// Returns the number as a `u64`, the type for amounts of stock.
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
