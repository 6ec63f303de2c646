//! Messages in flight. If an actor's action has several steps, each later step is also a message,
//! so that steps of other actors can happen before it.
use std::sync::Arc;

use doorbuster_core::money::Capture;
use doorbuster_core::slot::{RecallOutcome, TicketAnswer, TicketRequest};
use doorbuster_core::{
    CloseCause, Delivery, Epoch, FeedRow, Grant, GrantId, ItemId, Phase, RecallId, TicketId,
    Verdict,
};

use doorbuster_steps::late_payment::{Effect as PaymentEffect, LatePayment};
use doorbuster_steps::pool_recall::{Effect as PoolEffect, PoolRecall};
use doorbuster_steps::publication::Part;
use doorbuster_steps::sale_stop;
use doorbuster_steps::sequence::Sequence;
use doorbuster_steps::slot_check::{Effect, SlotCheck};
use doorbuster_steps::slot_drain::{Effect as DrainEffect, SlotDrain};
use doorbuster_steps::slot_reconciliation::{Effect as RoundEffect, OpenSlot, Round};
use doorbuster_steps::slot_start::{Effect as StartEffect, SlotStart};
use doorbuster_steps::takeover::{Effect as TakeoverEffect, Takeover};
use doorbuster_steps::total_change::{Effect as TotalEffect, TotalChange};

use super::delivery::DeliveryMessage;
use super::money::{AfterPayment, MoneyMessage};
use super::node::Snapshot;
use super::settler::Settling;
use super::{Call, FLIGHT_MAX, SlotReply, World};
use crate::store::{Tx, TxResult};

/// A slot's start, and its next effect.
#[derive(Clone, Debug)]
pub(crate) struct Starting {
    /// The id of the grant that the slot gets if it has none.
    pub(super) grant: Option<GrantId>,
    pub(super) units: u64,
    pub(super) steps: SlotStart,
    pub(super) effect: StartEffect,
}

/// A round of an item's reconciliation, and its next effect.
#[derive(Clone, Debug)]
pub(crate) struct ItemRound {
    pub(super) item: ItemId,
    pub(super) steps: Round,
    pub(super) effect: RoundEffect,
    /// The slots that the present effect has fed.
    pub(super) fed: Vec<OpenSlot>,
    /// The grants that the present effect has refilled, and their units.
    pub(super) refilled: Vec<(GrantId, u64)>,
}

/// An action on a node that may need more units than the pool has.
#[derive(Clone, Debug)]
pub(crate) struct UnitsAction {
    pub(super) node: u8,
    pub(super) item: ItemId,
    pub(super) steps: UnitsSteps,
    /// The recall that the action waits for, and its next effect.
    pub(super) recall: Option<(PoolRecall, PoolEffect)>,
}

/// The steps of an action that may need more units than the pool has, and their next effect.
#[derive(Clone, Debug)]
pub(crate) enum UnitsSteps {
    /// A payment of an ended order.
    Payment {
        charge: usize,
        capture: Box<Capture>,
        after: Option<AfterPayment>,
        steps: LatePayment,
        effect: PaymentEffect,
    },
    /// A change of the item's total by `delta` units.
    Total { delta: i64, steps: TotalChange, effect: TotalEffect },
}

impl UnitsAction {
    /// Returns the leader that waits for the action. If the leader fails, the action is lost.
    pub(super) fn leader(&self) -> Option<u8> {
        match &self.steps {
            UnitsSteps::Payment { after, .. } => Some(after.as_ref()?.leader),
            UnitsSteps::Total { .. } => None,
        }
    }
}

/// The state of a leader that checks, slot by slot, whether a stopping item is drained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(super) item: ItemId,
    /// The phase that the item gets, and the commit that announced it.
    pub(super) intent: (Phase, u64),
    /// The next slot to check.
    pub(super) next: usize,
    /// The effects after the check.
    pub(super) rest: Sequence<sale_stop::Effect>,
}

/// A message.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Node to slot.
    Ticket { attempt: usize, slot: usize, asked: u32, request: Arc<TicketRequest> },
    /// Slot to node.
    Answer { attempt: usize, slot: usize, asked: u32, answer: TicketAnswer },
    /// A node has read a buyer's quota and will read the order of the buyer's request.
    Confirm { attempt: usize, asked: u32, used: u32 },
    /// A settler's transaction.
    Settle { xid: u64, settling: Settling },
    /// Settler to slot.
    Acknowledge { slot: usize, batch: Arc<[Delivery]> },
    /// Settler to node.
    Notice { node: u8, id: TicketId, verdict: Verdict },
    /// The next effect of a slot's start.
    StartSlot { leader: u8, slot: usize, starting: Box<Starting> },
    /// A transaction that a leader has decided to run, but has not run yet.
    Commit { leader: u8, tx: Tx },
    /// Leader to slot.
    Apply { slot: usize, epoch: Epoch, row: Arc<FeedRow> },
    /// Leader to slot.
    Recall { leader: u8, slot: usize, id: RecallId, grant: GrantId, epoch: Epoch, units: u64 },
    /// A leader checks whether a slot lost its memory. The effect is the check's next read.
    CheckSlot { leader: u8, slot: usize, check: Box<SlotCheck>, effect: Effect },
    /// Leader to slot.
    Stop { slot: usize, stopped: bool },
    /// A leader checks the slots of a stopping item one after the other.
    Drain { leader: u8, drain: Drain },
    /// A leader drains a slot that left its item's spread. The effect is the drain's next one.
    DrainSlot {
        leader: u8,
        slot: usize,
        grant: GrantId,
        drain: Box<SlotDrain>,
        effect: DrainEffect,
    },
    /// A node performs an action that may need more units than the pool has.
    MissingUnits(Box<UnitsAction>),
    /// A node reconciles an item's slots.
    Round { node: u8, round: Box<ItemRound> },
    /// A leader waits until a stopped slot is drained, to give it a new epoch.
    Roll { leader: u8, slot: usize },
    /// Store to node. The parts are those that the node has not published yet.
    Snapshot { node: u8, snapshot: Snapshot, parts: Sequence<Part> },
    /// A leader takes over the units of nodes whose leases have lapsed.
    Takeover { leader: u8, node: u8, takeover: Box<(Takeover, TakeoverEffect)> },
    /// A message about money.
    MoneyMessage(MoneyMessage),
    /// A message about event deliveries.
    DeliveryMessage(DeliveryMessage),
}

impl Message {
    /// Returns the leader that has the message in its memory. If the leader fails, the message is
    /// lost.
    pub(crate) fn leader(&self) -> Option<u8> {
        match self {
            Self::Commit { leader, .. }
            | Self::CheckSlot { leader, .. }
            | Self::Drain { leader, .. }
            | Self::DrainSlot { leader, .. }
            | Self::Roll { leader, .. }
            | Self::Takeover { leader, .. } => Some(*leader),
            // A grant on its way to a slot is not in the leader's memory.
            Self::StartSlot { leader, starting, .. } => {
                (!matches!(starting.effect, StartEffect::Init(_))).then_some(*leader)
            }
            Self::MissingUnits(action) => action.leader(),
            Self::MoneyMessage(money_message) => money_message.leader(),
            _ => None,
        }
    }

    /// Returns the slot that receives the message. A message to a lost slot does not arrive.
    fn slot(&self) -> Option<usize> {
        match self {
            Self::Ticket { slot, .. }
            | Self::Acknowledge { slot, .. }
            | Self::Apply { slot, .. }
            | Self::Recall { slot, .. }
            | Self::CheckSlot { slot, effect: Effect::ReadSlot, .. }
            | Self::DrainSlot {
                slot,
                effect: DrainEffect::ReadSlot | DrainEffect::StopSlot | DrainEffect::TakeUnits(_),
                ..
            }
            | Self::Stop { slot, .. } => Some(*slot),
            Self::StartSlot { slot, starting, .. } => {
                matches!(starting.effect, StartEffect::ReadSlot | StartEffect::Init(_))
                    .then_some(*slot)
            }
            _ => None,
        }
    }

    /// Returns the running transaction of the message, if it has one.
    pub(crate) fn xid(&self) -> Option<u64> {
        match self {
            Self::Settle { xid, .. } => Some(*xid),
            _ => None,
        }
    }

    /// Returns the node that has the message in its memory. If the node fails, the message is lost.
    pub(crate) fn node(&self) -> Option<u8> {
        match self {
            Self::Notice { node, .. }
            | Self::Snapshot { node, .. }
            | Self::Round { node, .. }
            | Self::Takeover { node, .. } => Some(*node),
            Self::MissingUnits(action) => Some(action.node),
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

    fn pick_message(&self, pick: u8) -> Option<usize> {
        usize::from(pick).checked_rem(self.flight.len())
    }

    pub(crate) fn deliver(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i);
            self.receive(message);
        }
    }

    pub(crate) fn lose(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i);
            if let Message::DeliveryMessage(delivery_message) = &message {
                self.delivery_message_lost(delivery_message);
            }
        }
    }

    pub(crate) fn delay(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i);
            if let Message::DeliveryMessage(delivery_message) = &message {
                self.delivery_message_lost(delivery_message);
            }
            self.late.push(message);
        }
    }

    pub(crate) fn late(&mut self, pick: u8) {
        if let Some(i) = usize::from(pick).checked_rem(self.late.len()) {
            let message = self.late.remove(i);
            self.receive(message);
        }
    }

    /// Delivers a message now, and once more later. Ticket requests are not repeated, because a
    /// connection does not repeat a command and the clients do not retry.
    pub(crate) fn repeat(&mut self, pick: u8) {
        if let Some(i) = self.pick_message(pick) {
            let message = self.flight.remove(i);
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

    /// Delivers all messages in flight and all messages that they cause.
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
            Message::Confirm { attempt, asked, used } => self.confirmed(attempt, asked, used),
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
            Message::Commit { leader, tx } => self.leader_commits(leader, tx),
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
            Message::MoneyMessage(money_message) => self.run_money_message(money_message),
            Message::DeliveryMessage(delivery_message) => {
                self.run_delivery_message(delivery_message)
            }
        }
    }

    /// Runs a leader's transaction and the steps that follow from its result.
    fn leader_commits(&mut self, leader: u8, tx: Tx) {
        // The transaction uses times of the store's clock.
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

    /// Performs the slot's atomic step for one request.
    fn issue_ticket(&mut self, attempt: usize, slot: usize, asked: u32, request: &TicketRequest) {
        let before = self.places[slot].slot.view();
        let SlotReply::Ticket(answer) = self.call(slot, Call::Ticket(request.clone())) else {
            return;
        };
        if let TicketAnswer::Issued(ticket) = &answer {
            let queue = self.places[slot].slot.view().map_or(0, |v| v.unacknowledged);
            self.checker.bounds(before.is_some_and(|v| v.stopped), queue, self.setup.tight);
            let purchase = self.attempts[attempt].purchase;
            self.checker.ticket_issued(&self.store, &purchase, ticket, request.limit);
        }
        self.send(Message::Answer { attempt, slot, asked, answer });
    }

    fn recall_answered(&mut self, leader: u8, id: RecallId, answer: RecallOutcome) {
        if let Some(units) = answer.units_to_move() {
            self.send(Message::Commit { leader, tx: Tx::RecallFinish(id, units) });
        }
    }
}
