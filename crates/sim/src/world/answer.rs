//! What a node makes of a slot's answer and of a verdict.
use doorbuster_core::rules::{Rule, keeps};
use doorbuster_core::slot::{Cut, TicketAnswer};
use doorbuster_core::{TicketId, TicketParts, Token, Verdict};

use super::node::State;
use super::{NAMES, World};
use crate::judge::{Asked, Told};

/// The id of a cut ticket, as a node makes it.
pub(crate) fn id_of(asked: &Asked, cut: &Cut) -> TicketId {
    let request = NAMES.request_hash(asked.buyer, asked.key).short();
    let Cut { token, grant, n, units, decide_by } = *cut;
    let parts = TicketParts { decide_by, token, grant, n, units, request };
    NAMES.key.seal(&parts, asked.buyer().as_str())
}

impl World {
    /// A slot's answer reaches the node. One that belongs to an earlier try is ignored: its ticket, if it was cut, settles by itself.
    pub(crate) fn answered(&mut self, i: usize, slot: usize, token: Token, answer: TicketAnswer) {
        if self.attempts[i].state != (State::Asking { slot }) || self.token_of(i) != token {
            return;
        }
        let version = self.truth.version;
        match answer {
            TicketAnswer::Cut(cut) | TicketAnswer::Again(cut) => self.ticket_known(i, &cut),
            TicketAnswer::KeyReused => self.refused(i, Told::KeyReused, version),
            TicketAnswer::LimitReached { .. } => self.refused(i, Told::LimitReached, version),
            TicketAnswer::Short { .. } => self.ask(i),
            TicketAnswer::Full | TicketAnswer::Stopped | TicketAnswer::NoEpoch => {
                self.tell(i, Told::Retry)
            }
        }
    }

    /// A slot refused: it may know less than the truth, so the refusal waits for a snapshot in which the request holds no order.
    fn refused(&mut self, i: usize, told: Told, version: u64) {
        if keeps(Rule::SlotRefusalConfirmed) {
            self.attempts[i].state = State::Refused { told, version };
        } else {
            self.tell(i, told);
        }
    }

    fn ticket_known(&mut self, i: usize, cut: &Cut) {
        let asked = self.attempts[i].asked;
        let id = id_of(&asked, cut);
        self.attempts[i].state = State::Waiting { id };
        if let Some((early, verdict)) = self.early_of(i)
            && early == id
        {
            return self.verdict(i, id, verdict);
        }
        if cut.token == self.token_of(i) {
            return;
        }
        // A ticket of an earlier try. If it was refused, the slot has yet to learn so, and this new try waits until it does.
        match self.truth.verdict(&id) {
            None => {}
            Some(Verdict::Reserved | Verdict::Order(_)) => self.poll(i),
            Some(_) if keeps(Rule::NewTryAfterRefusal) => self.tell(i, Told::Retry),
            Some(_) => self.poll(i),
        }
    }

    /// The verdict of the attempt's ticket reaches the node.
    pub(crate) fn verdict(&mut self, i: usize, id: TicketId, verdict: Verdict) {
        let handed = matches!(self.attempts[i].state, State::Handed { .. });
        let order = match verdict {
            Verdict::Reserved => Some(id),
            Verdict::Order(order) => Some(order),
            _ => None,
        };
        if let Some(order) = order {
            if handed {
                self.judge.verdict_told(&self.truth, id, verdict, self.now);
            }
            return self.tell(i, Told::Order(order));
        }
        let may_ask = !handed || !keeps(Rule::AskAgainOnlyWithoutId);
        if handed {
            self.judge.verdict_told(&self.truth, id, verdict, self.now);
        }
        if verdict == Verdict::Unavailable && may_ask && self.ask_again(i) {
            return;
        }
        if handed {
            self.attempts[i].state = State::Over;
        } else {
            let asked = self.attempts[i].asked;
            self.judge.refused_with(&asked, id);
            self.tell(i, Told::of(verdict));
        }
    }

    /// The node reads the verdict in the truth.
    pub(crate) fn poll(&mut self, i: usize) {
        let (State::Waiting { id } | State::Handed { id }) = self.attempts[i].state else { return };
        if let Some(verdict) = self.truth.verdict(&id) {
            self.verdict(i, id, verdict);
        }
    }

    /// A verdict notice reaches a node: every attempt that waits for this id hears it.
    pub(crate) fn notice(&mut self, node: u8, id: TicketId, verdict: Verdict) {
        let token = id.parts().expect("an id of a ticket that was cut").token;
        for i in 0..self.attempts.len() {
            if self.attempts[i].asked.node != node {
                continue;
            }
            match self.attempts[i].state {
                State::Waiting { id: mine } | State::Handed { id: mine } if mine == id => {
                    self.verdict(i, id, verdict)
                }
                State::Asking { .. } if self.token_of(i) == token => {
                    self.note_early(i, id, verdict)
                }
                _ => {}
            }
        }
    }
}
