//! Where an item's slots are, as this node sees them. The layout is decided once, at boot, from the
//! shape. Other code only uses these methods.
use doorbuster_core::{ItemId, NodeId, SlotKey, Spread};

/// Where the slots of every item are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Partitions in this process's memory; no other process knows them.
    SingleNode,
    /// One slot in the memory of each node that serves buyers; `None` on a node that does not.
    PerNode(Option<NodeId>),
    /// Partitions on servers that every node reaches.
    Shared,
    /// No slots: an edge passes requests for units on.
    Edge,
}

impl Layout {
    /// The slots that serve requests on this node.
    #[must_use]
    pub fn slots(self, item: ItemId, spread: &Spread) -> Box<[SlotKey]> {
        match self {
            Self::SingleNode | Self::Shared => {
                (0..spread.partitions.max(1)).map(|index| SlotKey { item, index }).collect()
            }
            Self::Edge => Box::default(),
            Self::PerNode(node) => {
                node.into_iter().map(|node| SlotKey { item, index: node.0 }).collect()
            }
        }
    }

    /// Whether an item with this spread has a slot with this number. Other slots remain from an
    /// earlier spread.
    #[must_use]
    pub fn has_slot(self, spread: &Spread, index: u32) -> bool {
        match self {
            Self::SingleNode | Self::Shared => index < spread.partitions.max(1),
            Self::PerNode(_) => true,
            Self::Edge => false,
        }
    }

    /// Whether this node reaches every slot of an item.
    #[must_use]
    pub fn reaches_all_slots(self) -> bool {
        !matches!(self, Self::PerNode(_) | Self::Edge)
    }

    /// Whether the slots that this node reaches are in its own memory, where no other node uses
    /// them.
    #[must_use]
    pub fn is_node_local(self) -> bool {
        !matches!(self, Self::Shared)
    }

    /// Whether this process is the only one. Then it leads, and grants found at its start belong to
    /// slots that ended with the last process.
    #[must_use]
    pub fn is_single_node(self) -> bool {
        self == Self::SingleNode
    }

    /// Whether this node is an edge, which has neither a store nor slots.
    #[must_use]
    pub fn is_edge(self) -> bool {
        self == Self::Edge
    }

    /// Whether an item can have units in a slot other than the request's own.
    #[must_use]
    pub fn has_other_slots(self, slots: usize) -> bool {
        slots > 1 || !self.reaches_all_slots()
    }

    /// A slot's name for operators.
    #[must_use]
    pub fn name(self, sale: &str, item: &str, slot: SlotKey, node: NodeId) -> String {
        match self {
            Self::SingleNode if slot.index == 0 => format!("node-{node}:{sale}:{item}"),
            Self::SingleNode => format!("node-{node}:{sale}:{item}:{}", slot.index),
            Self::PerNode(_) => format!("node-{}:{sale}:{item}", slot.index),
            Self::Shared | Self::Edge => format!("shared:{sale}:{item}:{}", slot.index),
        }
    }
}
