//! Ends a simulated sale: faults stop, every message arrives, and every loop runs until nothing
//! changes. Then new buyers buy.
use doorbuster_core::ItemId;
use doorbuster_core::limits::{DECIDE_WITHIN_MS, PARK_MS, SETTLE_BATCH_MAX, VERDICT_GRACE_MS};
use doorbuster_core::slot::TicketAnswer;
use doorbuster_steps::purchase::Input;

use super::World;
use crate::state::{Attempt, AttemptState};

/// The largest number of rounds in which all loops must finish their work.
const ROUNDS_MAX: usize = 40;
/// In each round, a slot that left the spread is drained this many times. Together, these drains
/// stop the slot, empty it, and close its grant.
const LEAVE_STEPS: usize = 3;

/// A summary of the sale's state. If the summary is equal before and after a round, the round
/// changed nothing.
#[derive(PartialEq, Eq)]
struct Signature {
    version: u64,
    attempts: usize,
    open: usize,
    slots: u64,
}

impl World {
    pub(super) fn quiesce(&mut self) {
        for node in &mut self.nodes {
            node.skew_ms = 0;
        }
        self.open_at_rest();
        self.leases_at_rest();
        self.pause_after_failover();
        self.run_until_stable();
        while !self.late.is_empty() && !self.checker.has_finding() {
            self.deliver_delayed(0);
        }
        self.run_until_stable();
        self.resume_after_failover();
        self.hand_out_remaining();
        self.decide_remaining();
        self.run_until_stable();
        self.payments_at_rest();
        self.run_until_stable();
        let living =
            (0..self.places.len()).filter(|&slot| !self.is_gone(slot) && self.is_in_spread(slot));
        let slots: Vec<_> =
            living.map(|i| (self.places[i].at, self.places[i].slot.view())).collect();
        let lost_slots = (0..self.places.len())
            .filter(|&slot| self.is_gone(slot))
            .map(|i| self.places[i].at)
            .collect::<Vec<_>>();
        self.checker.lost_slots_at_rest(&self.store, &lost_slots);
        self.checker.slots_at_rest(&self.store, &slots);
        self.spreads_at_rest();
        self.checker.verdicts_at_rest(&self.store);
        self.checker.waitlists_at_rest(&self.store);
        for item in 0..self.setup.items.len() {
            if !self.checker.has_finding() {
                self.ask_at_rest(ItemId(item as i64 + 1));
            }
        }
        if !self.checker.has_finding() {
            self.end_payment_windows();
        }
        if !self.checker.has_finding() {
            self.deliveries_at_rest();
        }
    }

    fn signature(&self) -> Signature {
        let weight = |a: &super::Attempt| match a.state {
            AttemptState::Over => 0,
            AttemptState::Asking { .. } => 1,
            AttemptState::Waiting { .. } => 1_000,
            AttemptState::Parked { .. } => 1_000_000,
            AttemptState::Confirming => 1_000_000_000,
            AttemptState::Handed { .. } => 1_000_000_000_000,
        };
        let open = self.attempts.iter().map(weight).sum();
        let slot = |p: &super::PlacedSlot| {
            p.slot.view().map_or(0, |v| {
                v.available
                    + 1_000 * v.applied.0
                    + 1_000_000 * (v.n.0 + 100 * v.unacknowledged as u64)
            })
        };
        let slots = self.places.iter().map(slot).sum();
        Signature { version: self.store.version, attempts: self.attempts.len(), open, slots }
    }

    /// Runs rounds until a round changes nothing.
    pub(super) fn run_until_stable(&mut self) {
        self.deliver_all();
        for slot in 0..self.places.len() {
            self.redeliver(slot as u8);
        }
        for _ in 0..ROUNDS_MAX {
            let (before, asked) = (self.signature(), self.asked());
            self.round();
            if self.checker.has_finding() {
                return;
            }
            // Within one round, a purchase may ask a slot and then wait again. The purchase's state
            // then looks unchanged, although the purchase still has work.
            let has_asked = self.asked() != asked;
            if self.signature() == before && !self.end_pool_rests() && !self.end_parking(has_asked)
            {
                return;
            }
        }
        self.checker
            .record_finding("rest", || "after the last round, some loops still have work".into());
    }

    /// Returns how many questions the unfinished purchases have sent to slots and to the store.
    fn asked(&self) -> u64 {
        let open = self.attempts.iter().filter(|a| a.state != AttemptState::Over);
        open.map(|a| u64::from(a.asked)).sum()
    }

    /// Lets time pass until every node may take units from the pools again. Returns whether at
    /// least one node had to wait.
    fn end_pool_rests(&mut self) -> bool {
        let last = self.nodes.iter().flat_map(|node| node.pool_rests_until).max();
        let rests = last.is_some_and(|last| last > self.mono);
        self.mono = self.mono.max(last.unwrap_or(self.mono));
        rests
    }

    /// If a request is parked, or a request asked a slot in the last round (`has_asked`), lets the
    /// parking time pass and returns true. Otherwise, lets no time pass and returns false.
    fn end_parking(&mut self, has_asked: bool) -> bool {
        if !has_asked && !self.attempts.iter().any(|a| a.state.is_parked()) {
            return false;
        }
        self.mono = self.mono.plus(PARK_MS);
        for node in 0..self.nodes.len() {
            self.boot_snapshot(node);
        }
        for i in 0..self.attempts.len() {
            self.retry(i);
            self.deliver_all();
        }
        true
    }

    fn round(&mut self) {
        for slot in 0..self.places.len() {
            self.take(slot, SETTLE_BATCH_MAX);
        }
        self.deliver_all();
        for slot in 0..self.places.len() {
            if !self.is_in_spread(slot) {
                self.leave_at_rest(slot);
                continue;
            }
            if self.places[slot].slot.view().is_some_and(|v| v.sealed) {
                self.roll(0, slot);
                self.deliver_all();
            }
            self.start_loss_check(0, slot);
            self.deliver_all();
        }
        self.reconcile_items();
        let seat = self.running_node_from(0);
        self.close_lapsed_grants(seat);
        let pending: Vec<_> = self.store.pending().map(|r| r.id).collect();
        for id in pending {
            self.send_recall(0, id);
        }
        for item in 0..self.setup.items.len() {
            self.drain(0, ItemId(item as i64 + 1));
            self.reconcile_waitlist(0, ItemId(item as i64 + 1));
        }
        self.deliver_all();
        for node in 0..self.nodes.len() {
            self.boot_snapshot(node);
        }
        self.deliver_all();
        self.attempts_go_on();
    }

    /// Drains a slot that is no longer in its item's spread, as far as possible in one round.
    fn leave_at_rest(&mut self, slot: usize) {
        for _ in 0..LEAVE_STEPS {
            self.leave(0, slot);
            self.deliver_all();
            self.take(slot, SETTLE_BATCH_MAX);
            self.deliver_all();
        }
        self.start_loss_check(0, slot);
        self.deliver_all();
    }

    /// Lets every node reconcile the slots of every item, one after the other.
    fn reconcile_items(&mut self) {
        for item in 0..self.setup.items.len() {
            (0..self.setup.nodes)
                .for_each(|node| self.reconcile_item(node, ItemId(item as i64 + 1)));
        }
    }

    /// Lets a node reconcile the slots of an item. The node then retries the item's parked requests
    /// before another node can recall the units.
    fn reconcile_item(&mut self, node: u8, item: ItemId) {
        self.begin_round(node, item);
        self.deliver_all();
        for i in 0..self.attempts.len() {
            let Attempt { state, purchase, .. } = self.attempts[i];
            if state.is_parked() && purchase.node == node && purchase.item == item {
                self.retry(i);
                self.deliver_all();
            }
        }
    }

    /// Starts to gather the missing units for all parked requests at once, before any message
    /// arrives. Two recalls in opposite directions may then exchange the units of two slots, so
    /// that neither slot can serve its request. So the caller later serves the requests one by one,
    /// as if they had waited for different times.
    fn gather_at_once(&mut self) {
        for i in 0..self.attempts.len() {
            let Attempt { state, purchase, .. } = self.attempts[i];
            if !state.is_parked() {
                continue;
            }
            self.begin_round(purchase.node, purchase.item);
        }
        self.deliver_all();
    }

    fn attempts_go_on(&mut self) {
        self.rounds += 1;
        if self.rounds % 2 == 1 {
            self.gather_at_once();
        }
        for i in 0..self.attempts.len() {
            match self.attempts[i].state {
                AttemptState::Waiting { .. } | AttemptState::Handed { .. } => self.poll(i),
                // No message is in flight, so the slot's answer to this request was lost.
                AttemptState::Asking { .. } => self.drive(i, Input::Slot(TicketAnswer::NoEpoch)),
                AttemptState::Confirming => self.drive(i, Input::Elapsed),
                AttemptState::Parked { .. } => {
                    let purchase = self.attempts[i].purchase;
                    // The node with the parked request begins recalls. The other nodes then take
                    // the recalled units out of their slots.
                    for step in 0..=self.setup.nodes {
                        let node = (purchase.node + step) % self.setup.nodes;
                        self.reconcile_item(node, purchase.item);
                    }
                }
                AttemptState::Over => continue,
            }
            self.deliver_all();
        }
    }

    /// Answers each waiting buyer with the id of the buyer's ticket. If the ticket's slot was lost,
    /// the buyer can then ask for the verdict.
    fn hand_out_remaining(&mut self) {
        for i in 0..self.attempts.len() {
            if let AttemptState::Waiting { .. } = self.attempts[i].state {
                self.drive(i, Input::Elapsed);
            }
        }
        let waits = |a: &&super::Attempt| {
            !matches!(a.state, AttemptState::Over | AttemptState::Handed { .. })
        };
        let stuck = self.attempts.iter().find(waits).map(|a| (a.purchase, a.state));
        if let Some((purchase, state)) = stuck {
            self.checker.record_finding("answer", || {
                format!("{purchase:?} got no answer until the end of the run: {state:?}")
            });
        }
    }

    /// Lets buyers ask for the verdicts of their ids. By now, the `decide_by` of each ticket has
    /// passed, so tickets in lost slots get a forced verdict.
    fn decide_remaining(&mut self) {
        let due =
            self.checker.handed().iter().filter_map(|(id, _)| id.parts()).map(|p| p.decide_by);
        let last = due.max().unwrap_or(self.now).max(self.now.plus(DECIDE_WITHIN_MS));
        self.now = last.plus(VERDICT_GRACE_MS);
        for (id, buyer) in self.checker.handed().to_vec() {
            self.get_id(id, buyer);
        }
    }
}
