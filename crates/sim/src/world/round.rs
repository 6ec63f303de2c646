//! Performs the rounds in which nodes reconcile an item's slots with the store
//! ([`doorbuster_steps::slot_reconciliation`]). Also drains slots that left their item's spread
//! ([`doorbuster_steps::slot_drain`]).
use doorbuster_core::limits::PARTITIONS_MAX;
use doorbuster_core::rows::RecallTarget;
use doorbuster_core::{CloseCause, Grant, GrantId, ItemId, RecallId, Stock};
use doorbuster_core::{SlotKey, Units};
use doorbuster_steps::slot_drain::{self, SlotDrain};
use doorbuster_steps::slot_reconciliation::{
    Effect, Input, ItemView, OpenSlot, POOL_REST_MS, Portions, Refill, Round,
};

use super::World;
use crate::state::{AttemptState, Call, ItemRound, Message, SlotReply};
use crate::store::{PhaseRow, Tx, TxResult};

/// What a node knows about an item in a round. In the simulation, every node acts as the leader.
struct ItemAtNode<'a> {
    world: &'a mut World,
    node: u8,
    item: ItemId,
}

impl ItemAtNode<'_> {
    fn shared(&self) -> bool {
        self.world.places.iter().any(|place| place.at.item == self.item && place.node.is_none())
    }
}

impl ItemView for ItemAtNode<'_> {
    fn slots(&self) -> Vec<SlotKey> {
        let places = self.world.places.iter().enumerate();
        places
            .filter(|(i, place)| {
                place.at.item == self.item
                    && place.node.is_none_or(|node| node == self.node)
                    && self.world.is_in_spread(*i)
            })
            .map(|(_, place)| place.at)
            .collect()
    }

    fn is_in_spread(&self, slot: SlotKey) -> bool {
        self.world.place_of(slot).is_none_or(|slot| self.world.is_in_spread(slot))
    }

    fn reaches_all_slots(&self) -> bool {
        self.shared()
    }

    fn portions(&self) -> Portions {
        let spread = self.world.spread(self.item);
        let slots = self.world.places.iter().enumerate();
        let in_spread = slots
            .filter(|(i, place)| place.at.item == self.item && self.world.is_in_spread(*i))
            .count() as u32;
        let spread =
            doorbuster_core::Spread { partitions: in_spread.clamp(1, PARTITIONS_MAX), ..spread };
        let total = self.world.setup.items[self.item.0 as usize - 1].total;
        let total = total.map_or(Stock::Unlimited, |units| Stock::Counted(u64::from(units)));
        let nodes = (!self.shared()).then_some(u64::from(in_spread));
        Portions::new(spread, total, nodes)
    }

    fn limit(&self) -> u32 {
        u32::from(self.world.setup.items[self.item.0 as usize - 1].limit)
    }

    fn pool(&self) -> u64 {
        self.world.store.pool(self.item)
    }

    fn pool_rest_ms(&self) -> u64 {
        let until = self.world.nodes[usize::from(self.node)].pool_rests_until;
        until[self.item.0 as usize - 1].0.saturating_sub(self.world.mono.0).max(0).unsigned_abs()
    }

    fn rest_pool(&mut self) {
        self.world.checker.count_case("a node left the pool to others");
        let until = self.world.mono.plus(POOL_REST_MS);
        let node = &mut self.world.nodes[usize::from(self.node)];
        node.pool_rests_until[self.item.0 as usize - 1] = until;
    }

    /// Returns the first slot and the units of the parked request that has waited longest for
    /// units. If the slots are in nodes' memories, considers only the requests at this node.
    fn first_demand(&self) -> Option<(SlotKey, Units)> {
        let shared = self.shared();
        let waits = |a: &&super::Attempt| {
            matches!(a.state, AttemptState::Parked { is_short: true, .. })
                && a.purchase.item == self.item
                && (shared || a.purchase.node == self.node)
        };
        let all = self.world.attempts.iter().filter(waits);
        let first = all.min_by_key(|a| (a.parked, a.purchase.attempt))?;
        Some((self.world.places[first.home?].at, first.purchase.units))
    }

    fn leads(&self) -> bool {
        true
    }

    fn halts(&self) -> bool {
        !self.world.store.has_open_slots(self.item)
    }

    fn may_resume(&mut self, _: bool) -> bool {
        true
    }
}

impl World {
    pub(super) fn place_of(&self, slot: SlotKey) -> Option<usize> {
        let index = slot.index as usize;
        self.places.get(index).is_some_and(|place| place.at == slot).then_some(index)
    }

    pub(crate) fn begin_round(&mut self, node: u8, item: ItemId) {
        let row = self.store.phases.get(&item);
        if !row.is_some_and(PhaseRow::has_open_slots) || self.nodes[usize::from(node)].is_dead {
            return;
        }
        let (steps, effect) = Round::begin();
        let round = ItemRound::new(item, steps, effect);
        self.continue_round(node, Box::new(round));
    }

    /// Performs effects of the round. Before most effects, the round becomes a message, so that
    /// other actors can act before the effect.
    pub(crate) fn continue_round(&mut self, node: u8, mut round: Box<ItemRound>) {
        match self.perform_in_round(node, &mut round) {
            Some(input) => self.take_in_round(node, round, input),
            None => self.send(Message::Round { node, round }),
        }
    }

    /// Gives the round the result of its effect, and continues the round.
    fn take_in_round(&mut self, node: u8, mut round: Box<ItemRound>, input: Input) {
        let item = round.item;
        let mut view = ItemAtNode { world: self, node, item };
        round.effect = round.steps.next(input, &mut view);
        // New slots get a part of the units only if no request waits for units.
        let shares = view.first_demand().is_none();
        match &round.effect {
            Effect::BeginRecall { .. } if shares => {
                self.checker.count_case("shared with a new slot");
            }
            Effect::Distribute { pool, refills } => self.check_portions(&round, *pool, refills),
            Effect::StartSlots { .. }
            | Effect::DrainSlot(_)
            | Effect::RunAgain(_)
            | Effect::Record
            | Effect::Stop { .. } => return self.continue_round(node, round),
            Effect::Finish => return,
            _ => {}
        }
        self.send(Message::Round { node, round });
    }

    pub(super) fn slot_of_round(&self, round: &ItemRound) -> Option<usize> {
        match &round.effect {
            Effect::TakeUnits { from, .. } => self.place_of(from.slot),
            Effect::Feed(slots) => {
                self.place_of(slots.get(round.fed.len() + round.missed.len())?.grant.slot)
            }
            _ => None,
        }
    }

    /// A slot does not answer the round's call, and the round goes on without this slot. If `pick`
    /// is odd, the slot performed the call, and only its answer is lost. If the round's next effect
    /// calls no slot, the node drops the round.
    pub(super) fn lose_call_of_round(&mut self, node: u8, mut round: Box<ItemRound>, pick: u8) {
        if self.slot_of_round(&round).is_none() {
            return;
        }
        self.checker.count_case("a slot gave no answer in a round");
        let is_performed = pick % 2 == 1;
        let input = match &round.effect {
            Effect::TakeUnits { from, recall } => {
                if is_performed {
                    self.take_recalled(from, recall);
                }
                Some(Input::Taken(None))
            }
            Effect::Feed(slots) => {
                let slot = &slots[round.fed.len() + round.missed.len()];
                if is_performed {
                    self.feed_slot(&slot.grant, slot.view.applied);
                }
                round.missed.push(slot.grant.id);
                round.finish_feed()
            }
            _ => None,
        };
        match input {
            Some(input) => self.take_in_round(node, round, input),
            None => self.send(Message::Round { node, round }),
        }
    }

    /// Performs an effect, or one part of an effect with several parts. Returns `None` if parts of
    /// the effect remain.
    fn perform_in_round(&mut self, node: u8, round: &mut ItemRound) -> Option<Input> {
        Some(match &round.effect {
            Effect::ReadGrants => Input::Grants(self.grants_of(round.item)),
            Effect::ReadRecalls => Input::Recalls(self.store.pending().cloned().collect()),
            // If a slot lacks its open grant, the node begins to start the slot, and this round
            // ignores the slot.
            Effect::StartSlots { slots, .. } => {
                let slots = slots.clone();
                Input::Started(
                    slots.into_iter().filter_map(|s| self.start_for_round(node, s.slot)).collect(),
                )
            }
            Effect::DrainSlot(grant) => {
                if let Some(slot) = self.place_of(grant.slot) {
                    self.leave(node, slot);
                }
                Input::Drained(false)
            }
            Effect::TakeUnits { from, recall } => {
                Input::Taken(Some(self.take_recalled(from, recall)))
            }
            Effect::FinishRecall { recall, units } => {
                Input::Moved(self.finish_recall(*recall, *units))
            }
            Effect::Feed(slots) => {
                let mut slot = slots.get(round.fed.len() + round.missed.len())?.clone();
                if let Some(view) = self.feed_slot(&slot.grant, slot.view.applied) {
                    slot.view = view;
                }
                round.fed.push(slot);
                return round.finish_feed();
            }
            Effect::Distribute { refills, .. } => {
                let part = *refills.get(round.refilled.len())?;
                let given = self.refill_for_round(part);
                round.refilled.push(given);
                if round.refilled.len() < refills.len() {
                    return None;
                }
                Input::Refilled(std::mem::take(&mut round.refilled))
            }
            Effect::Gather(part) => Input::Refilled(vec![self.refill_for_round(*part)]),
            Effect::BeginRecall { from, into, units } => {
                Input::RecallBegun(self.recall_into(*from, RecallTarget::Grant(*into), *units))
            }
            // The simulator begins no further round by itself. Rounds are begun by the operations
            // of the list and by the end of the run.
            Effect::RunAgain(_) | Effect::Record | Effect::Finish => Input::Done,
            Effect::Stop { slot, stopped } => {
                if let Some(slot) = self.place_of(*slot) {
                    self.send(Message::Stop { slot, stopped: *stopped });
                }
                Input::Done
            }
        })
    }

    /// Returns the slot with its open grant. If the slot lacks this grant, begins to start the slot
    /// and returns `None`.
    fn start_for_round(&mut self, node: u8, slot: SlotKey) -> Option<OpenSlot> {
        let slot = self.place_of(slot)?;
        let place = &self.places[slot];
        let grant = self.store.open_grant(place.at).cloned();
        let view = place.slot.view().filter(|_| !self.is_gone(slot));
        let has_grant = |grant: &Grant| {
            grant.acked
                && view.as_ref().is_some_and(|v| v.grant == grant.id && v.epoch == grant.epoch)
        };
        match (grant.filter(has_grant), view.clone()) {
            (Some(grant), Some(view)) => Some(OpenSlot { grant, view, is_new: false }),
            _ => {
                self.open_slot(node % 2, slot, 0);
                None
            }
        }
    }

    fn refill_for_round(&mut self, Refill { grant, portion, .. }: Refill) -> (GrantId, u64) {
        match self.commit(Tx::Refill(grant, portion.units, portion.counter)) {
            TxResult::Moved(units) => (grant, units),
            _ => (grant, 0),
        }
    }

    /// Checks the portions of a round's refills. Does not check a slot whose grant never had units,
    /// because other rules apply to a grant's first units.
    fn check_portions(&mut self, round: &ItemRound, pool: u64, refills: &[Refill]) {
        let node_memory = self.places.iter().any(|p| p.at.item == round.item && p.node.is_some());
        let spread = self.spread(round.item);
        if !spread.uses_sub_domains() || node_memory {
            return;
        }
        for Refill { grant, portion, .. } in refills {
            let open = round.steps.slots().iter().find(|slot| slot.grant.id == *grant);
            if let Some(open) = open.filter(|open| open.grant.granted > 0) {
                // Another leader may have refilled the slot since this round read the feed. So the
                // check includes the units in rows that the slot has not applied yet.
                let basis = (pool, open.rows_on_their_way());
                self.checker.portion(&spread, &open.view, basis, (portion.counter, portion.units));
            }
        }
    }

    pub(crate) fn leave(&mut self, leader: u8, slot: usize) {
        let Some(grant) = self.store.open_grant(self.places[slot].at).map(|grant| grant.id) else {
            return;
        };
        if !self.is_in_spread(slot) {
            let (drain, effect) = SlotDrain::begin(false);
            let drain = Box::new(drain);
            self.send(Message::DrainSlot { leader: leader % 2, slot, grant, drain, effect });
        }
    }

    /// Performs one effect of a slot's drain. The next effect becomes a message, so that other
    /// actors can act first.
    pub(crate) fn continue_slot_drain(
        &mut self,
        leader: u8,
        slot: usize,
        grant: GrantId,
        mut drain: Box<SlotDrain>,
        effect: slot_drain::Effect,
    ) {
        use slot_drain::{Effect, Input};
        let input = match effect {
            Effect::ReadSlot => Input::Slot(self.places[slot].slot.view()),
            Effect::ReadGrant if self.is_in_spread(slot) => return,
            Effect::ReadGrant => {
                Input::Grant(self.store.grant(grant).filter(|grant| grant.open).cloned())
            }
            Effect::ReadRecalls => {
                let recalls = self.store.pending().filter(|recall| recall.grant == grant);
                Input::Recalls(recalls.cloned().collect())
            }
            Effect::TakeUnits(recall) => {
                let Some(epoch) = self.store.grant(grant).map(|grant| grant.epoch) else { return };
                let call = Call::Recall(recall.id, grant, epoch, recall.asked);
                match self.call(slot, call) {
                    SlotReply::RecallOutcome(outcome) => Input::Taken(Some(outcome)),
                    _ => return,
                }
            }
            Effect::FinishRecall(recall, units) => {
                self.commit(Tx::RecallFinish(recall, units));
                Input::Done
            }
            Effect::StopSlot => {
                self.call(slot, Call::Stop(true));
                Input::Done
            }
            Effect::BeginRecall(units) => {
                let id = RecallId(self.next_id_bits() >> 1);
                self.commit(Tx::RecallBegin(id, grant, RecallTarget::Pool, units));
                Input::Done
            }
            Effect::Close(grant) => {
                self.commit(Tx::Close(grant, CloseCause::Rolled));
                Input::Done
            }
            Effect::Finish(_) => return,
        };
        let is_decided = drain.decision().is_some();
        let effect = drain.next(input);
        if let Some(decision) = drain.decision().filter(|_| !is_decided) {
            self.checker.leaves_spread(&self.store, decision);
        }
        if !matches!(effect, Effect::Finish(_)) {
            self.send(Message::DrainSlot { leader, slot, grant, drain, effect });
        }
    }
}
