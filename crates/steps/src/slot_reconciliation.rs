//! Brings an item's slots up to date with the store, in rounds. Each round has several stages.
//!
//! A new grant has no units. All units reach a slot through the feed of its grant, and the store
//! keeps this feed. So a node need not remember anything from one round to the next, and every
//! effect may be repeated.
mod effect;
mod portions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use doorbuster_core::gather::{self, PlannedRecall, SlotHolding};
use doorbuster_core::refill::Portion;
use doorbuster_core::respread::{self, SpreadSlot};
use doorbuster_core::{Counter, Grant, GrantId, Recall, RecallTarget};

pub use effect::{Effect, Input, ItemView, OpenSlot, POOL_REST_MS, Pause, Refill, SlotToStart};
pub use portions::Portions;

/// A stage of a round. Before the first stage, the round reads the grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    ReadRecalls,
    StartSlots,
    DrainSlots,
    FinishRecalls,
    Feed,
    Distribute,
    Share,
    Gather,
    Record,
    StopOrResume,
}

/// The stages in their sequence. A `Feed` follows each stage that can move units, so that the units
/// are in their slots before the next stage.
const STAGES: [Stage; 13] = [
    Stage::ReadRecalls,
    Stage::StartSlots,
    Stage::DrainSlots,
    Stage::FinishRecalls,
    Stage::Feed,
    Stage::Distribute,
    Stage::Feed,
    Stage::Share,
    Stage::Feed,
    Stage::Gather,
    Stage::Feed,
    Stage::Record,
    Stage::StopOrResume,
];

/// One round of an item's reconciliation.
#[derive(Clone, Debug)]
pub struct Round {
    rest: &'static [Stage],
    queue: VecDeque<Effect>,
    grants: Vec<Grant>,
    pending: Vec<Recall>,
    slots: Vec<OpenSlot>,
    /// The recall that is being carried out.
    carried: Option<Recall>,
    /// Whether units have moved since the last `Feed`.
    moved: bool,
    /// Whether this round moved units out of the slots that this node reaches: to the pool, or to a
    /// slot that only another node reaches.
    gave_away: bool,
    /// Whether a slot outside the spread is still not drained.
    drain_waits: bool,
}

impl Round {
    /// Begins a round.
    #[must_use]
    pub fn begin() -> (Self, Effect) {
        let round = Self {
            rest: &STAGES,
            queue: VecDeque::new(),
            grants: Vec::new(),
            pending: Vec::new(),
            slots: Vec::new(),
            carried: None,
            moved: false,
            gave_away: false,
            drain_waits: false,
        };
        (round, Effect::ReadGrants)
    }

    /// Returns the slots that this node reaches and that have their open grants.
    #[must_use]
    pub fn slots(&self) -> &[OpenSlot] {
        &self.slots
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input, view: &mut impl ItemView) -> Effect {
        self.take(input, view);
        loop {
            if let Some(effect) = self.queue.pop_front() {
                if let Effect::TakeUnits { recall, .. } = &effect {
                    self.carried = Some(recall.clone());
                }
                return effect;
            }
            let Some((&stage, rest)) = self.rest.split_first() else { return Effect::Finish };
            self.rest = rest;
            self.enter(stage, view);
        }
    }

    fn take(&mut self, input: Input, view: &mut impl ItemView) {
        match input {
            Input::Grants(grants) => {
                self.grants = grants.into_iter().filter(|grant| grant.open).collect();
            }
            Input::Recalls(recalls) => {
                let is_ours =
                    |recall: &Recall| self.grants.iter().any(|grant| grant.id == recall.grant);
                self.pending = recalls.into_iter().filter(is_ours).collect();
            }
            Input::Started(slots) => self.slots = slots,
            Input::Drained(is_closed) => self.drain_waits |= !is_closed,
            Input::Taken(Some(outcome)) => {
                if let (Some(units), Some(recall)) = (outcome.units_to_move(), &self.carried) {
                    let effect = Effect::FinishRecall { recall: recall.id, units };
                    self.queue.push_front(effect);
                }
            }
            Input::Taken(None) => {
                if let Some(recall) = self.carried.take() {
                    self.leave_out(recall.grant);
                }
            }
            Input::Moved(units) => self.finish_recall(units, view),
            Input::Fed { fed, missed } => {
                missed.into_iter().for_each(|grant| self.leave_out(grant));
                for new in fed {
                    let grant = new.grant.id;
                    if let Some(slot) = self.slots.iter_mut().find(|slot| slot.grant.id == grant) {
                        *slot = new;
                    }
                }
            }
            Input::Refilled(units) => {
                self.moved |= units.iter().any(|(_, units)| *units > 0);
                for (grant, units) in units {
                    if let Some(slot) = self.slots.iter_mut().find(|slot| slot.grant.id == grant) {
                        slot.grant.granted += units;
                    }
                }
            }
            Input::RecallBegun(Some(recall)) => {
                self.moved = true;
                if let Some(from) = self.slot_of(recall.grant) {
                    let (from, recall) = (from.grant.clone(), recall.clone());
                    self.queue.push_front(Effect::TakeUnits { from, recall });
                }
                self.pending.push(recall);
            }
            Input::RecallBegun(None) | Input::Done => {}
        }
    }

    /// Ignores the slot of this grant for the rest of the round, because the slot did not answer.
    /// The slot's pending recalls stay pending.
    fn leave_out(&mut self, grant: GrantId) {
        self.slots.retain(|slot| slot.grant.id != grant);
        let is_for =
            |effect: &Effect| matches!(effect, Effect::TakeUnits { from, .. } if from.id == grant);
        self.queue.retain(|effect| !is_for(effect));
    }

    fn finish_recall(&mut self, units: u64, view: &mut impl ItemView) {
        let Some(recall) = self.carried.take() else { return };
        self.moved = true;
        self.pending.retain(|pending| pending.id != recall.id);
        let is_here = match recall.target {
            RecallTarget::Pool => false,
            RecallTarget::Grant(into) => self.slot_of(into).is_some(),
        };
        if units > 0 {
            self.gave_away |= !is_here;
            if recall.target == RecallTarget::Pool {
                view.rest_pool();
            }
        }
    }

    fn slot_of(&self, grant: GrantId) -> Option<&OpenSlot> {
        self.slots.iter().find(|slot| slot.grant.id == grant)
    }

    fn enter(&mut self, stage: Stage, view: &mut impl ItemView) {
        match stage {
            Stage::ReadRecalls => self.queue.push_back(Effect::ReadRecalls),
            Stage::StartSlots => self.start_slots(view),
            Stage::DrainSlots => self.drain_slots(view),
            Stage::FinishRecalls => self.finish_recalls(),
            Stage::Feed => self.feed(),
            Stage::Distribute => self.distribute(view),
            Stage::Share => self.share(view),
            Stage::Gather => self.gather(view),
            Stage::Record => self.queue.push_back(Effect::Record),
            Stage::StopOrResume => self.stop_or_resume(view),
        }
    }

    /// Starts the slots. Opens no new grant while the slots must not issue tickets
    /// ([`ItemView::halts`]): a node that drains the sale waits until all grants are closed, and a
    /// stopping node gives its units back.
    fn start_slots(&mut self, view: &impl ItemView) {
        let to_start = |slot| {
            let open = self.grants.iter().find(|grant| grant.slot == slot).cloned();
            (open.is_some() || !view.halts()).then_some(SlotToStart { slot, open })
        };
        let slots = view.slots().into_iter().filter_map(to_start).collect();
        let threshold = view.portions().spread.threshold;
        self.queue.push_back(Effect::StartSlots { slots, threshold });
    }

    /// If this node is the leader, drains the slots outside the spread, as far as this is possible
    /// now.
    fn drain_slots(&mut self, view: &impl ItemView) {
        if !view.leads() {
            return;
        }
        let leaving = self.grants.iter().filter(|grant| !view.is_in_spread(grant.slot));
        self.queue.extend(leaving.cloned().map(Effect::DrainSlot));
    }

    /// Carries out the pending recalls from slots that this node reaches. A recall may be repeated:
    /// the slot remembers how many units it gave for this recall, and the store finishes the recall
    /// only once.
    fn finish_recalls(&mut self) {
        if self.drain_waits {
            self.queue.push_back(Effect::RunAgain(Pause::Drain));
        }
        let carry_out = |recall: &Recall| {
            let from = self.slot_of(recall.grant)?.grant.clone();
            Some(Effect::TakeUnits { from, recall: recall.clone() })
        };
        let recalls: Vec<Effect> = self.pending.iter().filter_map(carry_out).collect();
        self.queue.extend(recalls);
    }

    /// Sends feed rows to each slot that may lack some. If units have moved, every slot may lack
    /// rows.
    fn feed(&mut self) {
        let lacks_rows = |slot: &&OpenSlot| self.moved || slot.rows_on_their_way() > 0;
        let slots: Vec<OpenSlot> = self.slots.iter().filter(lacks_rows).cloned().collect();
        self.moved = false;
        if !slots.is_empty() {
            self.queue.push_back(Effect::Feed(slots));
        }
    }

    fn distribute(&mut self, view: &impl ItemView) {
        let pool = view.pool();
        if pool == 0 {
            return;
        }
        if let rest @ 1.. = view.pool_rest_ms() {
            self.queue.push_back(Effect::RunAgain(Pause::PoolRest(rest)));
            return;
        }
        let portions = view.portions().split_pool(pool, view.limit(), &self.slots);
        let refill = |(slot, portion): (&OpenSlot, Option<Portion>)| {
            let portion = portion.filter(|portion| portion.units > 0)?;
            Some(Refill { grant: slot.grant.id, slot: slot.grant.slot, portion })
        };
        let refills: Vec<Refill> = self.slots.iter().zip(portions).filter_map(refill).collect();
        if !refills.is_empty() {
            self.queue.push_back(Effect::Distribute { pool, refills });
        }
    }

    /// If the pool is empty, the leader moves units to slots that never had units under their
    /// grants. While a request waits for units, this stage does nothing, and the stage `Gather`
    /// moves units instead.
    fn share(&mut self, view: &impl ItemView) {
        let may_share = view.leads() && view.reaches_all_slots();
        if !may_share || self.slots.len() < view.slots().len() || view.first_demand().is_some() {
            return;
        }
        let counted = self.slots.iter().filter(|slot| slot.grant.counted);
        let shares: Vec<SpreadSlot> = counted.map(|slot| self.share_of(slot)).collect();
        let find = |slot| self.slots.iter().map(|open| &open.grant).find(|open| open.slot == slot);
        let (spread, least) = (view.portions().spread, u64::from(view.limit()));
        for part in respread::shares_for_new_slots(&spread, least, view.pool(), &shares) {
            if let (Some(from), Some(into)) = (find(part.from), find(part.into)) {
                let (from, into, units) = (from.id, into.id, part.units);
                self.queue.push_back(Effect::BeginRecall { from, into, units });
            }
        }
    }

    fn share_of(&self, slot: &OpenSlot) -> SpreadSlot {
        let into = RecallTarget::Grant(slot.grant.id);
        SpreadSlot {
            slot: slot.grant.slot,
            available: slot.view.available,
            is_new: slot.grant.granted == 0
                && !self.pending.iter().any(|recall| recall.target == into),
            asked: self.pending.iter().any(|recall| recall.grant == slot.grant.id),
        }
    }

    /// Gathers the units that the oldest waiting request lacks. If this node does not reach a slot
    /// that should give units, it begins the recall, and a node that reaches the slot moves the
    /// units.
    fn gather(&mut self, view: &impl ItemView) {
        let Some((home, units)) = view.first_demand() else { return };
        let holdings = self.holdings(view.reaches_all_slots());
        let Some(plan) = gather::gather(units, home, view.pool(), &holdings) else { return };
        let Some(into) = self.slots.iter().find(|slot| slot.grant.slot == plan.into) else {
            return;
        };
        let into = into.grant.clone();
        if plan.refill > 0 {
            let portion = Portion { units: plan.refill, counter: Counter::A };
            let refill = Refill { grant: into.id, slot: into.slot, portion };
            self.queue.push_back(Effect::Gather(refill));
        }
        if self.gave_away && !plan.recalls.is_empty() {
            self.queue.push_back(Effect::RunAgain(Pause::GiveWay));
            return;
        }
        let begin_recall = |part: &PlannedRecall| {
            let acked = self.grants.iter().filter(|grant| grant.acked);
            let from = self.holders(acked).find(|grant| grant.slot == part.from)?.id;
            Some(Effect::BeginRecall { from, into: into.id, units: part.units })
        };
        let recalls: Vec<Effect> = plan.recalls.iter().filter_map(begin_recall).collect();
        self.queue.extend(recalls);
    }

    /// Returns the grants of the slots that this node reaches, and after them the other grants in
    /// `grants`.
    fn holders<'a>(
        &'a self,
        grants: impl Iterator<Item = &'a Grant>,
    ) -> impl Iterator<Item = &'a Grant> {
        let here = self.slots.iter().map(|slot| &slot.grant);
        here.chain(grants.filter(|grant| self.slot_of(grant.id).is_none()))
    }

    /// Returns how many units each slot has. If only another node reaches a slot, this node cannot
    /// read the slot, so units of tickets in flight count as the slot's units. If every node
    /// reaches all slots, leaves out a slot that did not answer, because no node can take its
    /// units.
    fn holdings(&self, reaches_all: bool) -> Vec<SlotHolding> {
        let answers = |grant: GrantId| !reaches_all || self.slot_of(grant).is_some();
        let holding = |grant: &Grant| {
            let here = self.slot_of(grant.id);
            let into = RecallTarget::Grant(grant.id);
            let is_coming = |recall: &&Recall| recall.target == into && answers(recall.grant);
            let coming = self.pending.iter().filter(is_coming);
            SlotHolding {
                slot: grant.slot,
                available: here.map_or(grant.unsettled(), |slot| slot.view.available),
                on_its_way: coming.map(|recall| recall.asked).sum(),
                reachable: here.is_some(),
                asked: self.pending.iter().any(|recall| recall.grant == grant.id),
            }
        };
        let acked = self.grants.iter().filter(|grant| grant.acked);
        let holders = self.holders(acked).filter(|grant| grant.counted && answers(grant.id));
        holders.map(holding).collect()
    }

    /// Stops slots, or lets them issue tickets again. No other code resumes a stopped slot.
    ///
    /// If all nodes reach a slot, another node may be draining the slot. So only these nodes may
    /// resume the slot:
    /// - the leader
    /// - a node that stopped the slot
    /// - a node that has just given the slot a new grant
    fn stop_or_resume(&mut self, view: &mut impl ItemView) {
        let halts = view.halts();
        let may_resume = view.may_resume(halts);
        for slot in &self.slots {
            let stopped = halts || (slot.view.stopped && !may_resume && !slot.is_new);
            if stopped != slot.view.stopped {
                self.queue.push_back(Effect::Stop { slot: slot.grant.slot, stopped });
            }
        }
    }
}
