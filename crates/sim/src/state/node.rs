//! The memory of a node: its snapshot of the store, and the purchases that it performs.
use std::sync::Arc;

use doorbuster_core::digest::SnapshotPosition;
use doorbuster_core::limit_counts::LimitCounts;
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::{Millis, TicketId, Token, Verdict};
use doorbuster_steps::applied_payments::AppliedPayments;
use doorbuster_steps::memory::Queued;
use doorbuster_steps::purchase;
use hashbrown::{HashMap, HashSet};

use crate::request::BuyerRequest;
use crate::store::PhaseRow;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemSnapshot {
    pub(crate) pool: u64,
    pub(crate) free: FreeUnits,
    pub(crate) phase: PhaseRow,
}

/// A snapshot of the store at one commit, as the store sends it to nodes.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    pub(crate) at: Millis,
    /// Requests that hold an order. This snapshot and the node's earlier snapshots together contain
    /// all such requests up to this commit.
    pub(crate) holders: Vec<u64>,
    /// The position of the snapshot. It tells which transactions the snapshot includes.
    pub(crate) position: SnapshotPosition,
    pub(crate) items: [ItemSnapshot; 2],
    pub(crate) partitions: Vec<usize>,
    /// The granted and unsettled units of each slot.
    pub(crate) levels: Vec<u64>,
    pub(crate) ended_orders: [u64; 2],
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// The low 64 bits of the hashes of requests that hold an order. The set has all such requests
    /// up to the current snapshot, and the later ones that this node answered with an order or
    /// settled.
    pub(crate) holders: HashSet<u64, foldhash::fast::FixedState>,
    /// The requests that this node answered as queued, as the low 64 bits of their hashes.
    pub(crate) queued: HashMap<u64, Queued, foldhash::fast::FixedState>,
    /// The position of the current snapshot. It tells which transactions the snapshot includes.
    pub(crate) position: Option<SnapshotPosition>,
    pub(crate) is_dead: bool,
    /// The end of the node's lease, by the store's clock.
    pub(crate) until: Millis,
    /// The tokens of tickets whose verdicts this node expects.
    pub(crate) expected: Vec<Token>,
    /// The number of requests for which this node chose the slots in turn.
    pub(crate) turns: u64,
    /// How far the node's clock is ahead of the store's clock, in milliseconds.
    pub(crate) skew_ms: i64,
    /// For each item: until this time, the node takes no units from the item's pool, so that other
    /// nodes can take them.
    pub(crate) pool_rests_until: [Millis; 2],
    /// For each item: the number of ended orders that the node knows of.
    pub(crate) ended_orders: [u64; 2],
    /// The number of failovers that the node knows of.
    pub(crate) failovers: u64,
    /// For each item: the counts of the buyers who have reached the limit. Instead of a time, each
    /// read has the number of the last commit before the read.
    pub(crate) limit_counts: [LimitCounts<u64>; 2],
    pub(crate) applied: AppliedPayments,
}

impl Node {
    pub(crate) fn remember(&mut self, half: u64) {
        self.holders.insert(half);
    }
}

/// The state of a purchase: the step that the purchase waits for, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptState {
    /// The node waits for a slot's answer.
    Asking { slot: usize },
    /// A ticket is issued, and the node waits for its verdict. If `may_be_lost` is true, the slot
    /// may have lost the ticket, so the node also checks whether the ticket's grant was closed.
    Waiting { id: TicketId, may_be_lost: bool },
    /// If `is_short` is true, the parked request waits for units, and otherwise for a commit.
    Parked { until: Millis, is_short: bool },
    /// The node reads the store to confirm a slot's refusal.
    Confirming,
    /// The request was answered with `202`. The verdict follows as an event.
    Handed { id: TicketId },
    /// The request was answered, or its node ended.
    Over,
}

impl AttemptState {
    pub(crate) fn is_parked(&self) -> bool {
        matches!(self, Self::Parked { .. })
    }
}

/// One request of a buyer at a node, from arrival to answer.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) purchase: BuyerRequest,
    pub(crate) state: AttemptState,
    pub(crate) half: u64,
    /// The server runs the same steps.
    pub(crate) steps: Option<Box<purchase::Attempt>>,
    pub(crate) token: Token,
    pub(crate) decide_by: Millis,
    /// The number of the latest message that the purchase waits for. Answers to earlier messages
    /// are ignored.
    pub(crate) asked: u32,
    /// Whether the purchase has read the buyer's units from the store. If not, a refusal because of
    /// the limit comes from a count in the node's memory.
    pub(crate) has_read_quota: bool,
    /// The slot that the request tries first.
    pub(crate) home: Option<usize>,
    /// The id of the order that was read last.
    pub(crate) order: Option<TicketId>,
    /// The id of the ticket whose verdict was read last.
    pub(crate) decided: Option<TicketId>,
    /// When the purchase began, in monotonic time.
    pub(crate) begun: Millis,
    /// When the request was first parked, in monotonic time.
    pub(crate) parked: Option<Millis>,
    /// Whether the request has one of the permits for parked requests.
    pub(crate) has_permit: bool,
    /// The number of the last commit before the last try. In the last try, the purchase asks every
    /// slot.
    pub(crate) last_try: u64,
    /// The verdict for the token, if the verdict arrived before the slot's answer.
    pub(crate) early: Option<(TicketId, Verdict)>,
}
