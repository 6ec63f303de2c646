//! Simulates what buyers and operators do with requests, ids and orders.
use doorbuster_core::event::{Actor, Attribution};
use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::order::EndReason;
use doorbuster_core::{OrderState, TicketId, Units, Verdict};
use doorbuster_steps::purchase::Input;

use super::{World, units_of};
use crate::names::{BUYERS, KEYS, NAMES};
use crate::op::REFUSED_AT_DOOR;
use crate::state::AttemptState;
use crate::store::{Tx, TxResult};

/// The largest number of attempts in one simulated sale.
const ATTEMPTS_MAX: usize = 200;

pub(super) fn operator() -> Attribution {
    Attribution::from_actor(Actor::Operator("key_1".into()))
}

impl World {
    pub(crate) fn buy(&mut self, node: u8, buyer: u8, key: u8, item: u8, units: u8) {
        if self.attempts.len() >= ATTEMPTS_MAX {
            return;
        }
        let item = self.item_of(item);
        let (buyer, key) = (buyer % BUYERS as u8, key % KEYS as u8);
        self.arrive(node % self.setup.nodes, buyer, key, item, units_of(units));
    }

    pub(crate) fn replay(&mut self, node: u8, attempt: u8, more: u8) {
        if self.attempts.is_empty() || self.attempts.len() >= ATTEMPTS_MAX {
            return;
        }
        let purchase = self.attempts[usize::from(attempt) % self.attempts.len()].purchase;
        let units = Units::new(purchase.units.get() + u32::from(more % 4)).expect("at most 12");
        let door = (more & REFUSED_AT_DOOR != 0).then_some(DoorRefusal::PassExpired);
        let wanted = (purchase.item, units);
        self.arrive_at_door(node % self.setup.nodes, purchase.request(), wanted, door);
    }

    fn pick(&self, pick: u8, is_wanted: impl Fn(&AttemptState) -> bool) -> Option<usize> {
        let count = self.attempts.iter().filter(|a| is_wanted(&a.state)).count();
        let nth = usize::from(pick).checked_rem(count)?;
        self.attempts
            .iter()
            .enumerate()
            .filter(|(_, a)| is_wanted(&a.state))
            .nth(nth)
            .map(|(i, _)| i)
    }

    /// Lets a node answer `202`, as if the node had waited long enough for the verdict.
    pub(crate) fn end_verdict_wait(&mut self, attempt: u8) {
        if let Some(i) = self.pick(attempt, |s| matches!(s, AttemptState::Waiting { .. })) {
            self.drive(i, Input::Elapsed);
        }
    }

    pub(crate) fn poll_one(&mut self, attempt: u8) {
        if let Some(i) = self.pick(attempt, |s| {
            matches!(s, AttemptState::Waiting { .. } | AttemptState::Handed { .. })
        }) {
            self.poll(i);
        }
    }

    pub(crate) fn retry_one(&mut self, attempt: u8) {
        if let Some(i) = self.pick(attempt, AttemptState::is_parked) {
            self.retry(i);
        }
    }

    pub(crate) fn get(&mut self, pick: u8) {
        let handed = self.checker.handed();
        let Some(nth) = usize::from(pick).checked_rem(handed.len()) else { return };
        let (id, buyer) = handed[nth];
        self.get_id(id, buyer);
    }

    /// Lets a buyer ask for the verdict of an id. If the ticket has no verdict and its `decide_by`
    /// has passed, the store forces a verdict. Returns `None` if there is still no verdict.
    pub(crate) fn get_id(&mut self, id: TicketId, buyer: u8) -> Option<Verdict> {
        let name = &NAMES.buyers[usize::from(buyer)];
        let parts =
            NAMES.key.open(&id, name.as_str()).expect("an id that was handed out to this buyer");
        let verdict = match self.store.verdict(&id) {
            Some(verdict) => Some(verdict),
            None => match self.commit(Tx::Force(id, parts, name.clone(), self.now)) {
                TxResult::Forced(Some(resolved)) => Some(resolved.verdict),
                _ => None,
            },
        };
        match verdict {
            Some(verdict) => self.checker.verdict_reported(&self.store, id, verdict, self.now),
            None => self.checker.undecided_reported(&parts, self.now),
        }
        verdict
    }

    pub(super) fn nth_order(&self, pick: u8) -> Option<TicketId> {
        let nth = usize::from(pick).checked_rem(self.store.model.orders.len())?;
        self.store.model.orders.keys().nth(nth).copied()
    }

    pub(crate) fn cancel(&mut self, order: u8, by: Attribution) {
        if let Some(id) = self.nth_order(order) {
            self.commit(Tx::End(id, EndReason::Cancel, by, self.now));
        }
    }

    pub(crate) fn refund(&mut self, order: u8) {
        if let Some(id) = self.nth_order(order) {
            let (node, now) = (self.running_node_from(order % self.setup.nodes), self.mono);
            self.nodes[usize::from(node)].applied.begin_refund(id.text().as_str(), now);
            self.commit(Tx::End(id, EndReason::Refund, operator(), self.now));
        }
    }

    pub(crate) fn expire(&mut self, order: u8) {
        let reserved = self.store.orders_in(OrderState::Reserved).count();
        let Some(nth) = usize::from(order).checked_rem(reserved) else { return };
        let id = self.store.orders_in(OrderState::Reserved).nth(nth).map(|o| o.id);
        if let Some(id) = id {
            self.commit(Tx::End(id, EndReason::Expire, Attribution::ENGINE.clone(), self.now));
        }
    }
}
