//! What a node makes of a slot's answer and of a verdict.
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::{IssuedTicket, TicketAnswer};
use doorbuster_core::{TicketId, TicketParts, Token, Verdict};

use super::node::AttemptState;
use super::{NAMES, World};
use crate::checker::{BuyerAnswer, BuyerRequest};

/// The id of a cut ticket, as a node makes it.
pub(crate) fn id_of(asked: &BuyerRequest, cut: &IssuedTicket) -> TicketId {
    let request = NAMES.request_hash(asked.buyer, asked.key).id_bits();
    let IssuedTicket { token, grant, n, units, decide_by } = *cut;
    let parts = TicketParts { decide_by, token, grant, n, units, request };
    NAMES.key.sign(&parts, asked.buyer().as_str())
}

impl World {
    /// A slot's answer reaches the node. One that belongs to an earlier try is ignored: its ticket,
    /// if it was cut, settles by itself.
    pub(crate) fn answered(&mut self, i: usize, slot: usize, token: Token, answer: TicketAnswer) {
        if self.attempts[i].state != (AttemptState::Asking { slot }) || self.token_of(i) != token {
            return;
        }
        let version = self.truth.version;
        match answer {
            TicketAnswer::Issued(cut) | TicketAnswer::Repeated(cut) => self.ticket_known(i, &cut),
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

    /// A slot refused: it may know less than the truth, so the refusal waits for a snapshot in
    /// which the request holds no order.
    fn refused(&mut self, i: usize, told: BuyerAnswer, version: u64) {
        if enforces(Rule::SlotRefusalConfirmed) {
            self.attempts[i].state = AttemptState::Refused { told, version };
        } else {
            self.answer_buyer(i, told);
        }
    }

    fn ticket_known(&mut self, i: usize, cut: &IssuedTicket) {
        let asked = self.attempts[i].asked;
        let id = id_of(&asked, cut);
        self.attempts[i].state = AttemptState::Waiting { id };
        if let Some((early, verdict)) = self.early_verdict(i)
            && early == id
        {
            return self.verdict(i, id, verdict);
        }
        if cut.token == self.token_of(i) {
            return;
        }
        // A ticket of an earlier try. If it was refused, the slot has yet to learn so, and this new
        // try waits until it does.
        match self.truth.verdict(&id) {
            None => {}
            Some(Verdict::Reserved | Verdict::Order(_)) => self.poll(i),
            Some(_) if enforces(Rule::NewTryAfterRefusal) => {
                self.answer_buyer(i, BuyerAnswer::Retry)
            }
            Some(_) => self.poll(i),
        }
    }

    /// The verdict of the attempt's ticket reaches the node.
    pub(crate) fn verdict(&mut self, i: usize, id: TicketId, verdict: Verdict) {
        let handed = matches!(self.attempts[i].state, AttemptState::Handed { .. });
        let order = match verdict {
            Verdict::Reserved => Some(id),
            Verdict::Order(order) => Some(order),
            _ => None,
        };
        if let Some(order) = order {
            if handed {
                self.checker.verdict_reported(&self.truth, id, verdict, self.now);
            }
            return self.answer_buyer(i, BuyerAnswer::Order(order));
        }
        let may_ask = !handed || !enforces(Rule::AskAgainOnlyWithoutId);
        if handed {
            self.checker.verdict_reported(&self.truth, id, verdict, self.now);
        }
        if verdict == Verdict::Unavailable && may_ask && self.ask_under_new_epoch(i) {
            return;
        }
        if handed {
            self.attempts[i].state = AttemptState::Over;
        } else {
            let asked = self.attempts[i].asked;
            self.checker.refused_with_ticket(&asked, id);
            self.answer_buyer(i, BuyerAnswer::from_verdict(verdict));
        }
    }

    /// The node reads the verdict in the truth.
    pub(crate) fn poll(&mut self, i: usize) {
        let (AttemptState::Waiting { id } | AttemptState::Handed { id }) = self.attempts[i].state
        else {
            return;
        };
        if let Some(verdict) = self.truth.verdict(&id) {
            self.verdict(i, id, verdict);
        }
    }

    /// A verdict notice reaches a node: every attempt that waits for this id hears it.
    pub(crate) fn verdict_notice(&mut self, node: u8, id: TicketId, verdict: Verdict) {
        let token = id.parts().expect("an id of a ticket that was cut").token;
        for i in 0..self.attempts.len() {
            if self.attempts[i].asked.node != node {
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
