//! Decides the steps after an item's spread was changed while its sale runs. Slots that are no
//! longer in the spread are drained, and new slots get a part of the stock.
//!
//! All decisions here follow from the spread in the store and the open grants. So if a leader stops
//! before the change is complete, the next leader completes it. The decisions affect only speed: a
//! grant can be closed at any time, because its unsettled units and tickets are then returned.
use crate::limits::{PARTITIONS_MAX, SETTLE_BATCH_MAX};
use crate::rows::Grant;
use crate::rules::{Rule, enforces};
use crate::slot::SlotView;
use crate::spread::Spread;
use crate::value::SlotKey;

/// The next step for a slot that is no longer in its item's spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotDrainStep {
    /// Stop the slot, so that it issues no more tickets.
    Stop,
    /// Recall these units to the pool immediately, so that other slots can sell the units while
    /// this slot's tickets are settled.
    Recall(u64),
    /// Wait, because tickets that the slot issued are not settled yet.
    Wait,
    /// Close the grant, which returns the remaining units to the pool.
    Close,
}

/// Returns the next step for a slot that is no longer in the spread and still has this open grant.
///
/// Read the grant *after* the view, so that the grant counts every ticket that the view shows as
/// acknowledged. `view` is `None` if the slot did not answer or has no epoch. `is_recalled` says
/// whether a recall from this grant is pending. `is_overdue` says whether the drain has lasted too
/// long.
#[must_use]
pub fn slot_drain_step(
    grant: &Grant,
    view: Option<&SlotView>,
    is_recalled: bool,
    is_overdue: bool,
) -> SlotDrainStep {
    if !enforces(Rule::LeaveCloses) {
        return SlotDrainStep::Wait;
    }
    if is_overdue || !enforces(Rule::LeaveDrains) {
        return SlotDrainStep::Close;
    }
    let own = view.filter(|view| view.grant == grant.id && view.epoch == grant.epoch);
    let Some(view) = own else {
        // If the slot never acknowledged the grant, the slot issued no tickets under it.
        return if grant.acked { SlotDrainStep::Wait } else { SlotDrainStep::Close };
    };
    if !view.stopped {
        return SlotDrainStep::Stop;
    }
    if is_drained(grant, view) {
        return SlotDrainStep::Close;
    }
    if grant.counted && view.available > 0 && !is_recalled && enforces(Rule::LeaveRecalls) {
        return SlotDrainStep::Recall(view.available);
    }
    SlotDrainStep::Wait
}

/// Returns whether a slot has this grant, is stopped, and has no unsettled tickets under the grant.
#[must_use]
pub fn is_drained(grant: &Grant, view: &SlotView) -> bool {
    let same = view.grant == grant.id && view.epoch == grant.epoch;
    same && view.stopped && view.unacknowledged == 0 && view.n.0 <= grant.resolved
}

/// Returns the slots to which a parked request also goes in its last try: all slots that are
/// leaving the spread. An earlier try may have a ticket in any of them.
#[must_use]
pub fn last_tries<T>(leaving: &[T]) -> &[T] {
    if enforces(Rule::LastTryAsksLeaving) { leaving } else { &[] }
}

/// A slot of an item whose spread has got more partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpreadSlot {
    /// The slot.
    pub slot: SlotKey,
    /// Units that the slot can issue tickets for.
    pub available: u64,
    /// Whether the slot is new: its grant has no units, and no pending recall brings units.
    pub is_new: bool,
    /// Whether a recall of units from the slot is pending. Until that recall finishes, the slot
    /// gets no other recall.
    pub asked: bool,
}

/// Units that move from one slot to a new slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareMove {
    /// The slot that gives the units.
    pub from: SlotKey,
    /// The new slot.
    pub into: SlotKey,
    /// The most units to take.
    pub units: u64,
}

/// Returns the recalls that give each new slot a part of the other slots' units. If the pool has
/// units, returns none, because the new slots then get units from the pool.
///
/// - A part is the average number of units in the slots, but at most `initial` if sub-domains are
///   in use.
/// - If a part would be smaller than `least` (the item's limit), no units are moved. With smaller
///   parts, the server would have to gather units from several slots for the largest request.
/// - A slot gives at most the units that it has above the average.
/// - A slot that is not new gets nothing, so that units do not move back and forth.
#[must_use]
pub fn shares_for_new_slots(
    spread: &Spread,
    least: u64,
    pool: u64,
    slots: &[SpreadSlot],
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

/// A slot is the bottleneck of its item if at least this many of its tickets wait to be settled.
/// This is two full batches: one is being settled, and the other waits.
pub const HOT_TICKETS: u64 = 2 * SETTLE_BATCH_MAX as u64;
/// If a slot stays the bottleneck for this many milliseconds, its item gets more partitions.
pub const HOT_MS: i64 = 3_000;
/// After a change, the number of partitions stays the same for at least this many milliseconds.
pub const WIDEN_REST_MS: i64 = 10_000;

/// Decides when an item needs more partitions, if the server chooses the number of partitions. The
/// number never falls, and stays the same for a time after each change. So the number does not
/// follow every change of the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoWidth {
    /// Since when a slot of the item has been the bottleneck (monotonic milliseconds). `None` if no
    /// slot is the bottleneck.
    hot_since: Option<i64>,
    /// When the number of partitions last changed.
    changed: Option<i64>,
}

impl AutoWidth {
    /// Call this regularly. Returns a larger number of partitions if the item needs more. The
    /// caller then changes the number and calls [`AutoWidth::confirm`]. Until the caller has
    /// confirmed the change, further calls may return the larger number again.
    ///
    /// `waiting` is the number of tickets that wait to be settled, in the slot that has the most of
    /// them. `free` is the number of units that the item can still sell; `None` for unlimited
    /// stock. `least` is the number of units in the largest allowed request. `now_ms` comes from a
    /// monotonic clock.
    pub fn observe_load(
        &mut self,
        partitions: u32,
        waiting: u64,
        (free, least): (Option<u64>, u64),
        now_ms: i64,
    ) -> Option<u32> {
        if waiting < HOT_TICKETS {
            self.hot_since = None;
            return None;
        }
        let since = *self.hot_since.get_or_insert(now_ms);
        let wider = partitions.saturating_mul(2).min(PARTITIONS_MAX);
        let rests = self.changed.is_some_and(|at| now_ms - at < WIDEN_REST_MS);
        // If a partition had fewer units than the largest request, the server would have to gather
        // units for such a request.
        let suffices = free.is_none_or(|free| free / u64::from(wider) >= least.max(1));
        let is_due = now_ms - since >= HOT_MS && !rests && wider > partitions && suffices;
        is_due.then_some(wider)
    }

    /// Records that the number of partitions changed.
    pub fn confirm(&mut self, now_ms: i64) {
        (self.hot_since, self.changed) = (None, Some(now_ms));
    }
}

/// Returns the initial number of partitions of an item, if the server chooses the number: two for
/// each Redis primary with slots.
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
            slot_drain_step(&grant(resolved, true), Some(view), recalled, false)
        };
        assert_eq!(step(&view(10, 6, 2, false), 4, false), SlotDrainStep::Stop);
        assert_eq!(step(&view(10, 6, 2, true), 4, false), SlotDrainStep::Recall(10));
        assert_eq!(step(&view(10, 6, 2, true), 4, true), SlotDrainStep::Wait);
        assert_eq!(step(&view(0, 6, 2, true), 4, false), SlotDrainStep::Wait);
        assert_eq!(
            step(&view(0, 6, 0, true), 5, false),
            SlotDrainStep::Wait,
            "the grant does not count the last ticket yet, so the drain must wait"
        );
        assert_eq!(step(&view(0, 6, 0, true), 6, false), SlotDrainStep::Close);
        assert_eq!(
            step(&view(9, 6, 0, true), 6, false),
            SlotDrainStep::Close,
            "a slot that is being drained must be closed, even if units are left in it"
        );
    }

    #[test]
    fn a_slot_that_does_not_answer_is_closed_when_its_drain_is_overdue() {
        assert_eq!(slot_drain_step(&grant(4, true), None, false, false), SlotDrainStep::Wait);
        assert_eq!(slot_drain_step(&grant(4, true), None, false, true), SlotDrainStep::Close);
        assert_eq!(slot_drain_step(&grant(0, false), None, false, false), SlotDrainStep::Close);
        let foreign = SlotView { epoch: Epoch(1), ..view(3, 6, 0, true) };
        assert_eq!(
            slot_drain_step(&grant(6, true), Some(&foreign), false, false),
            SlotDrainStep::Wait
        );
    }

    fn shares(units: &[u64], new_from: usize) -> Vec<SpreadSlot> {
        let one = |(i, &available): (usize, &u64)| SpreadSlot {
            slot: key(i as u32),
            available,
            is_new: i >= new_from,
            asked: false,
        };
        units.iter().enumerate().map(one).collect()
    }

    #[test]
    fn new_slots_get_equal_parts_of_the_other_slots_units() {
        let plan = |least, units: &[u64], new_from| -> Vec<(u32, u32, u64)> {
            shares_for_new_slots(&Spread::default(), least, 0, &shares(units, new_from))
                .into_iter()
                .map(|part| (part.from.index, part.into.index, part.units))
                .collect()
        };
        assert_eq!(plan(1, &[80, 0, 0, 0], 1), [(0, 1, 20), (0, 2, 20), (0, 3, 20)]);
        assert_eq!(plan(1, &[50, 30, 0, 0], 2), [(0, 2, 20), (0, 3, 10), (1, 3, 10)]);
        assert_eq!(
            plan(21, &[80, 0, 0, 0], 1),
            [],
            "no units may move if a part would be smaller than a request"
        );
        assert_eq!(
            plan(1, &[80, 0, 0, 0], 4),
            [],
            "a slot that sold all its units must not count as new"
        );
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
    fn an_automatic_number_of_partitions_doubles_while_one_slot_stays_busy() {
        let mut auto = AutoWidth::default();
        let mut width = 2;
        let mut changes = Vec::new();
        for second in 0..60 {
            if let Some(wider) = auto.observe_load(width, HOT_TICKETS, (None, 1), second * 1_000) {
                auto.confirm(second * 1_000);
                width = wider;
                changes.push((second, width));
            }
        }
        assert_eq!(changes, [(3, 4), (13, 8), (23, 16), (33, 32), (43, 64)]);
    }

    #[test]
    fn a_change_that_failed_is_proposed_again_at_the_next_check() {
        let mut auto = AutoWidth::default();
        let mut observe =
            |second: i64| auto.observe_load(2, HOT_TICKETS, (None, 1), second * 1_000);
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(&mut observe),
            [None, None, None, Some(4), Some(4), Some(4)]
        );
    }

    #[test]
    fn an_automatic_number_of_partitions_never_oscillates() {
        let mut auto = AutoWidth::default();
        for second in 0..100 {
            let load = HOT_TICKETS * u64::from(second % 3 != 2);
            assert_eq!(auto.observe_load(4, load, (None, 1), second * 1_000), None, "short peaks");
        }
        let mut auto = AutoWidth::default();
        for second in 0..100 {
            let few = (Some(79), 10);
            assert_eq!(auto.observe_load(4, 1_000_000, few, second * 1_000), None, "few units");
            assert_eq!(
                auto.observe_load(64, 1_000_000, (None, 1), second * 1_000),
                None,
                "the most"
            );
        }
    }

    #[test]
    fn an_automatic_item_starts_with_two_partitions_for_each_primary() {
        assert_eq!([0, 1, 3, 32, 500].map(automatic_partitions), [1, 2, 6, 64, 64]);
    }
}
