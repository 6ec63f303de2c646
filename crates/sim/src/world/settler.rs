//! Simulates settlers. They take tickets from a slot's queue and resolve them in one transaction.
//! Then they acknowledge the tickets and notify the nodes.
use std::sync::Arc;

use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::{Delivery, Verdict};

use super::in_flight::Message;
use super::{Call, NAMES, SlotReply, World};
use crate::store::{Tx, TxResult};

impl World {
    pub(crate) fn take_op(&mut self, slot: u8, at_most: u8) {
        let slot = self.slot_of(slot);
        self.take(slot, usize::from(at_most.max(1)));
    }

    /// Lets a settler take a batch. The settler's transaction is a message, which may be lost with
    /// the settler or run twice.
    pub(crate) fn take(&mut self, slot: usize, at_most: usize) {
        if self.is_gone(slot) {
            return;
        }
        let SlotReply::Taken(batch) = self.call(slot, Call::Take(at_most.min(SETTLE_BATCH_MAX)))
        else {
            return;
        };
        if batch.is_empty() {
            return;
        }
        let batch: Arc<[Delivery]> = batch.into();
        if !enforces(Rule::TellAfterCommit) {
            for delivery in batch.iter() {
                let node = delivery.ticket.node.0 as u8;
                self.send(Message::Notice {
                    node,
                    id: NAMES.key.id_of(&delivery.ticket),
                    verdict: Verdict::Reserved,
                });
            }
        }
        if !enforces(Rule::AcknowledgeAfterCommit) {
            self.send(Message::Acknowledge { slot, batch: batch.clone() });
        }
        self.xids += 1;
        self.send(Message::Settle { slot, xid: self.xids, batch });
    }

    /// Runs the transaction. After the commit it acknowledges the queue and notifies the nodes.
    pub(crate) fn settle(&mut self, slot: usize, xid: u64, batch: &Arc<[Delivery]>) {
        let tickets = batch.iter().map(|d| d.ticket.clone()).collect();
        self.store.xid = xid;
        let TxResult::Settled(all) = self.commit(Tx::Settle(tickets, self.now)) else { return };
        self.send(Message::Acknowledge { slot, batch: batch.clone() });
        for (delivery, resolved) in batch.iter().zip(all) {
            let node = delivery.ticket.node.0 as u8;
            // A node that settles the slot in its own memory records each order at the commit.
            if let (Some(own), Some(order)) = (self.places[slot].node, &resolved.order) {
                let half = NAMES.key.request_hash(order.buyer.as_str(), order.key.as_str());
                self.nodes[usize::from(own)].own.push(half.low_64_bits());
            }
            self.send(Message::Notice { node, id: resolved.id, verdict: resolved.verdict });
        }
    }

    /// Simulates a ticket that cannot be settled, and so becomes a dead letter. The first ticket of
    /// a batch in flight is settled as if it were too late, so that its units are returned.
    pub(crate) fn poison(&mut self, pick: u8) {
        let batches = self.flight.iter().filter_map(|m| match m {
            Message::Settle { batch, .. } => batch.first(),
            _ => None,
        });
        let batches: Vec<_> = batches.map(|d| d.ticket.clone()).collect();
        let Some(nth) = usize::from(pick).checked_rem(batches.len()) else { return };
        let ticket = batches[nth].clone();
        let late = ticket.decide_by.plus(1).max(self.now);
        self.checker.count_case("poison");
        self.xids += 1;
        self.store.xid = self.xids;
        self.commit(Tx::Settle(vec![ticket], late));
    }

    pub(crate) fn redeliver(&mut self, slot: u8) {
        let slot = self.slot_of(slot);
        if !self.is_gone(slot) {
            self.call(slot, Call::Redeliver);
        }
    }
}
