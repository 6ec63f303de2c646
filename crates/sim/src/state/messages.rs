//! Messages in flight. If an action of a node, leader or settler has several steps, each later step
//! is also a message. So other actors can act between two steps.
use std::sync::Arc;

use doorbuster_core::money::Capture;
use doorbuster_core::slot::{TicketAnswer, TicketRequest};
use doorbuster_core::{
    Epoch, FeedRow, GrantId, ItemId, Millis, Phase, QueuedTicket, RecallId, TicketId, Verdict,
};
use doorbuster_steps::late_payment::{self, Effect as PaymentEffect, LatePayment};
use doorbuster_steps::pool_recall::{Effect as PoolEffect, PoolRecall};
use doorbuster_steps::publication::Part;
use doorbuster_steps::sale_stop;
use doorbuster_steps::settlement;
use doorbuster_steps::slot_check::{Effect as CheckEffect, SlotCheck};
use doorbuster_steps::slot_drain::{Effect as DrainEffect, SlotDrain};
use doorbuster_steps::slot_reconciliation::{
    Effect as RoundEffect, Input as RoundInput, OpenSlot, Round,
};
use doorbuster_steps::slot_start::{Effect as StartEffect, SlotStart};
use doorbuster_steps::takeover::{Effect as TakeoverEffect, Takeover};
use doorbuster_steps::total_change::{self, Effect as TotalEffect, TotalChange};

use super::deliveries::DeliveryMessage;
use super::money::{AfterPayment, MoneyMessage};
use super::node::Snapshot;
use crate::store::Tx;

/// The start of a slot: the steps so far, and the next effect.
#[derive(Clone, Debug)]
pub(crate) struct Starting {
    /// The id of the grant that is opened for the slot, if the slot has no open grant.
    pub(crate) grant: Option<GrantId>,
    pub(crate) units: u64,
    pub(crate) steps: SlotStart,
    pub(crate) effect: StartEffect,
}

/// A round in which a node reconciles an item's slots with the store: the steps so far, and the
/// next effect.
#[derive(Clone, Debug)]
pub(crate) struct ItemRound {
    pub(crate) item: ItemId,
    pub(crate) steps: Round,
    pub(crate) effect: RoundEffect,
    /// The slots that already have the feed rows of the current effect. The effect sends the rows
    /// to one slot after the other.
    pub(crate) fed: Vec<OpenSlot>,
    /// The grants of the slots that did not answer when the node sent them feed rows.
    pub(crate) missed: Vec<GrantId>,
    /// The grants that the current effect has already refilled, each with its number of units. The
    /// effect refills one grant after the other.
    pub(crate) refilled: Vec<(GrantId, u64)>,
}

impl ItemRound {
    pub(crate) fn new(item: ItemId, steps: Round, effect: RoundEffect) -> Self {
        let (fed, missed, refilled) = (Vec::new(), Vec::new(), Vec::new());
        Self { item, steps, effect, fed, missed, refilled }
    }

    /// If the current effect is a feed and has called all its slots, returns the effect's result.
    pub(crate) fn finish_feed(&mut self) -> Option<RoundInput> {
        let RoundEffect::Feed(slots) = &self.effect else { return None };
        let is_complete = self.fed.len() + self.missed.len() == slots.len();
        is_complete.then(|| RoundInput::Fed {
            fed: std::mem::take(&mut self.fed),
            missed: std::mem::take(&mut self.missed),
        })
    }
}

/// A node's action that may need more units than the pool has. If the pool has too few units, the
/// action recalls units from slots.
#[derive(Clone, Debug)]
pub(crate) struct UnitsAction {
    pub(crate) node: u8,
    pub(crate) item: ItemId,
    pub(crate) steps: StockAction,
    /// The recall that the action waits for, if any, and the next effect of this recall.
    pub(crate) recall: Option<(PoolRecall, PoolEffect)>,
}

#[derive(Clone, Debug)]
pub(crate) enum StockAction {
    /// A payment of an ended order.
    Payment {
        charge: usize,
        capture: Box<Capture>,
        after: Option<AfterPayment>,
        steps: LatePayment,
        effect: PaymentEffect,
    },
    /// An operator's change of the item's total by `delta` units.
    Total { delta: i64, steps: TotalChange, effect: TotalEffect },
}

impl StockAction {
    /// Continues the action. `recalled` is the number of units that a recall moved, or `None` if
    /// the action has only waited.
    pub(crate) fn resume(&mut self, recalled: Option<u64>, now: Millis) {
        match self {
            Self::Payment { steps, effect, .. } => {
                let input = match recalled {
                    Some(units) => late_payment::Input::Recalled(Some(units)),
                    None => late_payment::Input::Waited,
                };
                *effect = steps.next(input, now);
            }
            Self::Total { steps, effect, .. } => {
                let input = match recalled {
                    Some(units) => total_change::Input::Recalled(units),
                    None => total_change::Input::Waited,
                };
                *effect = steps.next(input, now);
            }
        }
    }
}

impl UnitsAction {
    /// Returns the leader that waits for the end of the action, if a leader waits. If this leader's
    /// process ends, the action is lost.
    pub(crate) fn leader(&self) -> Option<u8> {
        match &self.steps {
            StockAction::Payment { after, .. } => Some(after.as_ref()?.leader),
            StockAction::Total { .. } => None,
        }
    }
}

/// A leader checks an item's slots one by one, until all are drained. The item then gets its new
/// phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drain {
    pub(crate) item: ItemId,
    /// The phase that the item gets next, and the number of the commit that recorded this phase.
    pub(crate) intent: (Phase, u64),
    /// The next slot to check.
    pub(crate) next: usize,
    pub(crate) rest: &'static [sale_stop::Effect],
}

/// Tickets of one slot that a settler settles together.
#[derive(Clone, Debug)]
pub(crate) struct Settling {
    pub(crate) slot: usize,
    pub(crate) batch: Arc<[QueuedTicket]>,
    pub(crate) steps: &'static [settlement::Effect],
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// A node asks a slot for a ticket.
    Ticket { attempt: usize, slot: usize, asked: u32, request: Arc<TicketRequest> },
    /// A slot answers a node.
    Answer { attempt: usize, slot: usize, asked: u32, answer: TicketAnswer },
    /// A node has read a buyer's quota (`used`), and next reads the order of the request.
    /// `ended_orders` is the number of ended orders that the node knew of before it read the quota.
    Confirm { attempt: usize, asked: u32, used: u32, ended_orders: u64 },
    /// A settler settles a batch in a transaction.
    Settle { xid: u64, settling: Settling },
    /// A settler acknowledges a batch in the slot's queue.
    Acknowledge { slot: usize, batch: Arc<[QueuedTicket]> },
    /// A settler tells a node a ticket's verdict.
    Notice { node: u8, id: TicketId, verdict: Verdict },
    /// The next effect of a slot's start.
    StartSlot { leader: u8, slot: usize, starting: Box<Starting> },
    /// A leader has decided to run this transaction, but has not run it yet.
    Commit { leader: u8, tx: Box<Tx> },
    /// A leader sends a slot a feed row.
    Apply { slot: usize, epoch: Epoch, row: Arc<FeedRow> },
    /// A leader recalls units from a slot.
    Recall { leader: u8, slot: usize, id: RecallId, grant: GrantId, epoch: Epoch, units: u64 },
    /// A leader checks whether a slot lost its memory. `effect` says what the check reads next.
    CheckSlot { leader: u8, slot: usize, check: Box<SlotCheck>, effect: CheckEffect },
    /// A leader stops or resumes a slot.
    Stop { slot: usize, stopped: bool },
    /// A leader checks, one after the other, whether the slots of an item are drained.
    Drain { leader: u8, drain: Drain },
    /// A leader drains a slot that left its item's spread. `effect` is the drain's next effect.
    DrainSlot {
        leader: u8,
        slot: usize,
        grant: GrantId,
        drain: Box<SlotDrain>,
        effect: DrainEffect,
    },
    /// A node continues an action that may need more units than the pool has.
    MissingUnits(Box<UnitsAction>),
    /// A node reconciles an item's slots.
    Round { node: u8, round: Box<ItemRound> },
    /// A leader waits until a stopped slot is drained, and then gives the slot a new epoch.
    Roll { leader: u8, slot: usize },
    /// The store sends a snapshot to a node. `parts` are the parts that the node still has to
    /// publish.
    Snapshot { node: u8, snapshot: Arc<Snapshot>, parts: &'static [Part] },
    /// A leader closes the grants of nodes whose leases have lapsed, so that the units of these
    /// grants return to the pool.
    Takeover { leader: u8, node: u8, takeover: Box<(Takeover, TakeoverEffect)> },
    /// A message about money.
    Money(Box<MoneyMessage>),
    /// A message about event deliveries.
    DeliveryMessage(DeliveryMessage),
}

impl Message {
    /// Returns the leader whose memory contains the message. If this leader's process ends, the
    /// message is lost.
    pub(crate) fn leader(&self) -> Option<u8> {
        match self {
            Self::Commit { leader, .. }
            | Self::CheckSlot { leader, .. }
            | Self::Drain { leader, .. }
            | Self::DrainSlot { leader, .. }
            | Self::Roll { leader, .. }
            | Self::Takeover { leader, .. } => Some(*leader),
            // The leader has already sent this grant to the slot. So the grant arrives even if the
            // leader's process ends.
            Self::StartSlot { leader, starting, .. } => {
                (!matches!(starting.effect, StartEffect::Init(_))).then_some(*leader)
            }
            Self::MissingUnits(action) => action.leader(),
            Self::Money(money_message) => money_message.leader(),
            _ => None,
        }
    }

    /// Returns whether the sender repeats this message until its effect succeeds. The network does
    /// not lose such a message.
    pub(crate) fn is_repeated(&self) -> bool {
        matches!(self, Self::Money(message) if matches!(**message, MoneyMessage::ApplyAgain { .. }))
    }

    /// Returns the slot to which the message goes. A message to a lost slot does not arrive.
    pub(crate) fn slot(&self) -> Option<usize> {
        match self {
            Self::Ticket { slot, .. }
            | Self::Acknowledge { slot, .. }
            | Self::Apply { slot, .. }
            | Self::Recall { slot, .. }
            | Self::CheckSlot { slot, effect: CheckEffect::ReadSlot, .. }
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

    /// Returns the number of the transaction if the message is a running transaction.
    pub(crate) fn xid(&self) -> Option<u64> {
        match self {
            Self::Settle { xid, .. } => Some(*xid),
            _ => None,
        }
    }

    /// Returns the node whose memory contains the message. If this node's process ends, the message
    /// is lost.
    pub(crate) fn node(&self) -> Option<u8> {
        match self {
            Self::Notice { node, .. }
            | Self::Snapshot { node, .. }
            | Self::Round { node, .. }
            | Self::Takeover { node, .. } => Some(*node),
            Self::MissingUnits(action) => Some(action.node),
            Self::Money(money_message) => money_message.node(),
            _ => None,
        }
    }
}
