//! What a simulated sale is made of.
use serde::{Deserialize, Serialize};

use crate::op::Op;

/// One item on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemSetup {
    /// Counted stock; `None`: unlimited.
    pub total: Option<u8>,
    /// Units that one buyer may hold.
    pub limit: u8,
    /// Payment window in seconds.
    pub hold_secs: u8,
    /// How a request finds its slot: by buyer, by chance, in turn.
    #[serde(default)]
    pub choose: u8,
    /// Sub-domains: units that a slot is opened with, below which it asks for more, and of one
    /// refill. Not in use unless all are above 0.
    #[serde(default)]
    pub initial: u8,
    /// See `initial`.
    #[serde(default)]
    pub threshold: u8,
    /// See `initial`.
    #[serde(default)]
    pub refill: u8,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSetup {
    /// Whose units it hands out.
    pub item: u8,
    /// The node in whose memory it lives; `None`: it stands by itself and every node reaches it.
    pub node: Option<u8>,
    /// Units that it is opened with, if sub-domains are not in use.
    pub first: u8,
}

/// The parts of a simulated sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Items: one or two.
    pub items: Vec<ItemSetup>,
    /// Their slots.
    pub slots: Vec<SlotSetup>,
    /// How many nodes answer buyers.
    pub nodes: u8,
    /// How much a slot may hold; 0: as much as in the program.
    #[serde(default)]
    pub tight: u8,
}

impl Setup {
    /// Whether every node reaches a slot of every item.
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
            && items.into_iter().all(|item| nodes.clone().all(|node| reaches(item, node)))
    }
}

/// A setup and what happens in it: what a seed becomes, what is shrunk, and what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The parts.
    pub setup: Setup,
    /// What happens, in order.
    pub ops: Vec<Op>,
}
