//! How a spread changes while its sale runs: slots that left the spread are drained, and slots that
//! joined it get their part of the stock.
//!
//! The spread in the store says where an item's slots are. Everything here follows from it and from
//! the open grants, so a leader that stops in the middle loses nothing: the next one continues.
//! Safety does not depend on these decisions. Closing a grant is safe at any time, because its
//! unsettled units go back to the pool and its later tickets are returned. A drain is for buyers: a
//! ticket that was issued before is settled.
use crate::limits::PARTITIONS_MAX;
use crate::rows::Grant;
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::spread::Spread;
use crate::value::SlotKey;

/// The next step for a slot that is no longer in its item's spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveStep {
    /// Stop the slot, so that it issues no more tickets.
    Stop,
    /// Recall these units to the pool at once: the other slots sell them while tickets settle.
    Recall(u64),
    /// Wait: tickets that the slot issued are not settled yet.
    Wait,
    /// Close the grant, which returns the remaining units to the pool.
    Close,
}

/// The next step for a slot with this open grant that left the spread.
///
/// Read the grant *after* the view: then the grant counts every ticket that the view shows as
/// acknowledged. `view` is `None` if the slot did not answer or has no epoch. `is_recalled`: a
/// recall from this grant is pending. `is_overdue`: the drain has taken as long as it may.
#[must_use]
pub fn leave_step(
    grant: &Grant,
    view: Option<&SlotView>,
    is_recalled: bool,
    is_overdue: bool,
) -> LeaveStep {
    if !enforces(Rule::LeaveCloses) {
        return LeaveStep::Wait;
    }
    if is_overdue || !enforces(Rule::LeaveDrains) {
        return LeaveStep::Close;
    }
    let own = view.filter(|view| view.grant == grant.id && view.epoch == grant.epoch);
    let Some(view) = own else {
        // A grant that no slot has accepted has no tickets.
        return if grant.acked { LeaveStep::Wait } else { LeaveStep::Close };
    };
    if !view.stopped {
        return LeaveStep::Stop;
    }
    if is_drained(grant, view) {
        return LeaveStep::Close;
    }
    if grant.counted && view.available > 0 && !is_recalled && enforces(Rule::LeaveRecalls) {
        return LeaveStep::Recall(view.available);
    }
    LeaveStep::Wait
}

/// Whether every ticket of a stopped slot is settled under this grant.
#[must_use]
pub fn is_drained(grant: &Grant, view: &SlotView) -> bool {
    let same = view.grant == grant.id && view.epoch == grant.epoch;
    same && view.stopped && view.unacknowledged == 0 && view.n.0 <= grant.resolved
}

/// The slots that left the spread and that a request asks before it is refused after parking: all
/// of them, because an earlier try of the request may be undecided in any.
#[must_use]
pub fn last_tries<T>(leaving: &[T]) -> &[T] {
    if enforces(Rule::LastTryAsksLeaving) { leaving } else { &[] }
}

/// One slot of a spread that got wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotShare {
    /// The slot.
    pub slot: SlotKey,
    /// Units that it can issue tickets for.
    pub available: u64,
    /// Whether its grant never had units, and none are on their way to it.
    pub is_new: bool,
    /// Whether a recall from it is pending. Until it finishes, no other recall is begun.
    pub asked: bool,
}

/// Units that move from one slot to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareMove {
    /// The slot that gives them.
    pub from: SlotKey,
    /// The new slot.
    pub into: SlotKey,
    /// The most units to take.
    pub units: u64,
}

/// The recalls that give new slots their part while the pool is empty.
///
/// `least` is the largest request (the item's limit). A part is the average of all slots, at most
/// `initial` where sub-domains are in use, and at least `least`: smaller parts would only have to
/// be gathered again. No slot gives more than it has above the average. A slot that ever had units
/// gets nothing here, so units do not move to and fro.
#[must_use]
pub fn shares_for_new_slots(
    spread: &Spread,
    least: u64,
    pool: u64,
    slots: &[SlotShare],
) -> Vec<ShareMove> {
    let mut moves = Vec::new();
    if pool > 0 || !enforces(Rule::NewSlotGetsShare) {
        return moves;
    }
    let most = if spread.uses_sub_domains() { spread.initial } else { u64::MAX };
    let all: u64 = slots.iter().map(|share| share.available).sum();
    let average = all / (slots.len() as u64).max(1);
    let part = average.min(most);
    if part < least.max(1) {
        return moves;
    }
    let mut givers: Vec<(SlotKey, u64)> = slots
        .iter()
        .filter(|share| !share.asked && share.available > average)
        .map(|share| (share.slot, share.available - average))
        .collect();
    givers.sort_by_key(|&(slot, spare)| (u64::MAX - spare, slot));
    for new in slots.iter().filter(|share| share.is_new && share.available == 0) {
        let mut lacks = part;
        for (from, spare) in &mut givers {
            let units = lacks.min(*spare);
            if units > 0 {
                moves.push(ShareMove { from: *from, into: new.slot, units });
                *spare -= units;
                lacks -= units;
            }
        }
    }
    moves
}

/// Tickets a second at one slot from which it counts as the bottleneck of its item.
pub const HOT_TICKETS_PER_SEC: u64 = 8_000;
/// How long a slot must stay that busy.
pub const HOT_MS: i64 = 3_000;
/// How long the number of partitions rests after it changed.
pub const WIDEN_REST_MS: i64 = 10_000;

/// Watches an item whose number of partitions is automatic. It only ever widens, and rests after
/// each change, so the number does not go up and down with the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoWidth {
    /// Since when a slot has been busy.
    hot_since: Option<i64>,
    /// When the number of partitions last changed.
    changed: Option<i64>,
}

impl AutoWidth {
    /// Takes one look at an item and returns the number of partitions that it should have, if it
    /// should have more.
    ///
    /// `busiest` is the number of tickets that the busiest slot issued in each second since the
    /// last look. `free` are the units that the item can still sell, `None` for unlimited stock,
    /// and `least` is the largest request. `now_ms` may be of any clock that does not go back.
    pub fn look(
        &mut self,
        partitions: u32,
        busiest: u64,
        (free, least): (Option<u64>, u64),
        now_ms: i64,
    ) -> Option<u32> {
        if busiest < HOT_TICKETS_PER_SEC {
            self.hot_since = None;
            return None;
        }
        let since = *self.hot_since.get_or_insert(now_ms);
        let wider = partitions.saturating_mul(2).min(PARTITIONS_MAX);
        let rests = self.changed.is_some_and(|at| now_ms - at < WIDEN_REST_MS);
        // Narrow parts would only have to be gathered again.
        let suffices = free.is_none_or(|free| free / u64::from(wider) >= least.max(1));
        if now_ms - since < HOT_MS || rests || wider <= partitions || !suffices {
            return None;
        }
        (self.hot_since, self.changed) = (None, Some(now_ms));
        Some(wider)
    }
}

/// The number of partitions that an item starts with if it is automatic: two for each primary
/// server that holds slots.
#[must_use]
pub fn automatic_partitions(primaries: usize) -> u32 {
    u32::try_from(primaries.saturating_mul(2)).unwrap_or(PARTITIONS_MAX).clamp(1, PARTITIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::Counter;
    use crate::value::{Epoch, GrantId, ItemId, Seq, TicketN};

    fn key(index: u32) -> SlotKey {
        SlotKey { item: ItemId(1), index }
    }

    fn grant(resolved: u64, acked: bool) -> Grant {
        Grant {
            id: GrantId(7),
            slot: key(5),
            epoch: Epoch(2),
            granted: 20,
            settled: 4,
            counted: true,
            open: true,
            acked,
            max_n: TicketN(resolved),
            resolved,
            feed_len: Seq(0),
            closed: None,
        }
    }

    fn view(available: u64, n: u64, unacknowledged: usize, stopped: bool) -> SlotView {
        SlotView {
            grant: GrantId(7),
            epoch: Epoch(2),
            available,
            counters: [available, 0],
            active: Counter::A,
            mark: false,
            applied: Seq(0),
            n: TicketN(n),
            unacknowledged,
            stopped,
            sealed: false,
        }
    }

    #[test]
    fn a_slot_that_leaves_is_stopped_emptied_and_closed_after_its_last_ticket() {
        let step = |view: &SlotView, resolved, recalled| {
            leave_step(&grant(resolved, true), Some(view), recalled, false)
        };
        assert_eq!(step(&view(10, 6, 2, false), 4, false), LeaveStep::Stop);
        assert_eq!(step(&view(10, 6, 2, true), 4, false), LeaveStep::Recall(10));
        assert_eq!(step(&view(10, 6, 2, true), 4, true), LeaveStep::Wait);
        assert_eq!(step(&view(0, 6, 2, true), 4, false), LeaveStep::Wait);
        assert_eq!(
            step(&view(0, 6, 0, true), 5, false),
            LeaveStep::Wait,
            "the grant was read early"
        );
        assert_eq!(step(&view(0, 6, 0, true), 6, false), LeaveStep::Close);
        assert_eq!(step(&view(9, 6, 0, true), 6, false), LeaveStep::Close, "closing returns units");
    }

    #[test]
    fn a_slot_that_does_not_answer_is_closed_when_its_drain_is_overdue() {
        assert_eq!(leave_step(&grant(4, true), None, false, false), LeaveStep::Wait);
        assert_eq!(leave_step(&grant(4, true), None, false, true), LeaveStep::Close);
        assert_eq!(leave_step(&grant(0, false), None, false, false), LeaveStep::Close);
        let foreign = SlotView { epoch: Epoch(1), ..view(3, 6, 0, true) };
        assert_eq!(leave_step(&grant(6, true), Some(&foreign), false, false), LeaveStep::Wait);
    }

    fn shares(units: &[u64], new_from: usize) -> Vec<SlotShare> {
        let one = |(i, &available): (usize, &u64)| SlotShare {
            slot: key(i as u32),
            available,
            is_new: i >= new_from,
            asked: false,
        };
        units.iter().enumerate().map(one).collect()
    }

    #[test]
    fn new_slots_get_equal_parts_of_what_the_others_have() {
        let plan = |least, units: &[u64], new_from| -> Vec<(u32, u32, u64)> {
            shares_for_new_slots(&Spread::default(), least, 0, &shares(units, new_from))
                .into_iter()
                .map(|part| (part.from.index, part.into.index, part.units))
                .collect()
        };
        assert_eq!(plan(1, &[80, 0, 0, 0], 1), [(0, 1, 20), (0, 2, 20), (0, 3, 20)]);
        assert_eq!(plan(1, &[50, 30, 0, 0], 2), [(0, 2, 20), (0, 3, 10), (1, 3, 10)]);
        assert_eq!(plan(21, &[80, 0, 0, 0], 1), [], "smaller than a request");
        assert_eq!(plan(1, &[80, 0, 0, 0], 4), [], "a slot that sold out is not new");
        let portions = Spread { initial: 5, threshold: 2, refill: 5, ..Spread::default() };
        let small = shares_for_new_slots(&portions, 1, 0, &shares(&[80, 0], 1));
        assert_eq!(small.iter().map(|part| part.units).collect::<Vec<_>>(), [5]);
        assert_eq!(shares_for_new_slots(&Spread::default(), 1, 1, &shares(&[80, 0], 1)), []);
    }

    #[test]
    fn a_slot_with_a_pending_recall_gives_nothing_more() {
        let mut some = shares(&[80, 40, 0, 0], 2);
        some[0].asked = true;
        let plan = shares_for_new_slots(&Spread::default(), 1, 0, &some);
        assert_eq!(
            plan.iter().map(|part| (part.from.index, part.units)).collect::<Vec<_>>(),
            [(1, 10)]
        );
    }

    #[test]
    fn an_automatic_number_doubles_while_one_slot_stays_hot_and_then_rests() {
        let mut auto = AutoWidth::default();
        let mut width = 2;
        let mut changes = Vec::new();
        for second in 0..60 {
            if let Some(wider) = auto.look(width, HOT_TICKETS_PER_SEC, (None, 1), second * 1_000) {
                width = wider;
                changes.push((second, width));
            }
        }
        assert_eq!(changes, [(3, 4), (13, 8), (23, 16), (33, 32), (43, 64)]);
    }

    #[test]
    fn an_automatic_number_never_oscillates() {
        let mut auto = AutoWidth::default();
        for second in 0..100 {
            let load = HOT_TICKETS_PER_SEC * u64::from(second % 3 != 2);
            assert_eq!(auto.look(4, load, (None, 1), second * 1_000), None, "short peaks");
        }
        let mut auto = AutoWidth::default();
        for second in 0..100 {
            let few = (Some(79), 10);
            assert_eq!(auto.look(4, 1_000_000, few, second * 1_000), None, "few units");
            assert_eq!(auto.look(64, 1_000_000, (None, 1), second * 1_000), None, "the most");
        }
    }

    #[test]
    fn an_automatic_item_starts_with_two_partitions_for_each_primary() {
        assert_eq!([0, 1, 3, 32, 500].map(automatic_partitions), [1, 2, 6, 64, 64]);
    }
}
