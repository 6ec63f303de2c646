//! The setup of a simulated sale.
use serde::{Deserialize, Serialize};

use crate::op::Op;

/// One item on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemSetup {
    /// The number of units. `None` if the stock is unlimited.
    pub total: Option<u8>,
    /// Units that one buyer may hold.
    pub limit: u8,
    /// Payment window in seconds.
    pub hold_secs: u8,
    /// How the node chooses a slot for a request. 0: by the buyer. 1: at random. 2: in turn.
    #[serde(default)]
    pub choose: u8,
    /// The initial units of each slot, if the slots have sub-domains. Slots have sub-domains only
    /// if this number, the threshold and the refill are all above 0.
    #[serde(default)]
    pub initial: u8,
    /// If a ticket leaves fewer units than this threshold in the active counter, the slot sets its
    /// refill mark.
    #[serde(default)]
    pub threshold: u8,
    /// The units of one refill.
    #[serde(default)]
    pub refill: u8,
    /// How many of the item's shared slots are in the item's spread at the start. A shared slot is
    /// a slot that every node can reach. 0 means all shared slots.
    #[serde(default)]
    pub width: u8,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSetup {
    /// The item.
    pub item: u8,
    /// The node that has the slot in its memory. If this is `None`, the slot is in no node's
    /// memory, and every node can reach it.
    pub node: Option<u8>,
    /// The slot's initial units, if the slot has no sub-domains.
    pub first: u8,
}

/// The setup of a simulated sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// One or two items.
    pub items: Vec<ItemSetup>,
    /// The slots of the items.
    pub slots: Vec<SlotSetup>,
    /// The number of nodes.
    pub nodes: u8,
    /// The bound of a slot's queue, of a node's parked requests, and of an item's waiting entries.
    /// The value is so small that runs reach the bound. The bounds of the requests and the recalls
    /// that a slot remembers are computed from this value. If the value is 0, the server's bounds
    /// apply.
    #[serde(default)]
    pub tight: u8,
    /// Whether there is only one process: the only node is also the leader, and no other process
    /// changes the store. This node publishes each commit at once. If this is true, the setup must
    /// have one node, with all slots in its memory.
    #[serde(default)]
    pub alone: bool,
    /// The sales open after this number of tenths of a second. If the number is 0, the sales are
    /// open from the start.
    #[serde(default)]
    pub opens: u8,
}

impl Setup {
    /// Returns whether [`Setup::alone`] may be true.
    #[must_use]
    pub fn may_be_alone(&self) -> bool {
        self.nodes == 1 && self.slots.iter().all(|slot| slot.node.is_some())
    }

    /// Returns whether each slot's item exists and each node reaches at least one slot of each
    /// item.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let reaches = |item: usize, node: u8| {
            let here =
                |s: &&SlotSetup| usize::from(s.item) == item && s.node.is_none_or(|n| n == node);
            self.slots.iter().any(|s| here(&s))
        };
        let nodes = 0..self.nodes;
        let items = 0..self.items.len();
        let known = self.slots.iter().all(|s| usize::from(s.item) < self.items.len());
        known
            && self.nodes > 0
            && (!self.alone || self.may_be_alone())
            && items.into_iter().all(|item| nodes.clone().all(|node| reaches(item, node)))
    }
}

/// A setup and a list of operations. A case comes from a seed or from a file, and can be shrunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The setup.
    pub setup: Setup,
    /// The operations in sequence.
    pub ops: Vec<Op>,
}
