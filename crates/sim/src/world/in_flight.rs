//! Delivers messages in flight, loses them, delays them, and delivers them twice.
use doorbuster_core::slot::{RecallOutcome, TicketAnswer, TicketRequest};
use doorbuster_core::{CloseCause, Grant, RecallId};

use super::{FLIGHT_MAX, World};
use crate::state::{Call, Message, SlotReply};
use crate::store::{Tx, TxResult};

impl World {
    pub(crate) fn send(&mut self, message: Message) {
        if self.flight.len() >= FLIGHT_MAX {
            self.flight.pop_front();
        }
        self.flight.push_back(message);
    }

    fn pick_message(&self, pick: u8) -> Option<usize> {
        usize::from(pick).checked_rem(self.flight.len())
    }

    pub(crate) fn deliver(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i).expect("the index is valid");
            self.receive(message);
        }
    }

    pub(crate) fn lose(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            if self.flight[i].is_repeated() {
                return;
            }
            match self.flight.remove(i).expect("the index is valid") {
                Message::DeliveryMessage(message) => self.delivery_message_lost(&message),
                Message::Round { node, round } => self.lose_call_of_round(node, round, pick),
                _ => {}
            }
        }
    }

    pub(crate) fn delay(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i).expect("the index is valid");
            if let Message::DeliveryMessage(delivery_message) = &message {
                self.delivery_message_lost(delivery_message);
            }
            self.late.push(message);
        }
    }

    pub(crate) fn deliver_delayed(&mut self, pick: u8) {
        if let Some(i) = usize::from(pick).checked_rem(self.late.len()) {
            let message = self.late.remove(i);
            self.receive(message);
        }
    }

    /// Delivers a message, and keeps a copy that may arrive a second time. A ticket request has no
    /// copy, because the server's connection and client library never repeat a command.
    pub(crate) fn repeat(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i).expect("the index is valid");
            if !matches!(message, Message::Ticket { .. }) {
                self.late.push(message.clone());
            }
            self.receive(message);
        }
    }

    pub(crate) fn deliver_many(&mut self, count: usize) {
        for _ in 0..count {
            if self.flight.is_empty() || self.checker.has_finding() {
                return;
            }
            self.deliver(0);
        }
    }

    pub(crate) fn deliver_all(&mut self) {
        self.deliver_many(4 * FLIGHT_MAX);
    }

    fn receive(&mut self, message: Message) {
        if message.slot().is_some_and(|slot| self.is_gone(slot)) {
            return;
        }
        match message {
            Message::Ticket { attempt, slot, asked, request } => {
                self.issue_ticket(attempt, slot, asked, &request)
            }
            Message::Answer { attempt, slot, asked, answer } => {
                self.answered(attempt, slot, asked, answer)
            }
            Message::Confirm { attempt, asked, used, ended_orders } => {
                self.confirmed(attempt, asked, used, ended_orders)
            }
            Message::Settle { xid, settling } => self.settle(xid, settling),
            Message::Acknowledge { slot, batch } => {
                for delivery in batch.iter() {
                    self.call(slot, Call::Acknowledge(delivery.at, delivery.ticket.token));
                }
            }
            Message::Notice { node, id, verdict } => self.verdict_notice(node, id, verdict),
            Message::StartSlot { leader, slot, starting } => {
                self.continue_start(leader, slot, starting)
            }
            Message::Commit { leader, tx } => self.leader_commits(leader, *tx),
            Message::Apply { slot, epoch, row } => {
                drop(self.call(slot, Call::Apply(epoch, (*row).clone())))
            }
            Message::Recall { leader, slot, id, grant, epoch, units } => {
                if let SlotReply::RecallOutcome(answer) =
                    self.call(slot, Call::Recall(id, grant, epoch, units))
                {
                    self.recall_answered(leader, id, answer);
                }
            }
            Message::CheckSlot { leader, slot, check, effect } => {
                self.continue_slot_check(leader, slot, check, effect)
            }
            Message::Stop { slot, stopped } => drop(self.call(slot, Call::Stop(stopped))),
            Message::Drain { leader, drain } => self.drained(leader, drain),
            Message::DrainSlot { leader, slot, grant, drain, effect } => {
                self.continue_slot_drain(leader, slot, grant, drain, effect)
            }
            Message::Round { node, round } => {
                if !self.slot_of_round(&round).is_some_and(|slot| self.is_gone(slot)) {
                    self.continue_round(node, round);
                }
            }
            Message::MissingUnits(action) => self.continue_units_action(action),
            Message::Roll { leader, slot } => self.rolled(leader, slot),
            Message::Takeover { leader, node, takeover } => {
                self.continue_takeover(leader, node, takeover)
            }
            Message::Snapshot { node, snapshot, parts } => {
                self.take_snapshot(node, snapshot, parts)
            }
            Message::Money(money_message) => self.run_money_message(*money_message),
            Message::DeliveryMessage(delivery_message) => {
                self.run_delivery_message(delivery_message)
            }
        }
    }

    fn leader_commits(&mut self, leader: u8, tx: Tx) {
        // `Serve` and `EndWaitlist` get the time at which they run. All other transactions keep the
        // time of the leader's decision.
        let tx = match tx {
            Tx::Serve(item, _) => Tx::Serve(item, self.now),
            Tx::EndWaitlist(item, _) => Tx::EndWaitlist(item, self.now),
            tx => tx,
        };
        let rolled = match &tx {
            Tx::Close(id, CloseCause::Rolled) => self.store.grant(*id).cloned(),
            _ => None,
        };
        match self.commit(tx) {
            TxResult::Closed(true) => {
                let of = |g: Grant| {
                    Some((self.places.iter().position(|p| p.at == g.slot)?, g.unsettled()))
                };
                if let Some((slot, units)) =
                    rolled.and_then(of).filter(|&(i, _)| self.is_in_spread(i))
                {
                    self.open_slot(leader, slot, units);
                    self.send(Message::Stop { slot, stopped: false });
                }
            }
            TxResult::Recall(Some(recall)) => self.send_recall(leader, recall.id),
            _ => {}
        }
    }

    fn issue_ticket(&mut self, attempt: usize, slot: usize, asked: u32, request: &TicketRequest) {
        let before = self.places[slot].slot.view();
        let SlotReply::Ticket(answer) = self.call(slot, Call::Ticket(request.clone())) else {
            return;
        };
        if let TicketAnswer::Issued(ticket) = &answer {
            let queue = self.places[slot].slot.view().map_or(0, |v| v.unacknowledged);
            self.checker.ticket_queued(before.is_some_and(|v| v.stopped), queue, self.setup.tight);
            let purchase = self.attempts[attempt].purchase;
            self.checker.ticket_issued(&self.store, &purchase, ticket, request.limit);
        }
        self.send(Message::Answer { attempt, slot, asked, answer });
    }

    fn recall_answered(&mut self, leader: u8, id: RecallId, answer: RecallOutcome) {
        if let Some(units) = answer.units_to_move() {
            self.send(Message::Commit { leader, tx: Tx::RecallFinish(id, units).into() });
        }
    }
}
