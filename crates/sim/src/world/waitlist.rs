//! Simulates the buyers in a waitlist, who wait for units to return, and the leaders who serve the
//! waitlist.
use doorbuster_core::limits::WAITLIST_ENTRIES_MAX;
use doorbuster_core::waitlist::JoinRequest;
use doorbuster_core::{ItemId, Phase, TicketId, Token};

use super::World;
use super::buyer::operator;
use crate::names::{BUYERS, KEYS, NAMES};
use crate::op::waitlist::WaitlistOp;
use crate::state::Message;
use crate::store::{Tx, TxResult};

impl World {
    pub(crate) fn waitlist_op(&mut self, op: WaitlistOp) {
        match op {
            WaitlistOp::Join { buyer, key, item } => {
                self.join(buyer % BUYERS as u8, key % KEYS as u8, self.item_of(item));
            }
            WaitlistOp::Leave { place } => {
                if let Some(id) = self.nth_entry(place) {
                    self.commit(Tx::Leave(id, self.now));
                }
            }
            WaitlistOp::TakeAway { order } => self.cancel(order, operator()),
            WaitlistOp::Serve { leader, item } => {
                let tx = Tx::Serve(self.item_of(item), self.now);
                self.send(Message::Commit { leader: leader % 2, tx: tx.into() });
            }
            WaitlistOp::End { leader, item } => {
                let tx = Tx::EndWaitlist(self.item_of(item), self.now);
                self.send(Message::Commit { leader: leader % 2, tx: tx.into() });
            }
            WaitlistOp::Ask { place } => self.query_entry(place),
        }
    }

    fn nth_entry(&self, pick: u8) -> Option<TicketId> {
        let nth = usize::from(pick).checked_rem(self.store.model.waitlist.len())?;
        self.store.model.waitlist.values().nth(nth).map(|entry| entry.id)
    }

    fn join(&mut self, buyer: u8, key: u8, item: ItemId) {
        let entries_max = match self.setup.tight {
            0 => WAITLIST_ENTRIES_MAX,
            tight => u64::from(tight),
        };
        let (grant, token) = (self.draw_grant(), Token(self.next_id_bits() >> 16));
        if self.store.phases.get(&item).is_some_and(|row| row.shown == Phase::Scheduled) {
            return;
        }
        let (buyer, key) =
            (NAMES.buyers[usize::from(buyer)].clone(), NAMES.keys[usize::from(key)].clone());
        let joiner = JoinRequest { buyer, key, grant, token, entries_max };
        self.commit(Tx::Join(item, joiner, self.now));
    }

    /// Serves the waitlist if the pool keeps units for it. Ends the waitlist if the sale has ended.
    pub(crate) fn reconcile_waitlist(&mut self, leader: u8, item: ItemId) {
        let (waiting, kept_for_waitlist) = self
            .store
            .model
            .items
            .get(&item)
            .map_or((0, 0), |i| (i.waiting, i.kept_for_waitlist()));
        let tx = match self.store.phases.get(&item).map(|row| row.shown) {
            Some(Phase::Open) if kept_for_waitlist > 0 => Tx::Serve(item, self.now),
            Some(Phase::Closed) if waiting > 0 => Tx::EndWaitlist(item, self.now),
            _ => return,
        };
        self.send(Message::Commit { leader, tx: tx.into() });
    }

    fn query_entry(&mut self, pick: u8) {
        let Some(id) = self.nth_entry(pick) else { return };
        let Some(entry) = self.store.model.waitlist.values().find(|entry| entry.id == id).cloned()
        else {
            return;
        };
        let parts = NAMES
            .key
            .open(&id, entry.buyer.as_str())
            .expect("the id of a waitlist entry must be signed for the entry's buyer");
        let verdict = match self.store.verdict(&id) {
            Some(verdict) => Some(verdict),
            None => match self.commit(Tx::Force(id, parts, entry.buyer, self.now)) {
                TxResult::Forced(Some(resolved)) => Some(resolved.verdict),
                _ => None,
            },
        };
        let is_over =
            self.store.phases.get(&entry.item).is_some_and(|row| row.shown == Phase::Closed);
        match verdict {
            Some(verdict) => self.checker.verdict_reported(&self.store, id, verdict, self.now),
            None if is_over => self.checker.answered_sale_ended(&id),
            None => self.checker.answered_waiting(&id),
        }
    }
}
