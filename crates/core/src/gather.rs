//! Gathers units in one slot for a parked request. Near the end of a sale, this is necessary: each
//! slot may have too few units for the request, while all slots together have enough.
//!
//! Units are gathered only for the oldest parked request. Gathering for a second request would take
//! units that are on their way to the slot of the first request.
use crate::rules::{Rule, enforces};
use crate::value::{SlotKey, Units};

/// The units of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotHolding {
    /// The slot.
    pub slot: SlotKey,
    /// The number of units that the slot can issue tickets for
    /// ([`crate::slot::SlotView::available`]). If this node cannot reach the slot, this is the
    /// number of granted units that are not settled. That number can be too high. The error is
    /// harmless, because a recall takes only units that the slot has.
    pub available: u64,
    /// Units on their way to the slot: in feed rows that the slot has not applied, and in
    /// unfinished recalls to the slot.
    pub on_its_way: u64,
    /// Whether the parked request can be sent to this slot.
    pub reachable: bool,
    /// Whether a recall from the slot is unfinished. Until it is finished, no second recall from
    /// the slot begins.
    pub asked: bool,
}

/// Units to take from one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedRecall {
    /// The slot.
    pub from: SlotKey,
    /// The most units to take.
    pub units: u64,
}

/// A plan: the moves of units that give one slot enough units for a parked request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherPlan {
    /// The slot that serves the request.
    pub into: SlotKey,
    /// The number of units that the slot `into` gets from the pool.
    pub refill: u64,
    /// The units that the slot `into` gets from other slots.
    pub recalls: Vec<PlannedRecall>,
}

/// Plans how to serve a parked request for `units` units. `home` is the slot of the request's home
/// partition. Returns `None` if no reachable slot can get enough units.
///
/// The plan gathers units in the reachable slot that has the most units. The missing units come
/// first from the pool, and then from the fullest of the other slots. This order of sources keeps
/// the number of recalls low. If this function is called again before the planned moves are
/// finished, the new plan does not move the same units a second time.
#[must_use]
pub fn gather(
    units: Units,
    home: SlotKey,
    pool: u64,
    holdings: &[SlotHolding],
) -> Option<GatherPlan> {
    let reachable = holdings.iter().filter(|h| h.reachable || !enforces(Rule::GatherReachable));
    let into = reachable.max_by_key(|h| (h.available + h.on_its_way, h.slot == home))?;
    let mut lacks = units.to_u64().saturating_sub(into.available + into.on_its_way);
    let refill = if enforces(Rule::GatherFromPool) { lacks.min(pool) } else { 0 };
    lacks -= refill;
    let may_give =
        |h: &&SlotHolding| h.slot != into.slot && !h.asked && enforces(Rule::GatherFromOthers);
    let mut others: Vec<_> = holdings.iter().filter(may_give).collect();
    others.sort_by_key(|h| (u64::MAX - h.available, h.slot));
    let mut recalls = Vec::new();
    for other in others {
        let units = lacks.min(other.available);
        if units > 0 {
            recalls.push(PlannedRecall { from: other.slot, units });
            lacks -= units;
        }
    }
    (lacks == 0).then_some(GatherPlan { into: into.slot, refill, recalls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ItemId;

    fn slot(index: u32) -> SlotKey {
        SlotKey { item: ItemId(1), index }
    }

    fn holdings(available: &[u64]) -> Vec<SlotHolding> {
        let one = |(i, &available): (usize, &u64)| SlotHolding {
            slot: slot(i as u32),
            available,
            on_its_way: 0,
            reachable: true,
            asked: false,
        };
        available.iter().enumerate().map(one).collect()
    }

    /// An expected plan: the index of the slot that serves the request, the units from the pool,
    /// and the units from each other slot.
    type Moves<'a> = (u32, u64, &'a [(u32, u64)]);

    fn check(n: u32, home: u32, pool: u64, holdings: &[SlotHolding], wanted: Option<Moves<'_>>) {
        let units = Units::new(n).expect("in range");
        let part = |&(from, units): &(u32, u64)| PlannedRecall { from: slot(from), units };
        let wanted = wanted.map(|(into, refill, parts)| GatherPlan {
            into: slot(into),
            refill,
            recalls: parts.iter().map(part).collect(),
        });
        assert_eq!(gather(units, slot(home), pool, holdings), wanted);
    }

    #[test]
    fn scattered_units_are_gathered_in_the_fullest_slot() {
        check(10, 0, 0, &holdings(&[2, 5, 3]), Some((1, 0, &[(2, 3), (0, 2)])));
        check(10, 0, 4, &holdings(&[2, 5, 3]), Some((1, 4, &[(2, 1)])));
        check(10, 0, 0, &holdings(&[2, 5, 2]), None);
        check(1, 2, 1, &holdings(&[0, 0, 0]), Some((2, 1, &[])));
        check(1, 2, 0, &holdings(&[0, 1, 0]), Some((1, 0, &[])));
    }

    #[test]
    fn units_on_their_way_are_not_requested_again() {
        let mut some = holdings(&[2, 5, 3]);
        (some[1].on_its_way, some[0].asked, some[2].asked) = (5, true, true);
        check(10, 0, 0, &some, Some((1, 0, &[])));
        some[1].on_its_way = 3;
        check(10, 0, 0, &some, None);
    }

    #[test]
    fn units_are_gathered_in_a_slot_that_the_request_can_use() {
        let mut some = holdings(&[2, 5, 3]);
        (some[1].reachable, some[2].reachable) = (false, false);
        check(4, 0, 0, &some, Some((0, 0, &[(1, 2)])));
        some[0].reachable = false;
        check(4, 0, 0, &some, None);
    }
}
