//! Checks a slot's counters, how many units slots get at a time, the partitions, and the leases.
//! Compares each step of a slot and each decision of a leader with this file's own version of the
//! rules.
use doorbuster_core::respread::{SlotDrainStep, SpreadSlot};
use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{ApplyOutcome, RecallOutcome, SlotView, TicketAnswer};
use doorbuster_core::{Counter, FeedRow, ItemId, Millis, SlotKey, Spread};
use doorbuster_steps::slot_drain::Decision;

use super::Checker;
use crate::state::{Call, SlotReply};
use crate::store::SimStore;

fn active_and_other(view: &SlotView) -> (u64, u64) {
    match view.active {
        Counter::A => (view.counters[0], view.counters[1]),
        Counter::B => (view.counters[1], view.counters[0]),
    }
}

fn deducted(before: &SlotView, after: &SlotView, units: u64, threshold: u64) -> bool {
    let (active, other) = active_and_other(before);
    let (mut serves, left, rest, mut asks) = if active >= units {
        (before.active, active - units, other, false)
    } else if other >= units {
        (before.active.other(), other - units, active, true)
    } else {
        (before.active, (active + other).wrapping_sub(units), 0, true)
    };
    let mut counters = [left, rest];
    if serves == Counter::B {
        counters.reverse();
    }
    if left < threshold {
        asks = true;
        serves = if rest > left { serves.other() } else { serves };
    }
    after.counters == counters && after.active == serves && after.mark == (before.mark || asks)
}

/// Returns whether a recall took units from the inactive counter first, and from the active counter
/// only after that.
fn recalled(before: &SlotView, after: &SlotView) -> bool {
    let ((active, other), (active_left, other_left)) =
        (active_and_other(before), active_and_other(after));
    let taken = (active + other).wrapping_sub(active_left + other_left);
    after.active == before.active
        && other_left == other - taken.min(other)
        && after.mark == before.mark
}

/// Returns whether a slot applied a feed row correctly. The row's units must be in the counter that
/// the row names. Units of a refill or from another slot must also clear the slot's refill mark,
/// which says that the slot may need a refill.
fn applied(before: &SlotView, after: &SlotView, row: &FeedRow) -> bool {
    let mut counters = before.counters;
    counters[row.counter.index()] += row.units;
    let brought = row.units > 0 && matches!(row.cause, FeedCause::Refill | FeedCause::Recalled);
    after.counters == counters
        && after.active == before.active
        && after.mark == (before.mark && !brought)
}

impl Checker {
    /// Checks how a call changed a slot with counted stock.
    pub(crate) fn slot_called(
        &mut self,
        call: &Call,
        reply: &SlotReply,
        (before, after): (Option<&SlotView>, Option<&SlotView>),
        threshold: u64,
    ) {
        let (Some(before), Some(after)) = (before, after) else { return };
        if matches!(call, Call::Swap) {
            return;
        }
        if before.grant != after.grant || before.epoch != after.epoch {
            return;
        }
        let fine = match (call, reply) {
            (Call::Ticket(request), SlotReply::Ticket(TicketAnswer::Issued(_))) => {
                deducted(before, after, request.units.to_u64(), threshold)
            }
            (Call::Recall(..), SlotReply::RecallOutcome(RecallOutcome::Taken(_))) => {
                recalled(before, after)
            }
            (Call::Apply(_, row), SlotReply::ApplyOutcome(ApplyOutcome::At(at)))
                if *at > before.applied =>
            {
                applied(before, after, row)
            }
            _ => {
                after.counters == before.counters
                    && after.active == before.active
                    && after.mark == before.mark
            }
        };
        self.check(fine, "counters", || {
            format!(
                "the call {call:?} wrongly changed the slot from {before:?} to {after:?}; the \
                 threshold is {threshold}"
            )
        });
        if after.active != before.active {
            self.count_case("flipped");
        }
    }

    /// Checks the units that an item's new slots get. If the stock is too small for the initial
    /// portions, the new slots must get equal parts.
    pub(crate) fn initial_portions_given(&mut self, spread: &Spread, total: u64, shares: &[u64]) {
        let (least, most) =
            (shares.iter().min().copied().unwrap_or(0), shares.iter().max().copied().unwrap_or(0));
        let all = total.min(spread.initial * shares.len() as u64);
        let fair = most - least <= 1 && shares.iter().sum::<u64>() == all;
        self.check(fair, "warm-up", || {
            format!(
                "the new slots got the unfair parts {shares:?} of {total} units; the spread is \
                 {spread:?}"
            )
        });
    }

    pub(crate) fn portion(
        &mut self,
        spread: &Spread,
        view: &SlotView,
        (pool, on_its_way): (u64, u64),
        (counter, units): (Counter, u64),
    ) {
        self.count_case("refilled");
        let (active, other) = active_and_other(view);
        let low = other < spread.threshold && (view.mark || active < spread.threshold);
        let small = units > 0 && units <= spread.refill && units <= pool;
        let fine = low && small && on_its_way == 0 && counter != view.active;
        self.check(fine, "portion", || {
            format!(
                "a refill of {units} units for {counter:?} must not go to {view:?} with \
                 {spread:?}; the pool has {pool} units, and {on_its_way} units are on their way"
            )
        });
    }

    /// Checks the registry, which lists the partitions to which nodes send requests. The registry
    /// must list a partition if and only if the pool or this partition has units.
    pub(crate) fn partitions_listed(&mut self, pool: u64, levels: &[u64], listed: &[bool]) {
        let right =
            levels.iter().zip(listed).all(|(&level, &listed)| listed == (pool > 0 || level > 0));
        self.check(right, "registry", || {
            format!(
                "the registry is wrong: the pool has {pool} units, and the partitions have \
                 {levels:?} units; is each partition listed: {listed:?}"
            )
        });
        if listed.contains(&false) {
            self.count_case("left the registry");
        }
    }

    /// Checks the partition of a request's second try. The second try must use the fullest of the
    /// partitions that the first try did not use.
    pub(crate) fn second_try_made(&mut self, first: u32, second: Option<u32>, levels: &[u64]) {
        let Some(second) = second else { return };
        self.count_case("second try");
        let others = (0..).zip(levels).filter(|&(i, _)| i != first);
        let fullest = others.map(|(_, &level)| level).max();
        let right = second != first && levels.get(second as usize).copied() == fullest;
        self.check(right, "second try", || {
            format!(
                "the first try went to partition {first}, and the second to partition {second}, \
                 although another partition has more units; the units by partition: {levels:?}"
            )
        });
    }

    /// Checks a leader's decision about a slot that left its item's spread. The leader must
    /// immediately recall the slot's units. It may close the slot's grant only after every ticket
    /// of the slot is settled.
    pub(crate) fn leaves_spread(&mut self, store: &SimStore, decision: &Decision) {
        let Decision { grant, view, is_recalled, step } = decision;
        let view = view.as_ref();
        let Some(view) = view.filter(|v| v.grant == grant.id && v.epoch == grant.epoch) else {
            return;
        };
        let of_grant = self.issued.iter().filter(|(_, ticket)| ticket.grant == grant.id);
        let seen = of_grant.filter(|(id, _)| id.parts().is_some_and(|p| p.n <= view.n));
        let undecided = seen.filter(|(id, _)| store.verdict(id).is_none()).count();
        let closes = *step == SlotDrainStep::Close;
        if closes {
            self.count_case("left the spread");
        }
        let drained = undecided == 0 && view.stopped;
        self.check(!closes || drained || self.is_faulty(grant.id), "leave", || {
            format!(
                "the leader closes {grant:?}, although {undecided} tickets are undecided: \
                 {view:?}"
            )
        });
        let withheld = view.stopped && grant.counted && view.available > 0 && !is_recalled;
        let idle = *step == SlotDrainStep::Wait;
        self.check(!(withheld && idle && undecided > 0), "withheld", || {
            format!(
                "the leader does not recall {} units of {grant:?} while {undecided} tickets are \
                 undecided",
                view.available
            )
        });
    }

    pub(crate) fn left_slots_at_rest(&mut self, store: &SimStore, left: &[SlotKey]) {
        let open = store.model.grants.values().find(|g| g.open && left.contains(&g.slot));
        if let Some(grant) = open {
            self.record_finding("leave", || {
                format!("a slot outside the spread has an open grant: {grant:?}")
            });
        }
    }

    /// Checks that every new slot has units. The check passes if an equal part of the units is too
    /// small for the largest request (`limit` units). `initial` is 0 if sub-domains are not in use.
    pub(crate) fn shares_at_rest(
        &mut self,
        item: ItemId,
        limit: u64,
        initial: u64,
        shares: &[SpreadSlot],
    ) {
        let all: u64 = shares.iter().map(|share| share.available).sum();
        let average = all / (shares.len() as u64).max(1);
        let part = if initial > 0 { average.min(initial) } else { average };
        let empty = shares.iter().find(|share| share.is_new && share.available == 0);
        let served = part < limit.max(1) || empty.is_none();
        self.check(served, "share", || {
            format!("a new slot of item {item} got no units: {empty:?}; all slots: {shares:?}")
        });
    }

    /// Checks the partition of a request's first try. If the registry lists any partition, it must
    /// list this one.
    pub(crate) fn first_try_made(&mut self, is_listed: bool, is_registry_empty: bool) {
        self.check(is_listed || is_registry_empty, "first try", || {
            "a request went to a partition without units while another partition has units".into()
        });
    }

    /// Checks the invariant I9: at most `tight` requests are parked. If `tight` is 0, the number of
    /// parked requests is not checked.
    pub(crate) fn parked(&mut self, parked: usize, tight: u8) {
        self.check(tight == 0 || parked <= usize::from(tight), "I9", || {
            format!("{parked} requests are parked, but the bound is {tight}")
        });
    }

    pub(crate) fn lease_lapsed(&mut self, node: u32, until: Option<Millis>, now: Millis) {
        self.count_case("lease found lapsed");
        self.check(until.is_none_or(|until| until < now), "lease", || {
            format!("node {node} had a lease until {until:?}, but its grant was closed at {now}")
        });
    }
}
