//! Decides when a node may answer "sold out": only if a snapshot of the store shows fewer free
//! units than the request asks for.
use crate::rules::{Rule, enforces};
use crate::value::Units;

/// An item's counts in the store at one commit. The units of unsettled tickets, and units on their
/// way to a slot, count as free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeUnits {
    /// The pool plus the unsettled units of all open grants: Σ (granted − settled). `None` for
    /// unlimited stock.
    pub free: Option<u64>,
    /// Units of reserved orders. These units may be returned, because the orders are not paid yet.
    pub reserved: u64,
}

/// The refusal of a request, because too few units can be sold now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldOut {
    /// The number of free units, which is smaller than the requested number.
    pub available: u64,
    /// Whether a later request may get units. False only if no unit is free and no unit is held.
    pub may_return: bool,
}

impl FreeUnits {
    /// Returns the refusal of a request for this many units, if too few units are free in this
    /// snapshot. Otherwise, returns `None`.
    ///
    /// The caller must first read this snapshot, and then check that the request holds no order.
    /// With this sequence, the caller knows every request whose order the snapshot counts. So the
    /// caller refuses none of these requests.
    #[must_use]
    pub fn refuses(&self, units: Units) -> Option<SoldOut> {
        let available = self.free?;
        (units.to_u64() > available)
            .then_some(SoldOut { available, may_return: available + self.reserved > 0 })
    }

    /// Returns the refusal of a request for `units` units that got no ticket although it was parked
    /// for the longest allowed time.
    #[must_use]
    pub fn refusal_after_parking(&self, units: Units) -> SoldOut {
        SoldOut { available: self.free.unwrap_or(0).min(units.to_u64() - 1), may_return: true }
    }

    /// Returns the counts of a snapshot. `in_slots` is the number of unsettled units in all open
    /// grants. `in_flight` is the number of these units that are in tickets or on their way to a
    /// slot.
    #[must_use]
    pub fn from_parts(pool: u64, in_slots: u64, in_flight: u64, reserved: u64) -> Self {
        let hidden = if enforces(Rule::InFlightIsFree) { 0 } else { in_flight };
        Self { free: Some((pool + in_slots).saturating_sub(hidden)), reserved }
    }
}
