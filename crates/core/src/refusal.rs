//! Saying "sold out" without harming anybody: only from a truth snapshot in which units exceed what
//! may yet be had.
use crate::rules::{Rule, enforces};
use crate::value::Units;

/// An item's counts in the truth at one commit. What is in flight or in transit counts as free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeUnits {
    /// Pool + Σ open grants (granted − settled); `None`: unlimited.
    pub free: Option<u64>,
    /// Units of reserved, unpaid orders: they may come back.
    pub reserved: u64,
}

/// None sellable now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldOut {
    /// Units still free, fewer than were asked for.
    pub available: u64,
    /// Whether units may come back.
    pub may_return: bool,
}

impl FreeUnits {
    /// The refusal that this snapshot allows, if it does.
    ///
    /// The caller reads the snapshot *first* and the set of requests that hold an order *second*
    /// (the set is complete up to the snapshot), so that a replay never hears "sold out".
    #[must_use]
    pub fn refuses(&self, units: Units) -> Option<SoldOut> {
        let available = self.free?;
        (units.to_u64() > available)
            .then_some(SoldOut { available, may_return: available + self.reserved > 0 })
    }

    /// What a node says when a request was parked as long as it may be.
    #[must_use]
    pub fn parked_too_long(&self, units: Units) -> SoldOut {
        SoldOut { available: self.free.unwrap_or(0).min(units.to_u64() - 1), may_return: true }
    }

    /// The free units of a snapshot with these parts.
    #[must_use]
    pub fn from_parts(pool: u64, in_slots: u64, in_flight: u64, reserved: u64) -> Self {
        let hidden = if enforces(Rule::InFlightIsFree) { 0 } else { in_flight };
        Self { free: Some((pool + in_slots).saturating_sub(hidden)), reserved }
    }
}
