//! How the pool reaches the slots: fairly when a sale is warmed up, and in small portions while it
//! sells.
//!
//! Decisions only. Each becomes one [`crate::stock::refill`], which takes at most what the pool has
//! then: two leaders who decide at once give a slot one portion more than it needs, and nothing
//! worse.
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::spread::{Counter, PartitionChoice, Spread};

/// Units for one slot's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// How many.
    pub units: u64,
    /// Where.
    pub counter: Counter,
}

/// What each of so many new slots gets out of the pool when they are opened, in their order: the
/// spread's `initial`, or less if the pool does not have it for all, the same for each but for a
/// unit. All of it for counter A.
///
/// Without sub-domains it is all there is, in equal parts.
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

/// Where the pool's units go while sub-domains are not in use, one number for each slot: to the
/// emptiest, in parts of at least `least` units, so that at the tail they are not scattered in
/// parts that serve nobody. `least` is what one request may ask for (the item's limit); `levels` is
/// what each slot has.
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

/// What a slot with sub-domains gets now; `None`: nothing. For the drained counter, while the other
/// one sells.
///
/// `slots` is how many share the pool. `on_its_way` is what feed rows bring that the slot has not
/// applied yet: feed it first, then look, then decide. The mark is a hint, so a slot without one is
/// looked at too.
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
    // The last of the pool is shared, in parts that keep a counter above its threshold.
    let share = pool.div_ceil(u64::from(slots.max(1))).max(spread.threshold);
    let most = if enforces(Rule::RefillSmall) { spread.refill.min(share) } else { pool };
    let counter = if enforces(Rule::RefillNamesDrained) { drained } else { view.active };
    Some(Portion { units: most.min(pool), counter })
}

/// A spread for slots that others cannot sell from (in the memory of nodes), where the shop asked
/// for none: a small part of the stock each, refilled before it runs dry, so that little is lost
/// for a while with a node that dies.
#[must_use]
pub fn node_memory_spread(total: u64, slots: u32, choose: PartitionChoice) -> Spread {
    /// Portions that the stock is cut into for each slot.
    const PORTIONS: u64 = 8;
    let refill = (total / (u64::from(slots.max(1)) * PORTIONS)).max(1);
    Spread { partitions: 1, choose, initial: refill, threshold: refill.div_ceil(2), refill }
}

/// So many units in so many parts that differ by one at most.
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
        assert_eq!(portion, wanted_now, "pool {pool}, {view:?}, {on_its_way} on its way");
    }

    #[test]
    fn warming_up_is_fair() {
        assert_eq!(initial_portions(&SPREAD, 10_000, 4), [400; 4]);
        assert_eq!(initial_portions(&SPREAD, 402, 4), [101, 101, 100, 100]);
        assert_eq!(initial_portions(&Spread::default(), 10, 4), [3, 3, 2, 2]);
        assert_eq!(initial_portions(&Spread::default(), 10, 1), [10]);
        assert_eq!(initial_portions(&SPREAD, 10, 0), [0; 0]);
    }

    #[test]
    fn what_comes_back_goes_to_the_emptiest_in_parts_that_serve_somebody() {
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
    fn the_last_of_the_pool_is_shared() {
        check(300, &view([0, 0], Counter::A, true), 0, Some((75, Counter::B)));
        check(60, &view([0, 0], Counter::A, true), 0, Some((50, Counter::B)));
        check(20, &view([0, 0], Counter::A, true), 0, Some((20, Counter::B)));
    }

    #[test]
    fn small_portions_make_a_sound_spread() {
        for total in [0, 1, 7, 100, 1_000_000_000] {
            assert_eq!(node_memory_spread(total, 3, PartitionChoice::Buyer).fault(), None);
        }
    }
}
