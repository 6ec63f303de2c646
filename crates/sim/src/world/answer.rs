//! Simulates how a node handles a slot's answer and a verdict.
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::{TicketId, TicketParts, Token, Verdict};

use super::node::AttemptState;
use super::{NAMES, World};
use crate::checker::{BuyerAnswer, BuyerRequest};

/// Returns the id of an issued ticket, as a node computes it.
pub(crate) fn id_of(purchase: &BuyerRequest, ticket: &IssuedTicket) -> TicketId {
    let request = NAMES.request_hash(purchase.buyer, purchase.key).id_bits();
    let IssuedTicket { token, grant, n, units, decide_by } = *ticket;
    let parts = TicketParts { decide_by, token, grant, n, units, request };
    NAMES.key.sign(&parts, purchase.buyer().as_str())
}

impl World {
    /// Handles a slot's answer. The node ignores an answer to an earlier try. If the slot issued a
    /// ticket for that try, the ticket is settled anyway.
    pub(crate) fn answered(&mut self, i: usize, slot: usize, token: Token, answer: TicketAnswer) {
        if self.attempts[i].state != (AttemptState::Asking { slot }) || self.token_of(i) != token {
            return;
        }
        let version = self.store.version;
        match answer {
            TicketAnswer::Issued(ticket) | TicketAnswer::Repeated(ticket) => {
                self.ticket_known(i, &ticket)
            }
            TicketAnswer::KeyReused => self.refused(i, BuyerAnswer::KeyReused, version),
            TicketAnswer::LimitReached { .. } => {
                self.refused(i, BuyerAnswer::LimitReached, version)
            }
            TicketAnswer::Short { .. } => self.ask_next_slot(i),
            TicketAnswer::Full | TicketAnswer::Stopped | TicketAnswer::NoEpoch => {
                self.answer_buyer(i, BuyerAnswer::Retry)
            }
        }
    }

    /// Handles a slot's refusal. A slot may know less than the store, so the refusal waits for a
    /// snapshot in which the request holds no order.
    fn refused(&mut self, i: usize, answer: BuyerAnswer, version: u64) {
        if enforces(Rule::SlotRefusalConfirmed) {
            self.attempts[i].state = AttemptState::Refused { answer, version };
        } else {
            self.answer_buyer(i, answer);
        }
    }

    fn ticket_known(&mut self, i: usize, ticket: &IssuedTicket) {
        let purchase = self.attempts[i].purchase;
        let id = id_of(&purchase, ticket);
        self.attempts[i].state = AttemptState::Waiting { id };
        if let Some((early, verdict)) = self.early_verdict(i)
            && early == id
        {
            return self.verdict(i, id, verdict);
        }
        if ticket.token == self.token_of(i) {
            return;
        }
        // The ticket is from an earlier try. If the store refused that ticket, the slot does not
        // know this yet. The new try waits until the slot knows the refusal.
        match self.store.verdict(&id) {
            None => {}
            Some(Verdict::Reserved | Verdict::Order(_)) => self.poll(i),
            Some(_) if enforces(Rule::NewTryAfterRefusal) => {
                self.answer_buyer(i, BuyerAnswer::Retry)
            }
            Some(_) => self.poll(i),
        }
    }

    /// Handles the verdict of the attempt's ticket.
    pub(crate) fn verdict(&mut self, i: usize, id: TicketId, verdict: Verdict) {
        let handed = matches!(self.attempts[i].state, AttemptState::Handed { .. });
        let order = match verdict {
            Verdict::Reserved => Some(id),
            Verdict::Order(order) => Some(order),
            _ => None,
        };
        if let Some(order) = order {
            if handed {
                self.checker.verdict_reported(&self.store, id, verdict, self.now);
            }
            return self.answer_buyer(i, BuyerAnswer::Order(order));
        }
        let may_ask = !handed || !enforces(Rule::AskAgainOnlyWithoutId);
        if handed {
            self.checker.verdict_reported(&self.store, id, verdict, self.now);
        }
        if verdict == Verdict::Unavailable && may_ask && self.ask_under_new_epoch(i) {
            return;
        }
        if handed {
            self.attempts[i].state = AttemptState::Over;
        } else {
            let purchase = self.attempts[i].purchase;
            self.checker.refused_with_ticket(&purchase, id);
            self.answer_buyer(i, BuyerAnswer::from_verdict(verdict));
        }
    }

    /// Reads the verdict from the store.
    pub(crate) fn poll(&mut self, i: usize) {
        let (AttemptState::Waiting { id } | AttemptState::Handed { id }) = self.attempts[i].state
        else {
            return;
        };
        if let Some(verdict) = self.store.verdict(&id) {
            self.verdict(i, id, verdict);
        }
    }

    /// Handles a verdict notice. Every attempt at the node that waits for this id gets the verdict.
    pub(crate) fn verdict_notice(&mut self, node: u8, id: TicketId, verdict: Verdict) {
        let token = id.parts().expect("an id of an issued ticket").token;
        for i in 0..self.attempts.len() {
            if self.attempts[i].purchase.node != node {
                continue;
            }
            match self.attempts[i].state {
                AttemptState::Waiting { id: mine } | AttemptState::Handed { id: mine }
                    if mine == id =>
                {
                    self.verdict(i, id, verdict)
                }
                AttemptState::Asking { .. } if self.token_of(i) == token => {
                    self.keep_early_verdict(i, id, verdict)
                }
                _ => {}
            }
        }
    }
}
