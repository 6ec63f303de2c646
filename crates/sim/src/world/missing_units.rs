//! Performs the actions that may need more units than the pool has: payments of ended orders
//! ([`doorbuster_steps::late_payment`]) and changes of an item's total
//! ([`doorbuster_steps::total_change`]). Both use [`doorbuster_steps::pool_recall`].
//!
//! In the server, the action's node does not reconcile the item's slots during the action, but
//! another leader may. The simulator allows more: any node may reconcile the slots during the
//! action.
use doorbuster_core::money::{Capture, CaptureOutcome};
use doorbuster_core::rows::RecallTarget;
use doorbuster_core::stock::AdjustResult;
use doorbuster_core::{Grant, ItemId, SlotKey};
use doorbuster_steps::late_payment::{self, LatePayment};
use doorbuster_steps::pool_recall::{Effect, Input, PoolRecall};
use doorbuster_steps::total_change::{self, TotalChange};

use super::World;
use crate::state::{AfterPayment, Message, StockAction, UnitsAction};
use crate::store::{Tx, TxResult};

/// The maximum number of rounds of the loop in [`World::end_waits_at_rest`], at the end of a run in
/// which no action waits for units. Each waiting action adds as many rounds.
const WAITS_MAX: usize = 60;

impl World {
    /// Applies a captured payment. If the order has ended and the pool has too few units for this
    /// order, the node remembers the payment and recalls units.
    pub(super) fn capture(&mut self, charge: usize, capture: Capture, after: Option<AfterPayment>) {
        self.capture_on(self.node_of_charge(charge), charge, capture, after);
    }

    /// Like [`World::capture`], on the named node.
    pub(super) fn capture_on(
        &mut self,
        node: u8,
        charge: usize,
        capture: Capture,
        after: Option<AfterPayment>,
    ) {
        let order = match self.try_capture(node, charge, capture.clone(), false) {
            CaptureOutcome::UnitsMissing { order, .. } => order,
            // The provider sends the message again.
            CaptureOutcome::TooEarly => return,
            _ => return self.payment_applied(charge, &capture.event, after),
        };
        self.checker.count_case("late payment lacks units");
        let (steps, effect) = LatePayment::begin(self.mono);
        let capture = Box::new(capture);
        let steps = StockAction::Payment { charge, capture, after, steps, effect };
        self.begin_units_action(node, order.item, steps);
    }

    /// Applies a captured payment immediately. The node does not recall units for this payment.
    pub(super) fn capture_at_once(&mut self, charge: usize, event: &str) {
        let capture = self.capture_message(charge, event);
        let node = self.node_of_charge(charge);
        if self.try_capture(node, charge, capture, true) != CaptureOutcome::TooEarly {
            self.payment_applied(charge, event, None);
        }
    }

    pub(crate) fn adjust(&mut self, item: ItemId, delta: i64) {
        let (steps, effect) = TotalChange::begin(delta.unsigned_abs(), self.mono);
        let steps = StockAction::Total { delta, steps, effect };
        let node = delta.unsigned_abs() % u64::from(self.setup.nodes);
        self.begin_units_action(self.running_node_from(node as u8), item, steps);
    }

    fn begin_units_action(&mut self, node: u8, item: ItemId, steps: StockAction) {
        self.continue_units_action(Box::new(UnitsAction { node, item, steps, recall: None }));
    }

    /// Performs one effect of the action. The next effect becomes a message, so that other actors
    /// can act first.
    pub(super) fn continue_units_action(&mut self, mut action: Box<UnitsAction>) {
        if let Some((steps, effect)) = action.recall.take() {
            return self.continue_pool_recall(action, steps, effect);
        }
        match &action.steps {
            StockAction::Payment { .. } => self.continue_payment(action),
            StockAction::Total { .. } => self.continue_total_change(action),
        }
    }

    fn continue_payment(&mut self, mut action: Box<UnitsAction>) {
        let StockAction::Payment { charge, capture, after, steps, effect } = &mut action.steps
        else {
            return;
        };
        match effect {
            late_payment::Effect::Capture { is_last } => {
                let capture = (**capture).clone();
                let missing = match self.try_capture(action.node, *charge, capture, *is_last) {
                    CaptureOutcome::UnitsMissing { units, .. } => Some(units),
                    // The provider sends the message again.
                    CaptureOutcome::TooEarly => return,
                    _ => None,
                };
                *effect = steps.next(late_payment::Input::Captured(missing), self.mono);
            }
            late_payment::Effect::Recall(units) => {
                let reached = self.slots_at(action.node, action.item);
                action.recall = Some(PoolRecall::begin(reached, *units));
            }
            late_payment::Effect::Wait(_) => return self.waiting_actions.push(*action),
            late_payment::Effect::Finish => {
                let after = after.take();
                self.payment_applied(*charge, &capture.event, after);
                return self.begin_round(action.node, action.item);
            }
        }
        self.send(Message::MissingUnits(action));
    }

    fn continue_total_change(&mut self, mut action: Box<UnitsAction>) {
        let (node, item) = (action.node, action.item);
        let StockAction::Total { delta, steps, effect } = &mut action.steps else { return };
        let input = match effect {
            total_change::Effect::Adjust => self.try_to_adjust(item, *delta),
            total_change::Effect::ReadFree => {
                let grants = self.grants_of(item).into_iter().filter(|grant| grant.open);
                let in_slots: u64 = grants.map(|grant| grant.unsettled()).sum();
                total_change::Input::Free(self.store.pool(item) + in_slots)
            }
            total_change::Effect::Recall(units) => {
                action.recall = Some(PoolRecall::begin(self.slots_at(node, item), *units));
                return self.send(Message::MissingUnits(action));
            }
            total_change::Effect::Wait(_) => return self.waiting_actions.push(*action),
            total_change::Effect::CountFree => {
                let slots = self.places.iter().filter(|place| place.at.item == item);
                let views = slots.filter_map(|place| place.slot.view());
                let available: u64 = views.map(|view| view.available).sum();
                total_change::Input::Free(self.store.pool(item) + available)
            }
            total_change::Effect::Finish | total_change::Effect::Refuse(_) => {
                return self.begin_round(node, item);
            }
        };
        *effect = steps.next(input, self.mono);
        self.send(Message::MissingUnits(action));
    }

    fn try_to_adjust(&mut self, item: ItemId, delta: i64) -> total_change::Input {
        match self.commit(Tx::Adjust(item, delta, self.now)) {
            TxResult::AdjustResult(AdjustResult::NotInPool(pool)) => {
                self.checker.count_case("a lower total lacked units in the pool");
                total_change::Input::Adjusted(Some(pool))
            }
            _ => total_change::Input::Adjusted(None),
        }
    }

    fn slots_at(&self, node: u8, item: ItemId) -> Vec<SlotKey> {
        let is_here = |place: &&super::PlacedSlot| {
            place.at.item == item && place.node.is_none_or(|of| of == node)
        };
        self.places.iter().filter(is_here).map(|place| place.at).collect()
    }

    /// Sends a slot its missing feed rows, and returns the number of its units after that.
    fn count_units(&mut self, grant: &Grant) -> u64 {
        let view = self.place_of(grant.slot).and_then(|slot| self.places[slot].slot.view());
        let view = view.filter(|view| view.grant == grant.id);
        let fed = view.and_then(|view| self.feed_slot(grant, view.applied));
        fed.map_or(0, |view| view.available)
    }

    fn continue_pool_recall(
        &mut self,
        mut action: Box<UnitsAction>,
        mut steps: PoolRecall,
        effect: Effect,
    ) {
        let input = match effect {
            Effect::ReadGrants => Input::Grants(self.grants_of(action.item)),
            Effect::CountUnits(grants) => {
                Input::Units(grants.iter().map(|grant| Some(self.count_units(grant))).collect())
            }
            Effect::ReadRecalls => Input::Recalls(self.store.pending().cloned().collect()),
            Effect::BeginRecall { from, units } => {
                Input::RecallBegun(self.recall_into(from, RecallTarget::Pool, units))
            }
            Effect::TakeUnits { from, recall } => {
                Input::Taken(Some(self.take_recalled(&from, &recall)))
            }
            Effect::FinishRecall { recall, units } => {
                Input::Moved(self.finish_recall(recall, units))
            }
            Effect::Finish(_) => return,
        };
        match steps.next(input) {
            Effect::Finish(moved) => {
                let moved = moved.unwrap_or(0);
                if moved > 0 && matches!(action.steps, StockAction::Payment { .. }) {
                    self.checker.count_case("recalled for a late payment");
                }
                action.steps.resume(Some(moved), self.mono);
            }
            effect => action.recall = Some((steps, effect)),
        }
        self.send(Message::MissingUnits(action));
    }

    pub(crate) fn end_wait(&mut self, pick: u8) {
        if let Some(nth) = usize::from(pick).checked_rem(self.waiting_actions.len()) {
            let mut action = self.waiting_actions.remove(nth);
            action.steps.resume(None, self.mono);
            self.send(Message::MissingUnits(Box::new(action)));
        }
    }

    /// Ends the waits of all actions. While an action waits, the other nodes move the units that
    /// only they can reach. As in the server, the action's own node does not reconcile slots during
    /// the action.
    pub(super) fn end_waits_at_rest(&mut self) {
        self.deliver_all();
        for _ in 0..WAITS_MAX * (1 + self.waiting_actions.len()) {
            self.deliver_all();
            let Some((node, item)) = self.waiting_actions.first().map(|it| (it.node, it.item))
            else {
                match self.flight.is_empty() {
                    true => return,
                    false => continue,
                }
            };
            let version = self.store.version;
            for other in (0..self.setup.nodes).filter(|other| *other != node) {
                self.begin_round(other, item);
            }
            self.deliver_all();
            if self.store.version == version {
                self.mono = self.mono.plus(late_payment::WAIT_MAX_MS);
            }
            self.end_wait(0);
        }
        let (waiting, flight) = (&self.waiting_actions, &self.flight);
        self.checker.record_finding("rest", || {
            format!("some actions do not end: waiting {waiting:?}, in flight {flight:?}")
        });
    }
}
