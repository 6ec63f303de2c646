//! The memory of a node: its snapshot of the store, and the attempts (requests) that it processes.
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
    /// The requests that hold an order, as the low 64 bits of their hashes. Leaves out requests
    /// that the node's earlier snapshots contained.
    pub(crate) holders: Vec<u64>,
    /// Tells which transactions the snapshot includes.
    pub(crate) position: SnapshotPosition,
    pub(crate) items: [ItemSnapshot; 2],
    pub(crate) partitions: Vec<usize>,
    /// The units in each slot's open grant that are not settled.
    pub(crate) levels: Vec<u64>,
    pub(crate) ended_orders: [u64; 2],
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// The requests that hold an order, as the low 64 bits of their hashes. The set has all such
    /// requests up to the current snapshot. The set also has later requests that this node settled,
    /// or answered with an order.
    pub(crate) holders: HashSet<u64, foldhash::fast::FixedState>,
    /// The requests that this node answered as queued, as the low 64 bits of their hashes.
    pub(crate) queued: HashMap<u64, Queued, foldhash::fast::FixedState>,
    /// Tells which transactions the current snapshot includes.
    pub(crate) position: Option<SnapshotPosition>,
    pub(crate) is_dead: bool,
    /// The end of the node's lease, by the store's clock.
    pub(crate) until: Millis,
    /// The tokens of tickets whose verdicts this node expects.
    pub(crate) expected: Vec<Token>,
    /// The number of requests so far for which this node chose a slot in turn. This number
    /// determines the next slot.
    pub(crate) turns: u64,
    /// How far the node's clock is ahead of the store's clock, in milliseconds.
    pub(crate) skew_ms: i64,
    /// For each item, the end of a pause. During the pause, the node takes no units from the item's
    /// pool, so that other nodes can take them.
    pub(crate) pool_rests_until: [Millis; 2],
    /// For each item, the number of its ended orders that the node knows of.
    pub(crate) ended_orders: [u64; 2],
    /// The number of failovers that the node knows of.
    pub(crate) failovers: u64,
    /// For each item, the units of each buyer who has reached the limit. In place of a time, each
    /// count has the number of the last commit before the node read the count.
    pub(crate) limit_counts: [LimitCounts<u64>; 2],
    pub(crate) applied: AppliedPayments,
}

impl Node {
    pub(crate) fn remember(&mut self, half: u64) {
        self.holders.insert(half);
    }
}

/// What an attempt waits for, if it is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptState {
    /// The node waits for a slot's answer.
    Asking { slot: usize },
    /// A ticket was issued, and the node waits for its verdict. If `may_be_lost` is true, the slot
    /// may have lost the ticket. So the node also checks whether the ticket's grant was closed.
    Waiting { id: TicketId, may_be_lost: bool },
    /// The request is parked. If `is_short` is true, the request waits for units. Otherwise, the
    /// request waits for a commit.
    Parked { until: Millis, is_short: bool },
    /// A slot refused the request, and the node reads the store to confirm the refusal.
    Confirming,
    /// The request was answered with `202`. The buyer gets the verdict later, as an event.
    Handed { id: TicketId },
    /// The request was answered, or the process of its node ended.
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
    /// The steps of the purchase. The server runs the same code.
    pub(crate) steps: Option<Box<purchase::Attempt>>,
    pub(crate) token: Token,
    pub(crate) decide_by: Millis,
    /// The number of the latest question to a slot or to the store. The attempt ignores answers to
    /// its earlier questions.
    pub(crate) asked: u32,
    /// Whether this attempt has read the buyer's units from the store. If not, a refusal because of
    /// the limit is based on a count in the node's memory.
    pub(crate) has_read_quota: bool,
    /// The slot that the request tries first.
    pub(crate) home: Option<usize>,
    /// The id of the order that was read last.
    pub(crate) order: Option<TicketId>,
    /// The id of the ticket whose verdict the attempt read last.
    pub(crate) decided: Option<TicketId>,
    /// When the purchase began, in monotonic time.
    pub(crate) begun: Millis,
    /// When the request was first parked, in monotonic time.
    pub(crate) parked: Option<Millis>,
    /// Whether the request holds one of the node's permits for parked requests. The request keeps
    /// its permit while it asks slots again.
    pub(crate) has_permit: bool,
    /// In its final try, the attempt asks every slot. This is the number of the newest commit when
    /// that try began.
    pub(crate) last_try: u64,
    /// The ticket and its verdict, if the verdict arrived before the slot's answer.
    pub(crate) early: Option<(TicketId, Verdict)>,
}
