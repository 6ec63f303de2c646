//! Simulates settlers, which take tickets from the queues of slots and settle them.
//! [`doorbuster_steps::settlement`] defines the sequence of the effects.

use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_core::{QueuedTicket, TicketId, Verdict};
use doorbuster_steps::settlement::{self, Effect};

use super::World;
use crate::names::NAMES;
use crate::state::{Call, Message, Settling, SlotReply};
use crate::store::{Tx, TxResult};

impl World {
    pub(crate) fn take_op(&mut self, slot: u8, at_most: u8) {
        let slot = self.slot_of(slot);
        self.take(slot, usize::from(at_most.max(1)));
    }

    /// Takes tickets and settles them. The settler's transaction is a message. This message may be
    /// lost, as if the settler failed. The message may also arrive twice.
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
        self.settle_on(Settling { slot, batch: batch.into(), steps: settlement::effects() });
    }

    fn settle_on(&mut self, mut settling: Settling) {
        while let Some(effect) = settling.steps.split_off_first() {
            match effect {
                Effect::Commit => {
                    self.xids += 1;
                    return self.send(Message::Settle { xid: self.xids, settling });
                }
                Effect::Acknowledge => self.send_acknowledgement(&settling),
                // A settler delivers verdicts before the commit only if the rule `TellAfterCommit`
                // is removed.
                Effect::Deliver => {
                    for delivery in settling.batch.iter() {
                        let id = NAMES.key.id_of(&delivery.ticket);
                        self.send_verdict(delivery, id, Verdict::Reserved);
                    }
                }
            }
        }
    }

    fn send_acknowledgement(&mut self, settling: &Settling) {
        self.send(Message::Acknowledge { slot: settling.slot, batch: settling.batch.clone() });
    }

    fn send_verdict(&mut self, delivery: &QueuedTicket, id: TicketId, verdict: Verdict) {
        self.send(Message::Notice { node: delivery.ticket.node.0 as u8, id, verdict });
    }

    pub(crate) fn settle(&mut self, xid: u64, settling: Settling) {
        let tickets = settling.batch.iter().map(|d| d.ticket.clone()).collect();
        self.store.xid = xid;
        let TxResult::Settled(all) = self.commit(Tx::Settle(tickets, self.now)) else { return };
        // If a slot is in a node's memory, this node settles the slot's tickets. So it learns of
        // each new order when it commits the order.
        if let Some(own) = self.places[settling.slot].node {
            for order in all.iter().filter_map(|resolved| resolved.order.as_ref()) {
                let half = NAMES.key.request_hash(order.buyer.as_str(), order.key.as_str());
                self.nodes[usize::from(own)].remember(half.low_64_bits());
            }
        }
        for effect in settling.steps {
            match effect {
                Effect::Commit => {}
                Effect::Acknowledge => self.send_acknowledgement(&settling),
                Effect::Deliver => {
                    for (delivery, resolved) in settling.batch.iter().zip(&all) {
                        self.send_verdict(delivery, resolved.id, resolved.verdict);
                    }
                }
            }
        }
    }

    /// Treats the first ticket of a batch as if it could not be settled. In the server, such a
    /// ticket becomes a dead letter. Here, the ticket is settled as too late, so that its units are
    /// returned.
    pub(crate) fn poison(&mut self, pick: u8) {
        let batches = self.flight.iter().filter_map(|m| match m {
            Message::Settle { settling, .. } => settling.batch.first(),
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
