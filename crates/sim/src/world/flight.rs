//! Messages in flight. Whatever an actor will do later is a message too, so that anything can happen before it does.
use std::sync::Arc;

use doorbuster_core::slot::{Applied, Recalled, Request, SlotView, Terms, TicketAnswer};
use doorbuster_core::{
    Cause, Delivery, Epoch, Feed, Grant, GrantId, ItemId, Phase, RecallId, TicketId, Token, Verdict,
};

use super::loss::Read;
use super::money::Errand;
use super::node::Snapshot;
use super::teller::Tale;
use super::{Call, FLIGHT_MAX, Said, World};
use crate::truth::{Done, Tx};

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Node to slot.
    Ticket { attempt: usize, slot: usize, request: Arc<Request> },
    /// Slot to node.
    Answer { attempt: usize, slot: usize, token: Token, answer: TicketAnswer },
    /// A settler's transaction.
    Settle { slot: usize, xid: u64, batch: Arc<[Delivery]> },
    /// Settler to slot.
    Acknowledge { slot: usize, batch: Arc<[Delivery]> },
    /// Settler to node.
    Notice { node: u8, id: TicketId, verdict: Verdict },
    /// Leader to slot.
    Init { leader: u8, slot: usize, terms: Terms },
    /// A leader's transaction, decided and not yet run.
    Commit { leader: u8, tx: Tx },
    /// Leader to slot.
    Apply { slot: usize, epoch: Epoch, row: Arc<Feed> },
    /// Leader to slot.
    Recall { leader: u8, slot: usize, id: RecallId, grant: GrantId, epoch: Epoch, units: u64 },
    /// A leader has read the truth and will ask the slot.
    AskView { leader: u8, slot: usize, before: Arc<Grant> },
    /// The slot has answered, and the leader will read the truth again.
    View { leader: u8, before: Arc<Grant>, view: Option<SlotView> },
    /// A leader has read the pending recalls and will read the grant again.
    Compare { leader: u8, before: Arc<Grant>, view: Option<SlotView>, read: Read },
    /// Leader to slot.
    Stop { slot: usize, stopped: bool },
    /// A leader goes from slot to slot of a stopping item.
    Drain { leader: u8, item: ItemId, intent: (Phase, u64), next: usize },
    /// A leader waits for a stopped slot to drain, to give it a new epoch.
    Roll { leader: u8, slot: usize },
    /// To a node.
    Snapshot { node: u8, snapshot: Snapshot },
    /// About money.
    Errand(Errand),
    /// About what happened.
    Tale(Tale),
}

impl Message {
    /// The leader whose memory this is, if it dies with that leader.
    pub(crate) fn leader(&self) -> Option<u8> {
        match self {
            Self::Commit { leader, .. }
            | Self::AskView { leader, .. }
            | Self::View { leader, .. }
            | Self::Compare { leader, .. }
            | Self::Drain { leader, .. }
            | Self::Roll { leader, .. } => Some(*leader),
            Self::Errand(errand) => errand.leader(),
            _ => None,
        }
    }

    /// The slot that it is for: whatever is for a slot that is gone with its node does not arrive.
    fn slot(&self) -> Option<usize> {
        match self {
            Self::Ticket { slot, .. }
            | Self::Acknowledge { slot, .. }
            | Self::Init { slot, .. }
            | Self::Apply { slot, .. }
            | Self::Recall { slot, .. }
            | Self::AskView { slot, .. }
            | Self::Stop { slot, .. } => Some(*slot),
            _ => None,
        }
    }

    /// The transaction that has begun and not ended, if it is one.
    pub(crate) fn xid(&self) -> Option<u64> {
        match self {
            Self::Settle { xid, .. } => Some(*xid),
            _ => None,
        }
    }

    /// The node whose memory this is, if it dies with that node.
    pub(crate) fn node(&self) -> Option<u8> {
        match self {
            Self::Notice { node, .. } | Self::Snapshot { node, .. } => Some(*node),
            _ => None,
        }
    }
}

impl World {
    pub(crate) fn send(&mut self, message: Message) {
        if self.flight.len() >= FLIGHT_MAX {
            self.flight.remove(0);
        }
        self.flight.push(message);
    }

    fn place_of(&self, pick: u8) -> Option<usize> {
        usize::from(pick).checked_rem(self.flight.len())
    }

    pub(crate) fn deliver(&mut self, pick: u8) {
        if let Some(i) = self.place_of(pick) {
            let message = self.flight.remove(i);
            self.arrives(message);
        }
    }

    pub(crate) fn lose(&mut self, pick: u8) {
        if let Some(i) = self.place_of(pick) {
            let message = self.flight.remove(i);
            if let Message::Tale(tale) = &message {
                self.tale_lost(tale);
            }
        }
    }

    pub(crate) fn delay(&mut self, pick: u8) {
        if let Some(i) = self.place_of(pick) {
            let message = self.flight.remove(i);
            if let Message::Tale(tale) = &message {
                self.tale_lost(tale);
            }
            self.late.push(message);
        }
    }

    pub(crate) fn late(&mut self, pick: u8) {
        if let Some(i) = usize::from(pick).checked_rem(self.late.len()) {
            let message = self.late.remove(i);
            self.arrives(message);
        }
    }

    /// Arrives now, and once more later. A connection does not repeat a command, and clients' own retries are off: a request is put to a slot once each
    /// time.
    pub(crate) fn repeat(&mut self, pick: u8) {
        if let Some(i) = self.place_of(pick) {
            let message = self.flight.remove(i);
            if !matches!(message, Message::Ticket { .. }) {
                self.late.push(message.clone());
            }
            self.arrives(message);
        }
    }

    pub(crate) fn deliver_many(&mut self, count: usize) {
        for _ in 0..count {
            if self.flight.is_empty() || self.judge.found() {
                return;
            }
            self.deliver(0);
        }
    }

    /// Everything in flight arrives, with all that it causes.
    pub(crate) fn deliver_all(&mut self) {
        self.deliver_many(4 * FLIGHT_MAX);
    }

    fn arrives(&mut self, message: Message) {
        if message.slot().is_some_and(|slot| self.is_gone(slot)) {
            return;
        }
        match message {
            Message::Ticket { attempt, slot, request } => self.cut(attempt, slot, &request),
            Message::Answer { attempt, slot, token, answer } => {
                self.answered(attempt, slot, token, answer)
            }
            Message::Settle { slot, xid, batch } => self.settle(slot, xid, &batch),
            Message::Acknowledge { slot, batch } => {
                for delivery in batch.iter() {
                    self.call(slot, Call::Acknowledge(delivery.at, delivery.ticket.token));
                }
            }
            Message::Notice { node, id, verdict } => self.notice(node, id, verdict),
            Message::Init { leader, slot, terms } => {
                if let Said::Applied(Applied::At(_)) = self.call(slot, Call::Init(terms)) {
                    self.send(Message::Commit { leader, tx: Tx::AckInit(terms.grant) });
                }
            }
            Message::Commit { leader, tx } => self.leader_commits(leader, tx),
            Message::Apply { slot, epoch, row } => {
                drop(self.call(slot, Call::Apply(epoch, (*row).clone())))
            }
            Message::Recall { leader, slot, id, grant, epoch, units } => {
                if let Said::Recalled(answer) =
                    self.call(slot, Call::Recall(id, grant, epoch, units))
                {
                    self.recall_answered(leader, id, answer);
                }
            }
            Message::AskView { leader, slot, before } => {
                let view = self.places[slot].slot.view();
                self.send(Message::View { leader, before, view });
            }
            Message::View { leader, before, view } => self.viewed(leader, before, view),
            Message::Compare { leader, before, view, read } => {
                self.compared(leader, &before, view.as_ref(), read)
            }
            Message::Stop { slot, stopped } => drop(self.call(slot, Call::Stop(stopped))),
            Message::Drain { leader, item, intent, next } => {
                self.drained(leader, item, intent, next)
            }
            Message::Roll { leader, slot } => self.rolled(leader, slot),
            Message::Snapshot { node, snapshot } => self.take_snapshot(usize::from(node), snapshot),
            Message::Errand(errand) => self.run_errand(errand),
            Message::Tale(tale) => self.run_tale(tale),
        }
    }

    /// A leader's transaction, and what follows from its outcome.
    fn leader_commits(&mut self, leader: u8, tx: Tx) {
        // Times are the store's.
        let tx = match tx {
            Tx::Serve(item, _) => Tx::Serve(item, self.now),
            Tx::EndLine(item, _) => Tx::EndLine(item, self.now),
            tx => tx,
        };
        let rolled = match &tx {
            Tx::Close(id, Cause::Rolled) => self.truth.grant(*id).cloned(),
            _ => None,
        };
        match self.commit(tx) {
            Done::Closed(true) => {
                let of = |g: Grant| {
                    Some((self.places.iter().position(|p| p.at == g.slot)?, g.unsettled()))
                };
                if let Some((slot, units)) = rolled.and_then(of) {
                    self.open_slot(leader, slot, units);
                    self.send(Message::Stop { slot, stopped: false });
                }
            }
            Done::Opened(Some(grant)) => {
                if let Some(slot) = self.places.iter().position(|p| p.at == grant.slot) {
                    self.send_init(leader, slot);
                }
            }
            Done::Recall(Some(recall)) => self.send_recall(leader, recall.id),
            _ => {}
        }
    }

    /// The slot's atomic step for one request.
    fn cut(&mut self, attempt: usize, slot: usize, request: &Request) {
        let before = self.places[slot].slot.view();
        let Said::Ticket(answer) = self.call(slot, Call::Ticket(request.clone())) else { return };
        if let TicketAnswer::Cut(cut) = &answer {
            let queue = self.places[slot].slot.view().map_or(0, |v| v.unacknowledged);
            self.judge.bounds(before.is_some_and(|v| v.stopped), queue, self.setup.tight);
            let asked = self.attempts[attempt].asked;
            self.judge.cut(&self.truth, &asked, cut, request.limit);
        }
        self.send(Message::Answer { attempt, slot, token: request.token, answer });
    }

    fn recall_answered(&mut self, leader: u8, id: RecallId, answer: Recalled) {
        use doorbuster_core::rules::{Rule, keeps};
        match answer {
            Recalled::Taken(units) => {
                self.send(Message::Commit { leader, tx: Tx::RecallFinish(id, units) })
            }
            Recalled::Refused if !keeps(Rule::RecallRefusalFinishesNothing) => {
                self.send(Message::Commit { leader, tx: Tx::RecallFinish(id, 0) });
            }
            Recalled::Refused => {}
        }
    }
}
