//! Decides how many units move from the pool to each slot: equal parts before a sale opens, and
//! small portions while the sale runs. If two leaders decide at the same time, a slot may get one
//! portion too many. The extra portion does no harm.
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::spread::{Counter, PartitionChoice, Spread};

/// Units for one slot's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The number of units.
    pub units: u64,
    /// The counter that gets the units.
    pub counter: Counter,
}

/// Returns how many units each new slot gets in counter A, in the order of the slots. The slots get
/// equal parts of the pool. With sub-domains, a part is at most the spread's `initial`.
#[must_use]
pub fn initial_portions(spread: &Spread, pool: u64, slots: usize) -> Vec<u64> {
    let each = if spread.uses_sub_domains() { spread.initial } else { u64::MAX };
    if !enforces(Rule::WarmUpFair) {
        let mut left = pool;
        let take = |_| {
            let taken = left.min(each);
            left -= taken;
            taken
        };
        return (0..slots).map(take).collect();
    }
    equal_parts(pool, slots).map(|units| units.min(each)).collect()
}

/// Divides the pool's units among the emptiest slots of an item without sub-domains. Each part has
/// at least `least` units (the item's limit), so that a part can serve every request. If the pool
/// has fewer units than `least`, one slot gets all of them. `levels` contains the number of units
/// in each slot.
#[must_use]
pub fn distribute_pool(pool: u64, least: u64, levels: &[u64]) -> Vec<u64> {
    let mut parts = vec![0; levels.len()];
    let wanted = usize::try_from(pool / least.max(1)).unwrap_or(usize::MAX);
    let count = wanted.clamp(1, levels.len().max(1));
    let mut emptiest: Vec<usize> = (0..levels.len()).collect();
    emptiest.sort_by_key(|&i| (levels[i], i));
    for (&i, units) in emptiest.iter().zip(equal_parts(pool, count)) {
        parts[i] = units;
    }
    parts
}

/// Returns the next refill of a slot with sub-domains, for its drained counter. Returns `None` if
/// the slot needs no refill, if units are on their way to the slot, or if the pool is empty.
///
/// `slots` is the number of slots that share the pool. `on_its_way` is above 0 if the slot has not
/// applied all rows of its feed. The caller applies the slot's feed first, then reads the slot's
/// view, and then calls this function. It calls this function even without the slot's
/// [`SlotView::mark`], because the mark is only a hint.
#[must_use]
pub fn next_portion(
    spread: &Spread,
    pool: u64,
    slots: u32,
    view: &SlotView,
    on_its_way: u64,
) -> Option<Portion> {
    let drained = view.active.other();
    let [active, inactive] = [view.active, drained].map(|c| view.counters[c.index()]);
    let low = inactive < spread.threshold && (view.mark || active < spread.threshold);
    let fed = on_its_way == 0 || !enforces(Rule::RefillWaitsForFeed);
    if !spread.uses_sub_domains() || pool == 0 || !fed || (!low && enforces(Rule::RefillWhenLow)) {
        return None;
    }
    // If the pool has few units left, each slot gets its equal part of these units. If that part is
    // smaller than `threshold`, the slot gets `threshold` units.
    let share = pool.div_ceil(u64::from(slots.max(1))).max(spread.threshold);
    let most = if enforces(Rule::RefillSmall) { spread.refill.min(share) } else { pool };
    let counter = if enforces(Rule::RefillNamesDrained) { drained } else { view.active };
    Some(Portion { units: most.min(pool), counter })
}

/// Returns the default spread for slots in the memory of nodes. A node cannot sell the units in
/// another node's slot, so each slot gets few units and is refilled early.
#[must_use]
pub fn node_memory_spread(total: u64, slots: u32, choose: PartitionChoice) -> Spread {
    /// Each slot's part of the stock is divided into this many refills.
    const PORTIONS: u64 = 8;
    let refill = (total / (u64::from(slots.max(1)) * PORTIONS)).max(1);
    let threshold = refill.div_ceil(2);
    Spread { choose, initial: refill, threshold, refill, ..Spread::default() }
}

/// Divides `units` into `parts` whole numbers that differ from each other by at most one.
fn equal_parts(units: u64, parts: usize) -> impl Iterator<Item = u64> {
    let count = (parts as u64).max(1);
    let (each, more) = (units / count, units % count);
    (0..parts as u64).map(move |i| each + u64::from(i < more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Epoch, GrantId, Seq, TicketN};

    const SPREAD: Spread = Spread {
        partitions: 4,
        auto: false,
        choose: PartitionChoice::Buyer,
        initial: 400,
        threshold: 50,
        refill: 100,
    };

    fn view(counters: [u64; 2], active: Counter, mark: bool) -> SlotView {
        SlotView {
            grant: GrantId(1),
            epoch: Epoch(1),
            available: counters[0] + counters[1],
            counters,
            active,
            mark,
            applied: Seq(0),
            n: TicketN(0),
            unacknowledged: 0,
            stopped: false,
            sealed: false,
        }
    }

    fn check(pool: u64, view: &SlotView, on_its_way: u64, wanted_now: Option<(u64, Counter)>) {
        let portion =
            next_portion(&SPREAD, pool, 4, view, on_its_way).map(|p| (p.units, p.counter));
        assert_eq!(
            portion, wanted_now,
            "wrong portion: the pool has {pool} units, {on_its_way} are on their way to {view:?}"
        );
    }

    #[test]
    fn new_slots_get_equal_first_portions() {
        assert_eq!(initial_portions(&SPREAD, 10_000, 4), [400; 4]);
        assert_eq!(initial_portions(&SPREAD, 402, 4), [101, 101, 100, 100]);
        assert_eq!(initial_portions(&Spread::default(), 10, 4), [3, 3, 2, 2]);
        assert_eq!(initial_portions(&Spread::default(), 10, 1), [10]);
        assert_eq!(initial_portions(&SPREAD, 10, 0), [0; 0]);
    }

    #[test]
    fn returned_units_go_to_the_emptiest_slots_in_usable_parts() {
        assert_eq!(distribute_pool(10, 10, &[5, 0, 3]), [0, 10, 0]);
        assert_eq!(distribute_pool(4, 10, &[5, 0, 3]), [0, 4, 0]);
        assert_eq!(distribute_pool(20, 10, &[5, 0, 3]), [0, 10, 10]);
        assert_eq!(distribute_pool(31, 10, &[0, 0, 0]), [11, 10, 10]);
        assert_eq!(distribute_pool(5, 1, &[9]), [5]);
    }

    #[test]
    fn the_drained_counter_is_refilled_in_small_portions() {
        check(10_000, &view([400, 0], Counter::A, false), 0, None);
        check(10_000, &view([49, 0], Counter::A, true), 0, Some((100, Counter::B)));
        check(10_000, &view([49, 0], Counter::A, false), 0, Some((100, Counter::B)));
        check(10_000, &view([49, 100], Counter::B, true), 0, Some((100, Counter::A)));
        check(10_000, &view([60, 100], Counter::B, true), 0, None);
        check(10_000, &view([49, 0], Counter::A, true), 100, None);
        check(0, &view([0, 0], Counter::A, true), 0, None);
    }

    #[test]
    fn the_last_units_of_the_pool_are_shared() {
        check(300, &view([0, 0], Counter::A, true), 0, Some((75, Counter::B)));
        check(60, &view([0, 0], Counter::A, true), 0, Some((50, Counter::B)));
        check(20, &view([0, 0], Counter::A, true), 0, Some((20, Counter::B)));
    }

    #[test]
    fn the_node_memory_spread_is_valid_for_any_total() {
        for total in [0, 1, 7, 100, 1_000_000_000] {
            assert_eq!(node_memory_spread(total, 3, PartitionChoice::Buyer).fault(), None);
        }
    }
}
