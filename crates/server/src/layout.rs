//! Where an item's slots are, as this node sees them. Decided once, at boot, from the shape; the
//! rest of the code asks only what is asked here.
use doorbuster_core::{ItemId, NodeId, SlotKey, Spread};

/// Where the slots of every item are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Partitions in this process's memory; no other process knows them.
    Alone,
    /// One slot in the memory of each node that serves buyers; `None` on one that does not.
    PerNode(Option<NodeId>),
    /// Partitions on servers that every node reaches.
    Shared,
}

impl Layout {
    /// The slots that requests on this node are put to.
    #[must_use]
    pub fn slots(self, item: ItemId, spread: &Spread) -> Box<[SlotKey]> {
        match self {
            Self::Alone | Self::Shared => {
                (0..spread.partitions.max(1)).map(|index| SlotKey { item, index }).collect()
            }
            Self::PerNode(node) => {
                node.into_iter().map(|node| SlotKey { item, index: node.0 }).collect()
            }
        }
    }

    /// Whether an item spread like this has a slot of this number. Others are left from an earlier
    /// spread.
    #[must_use]
    pub fn has(self, spread: &Spread, index: u32) -> bool {
        match self {
            Self::Alone | Self::Shared => index < spread.partitions.max(1),
            Self::PerNode(_) => true,
        }
    }

    /// Whether every slot of an item can be asked from this node.
    #[must_use]
    pub fn reaches_all(self) -> bool {
        !matches!(self, Self::PerNode(_))
    }

    /// Whether the slots that this node reaches are in its own memory, and nobody else's concern.
    #[must_use]
    pub fn is_own(self) -> bool {
        !matches!(self, Self::Shared)
    }

    /// Whether this process is the only one: it leads, and grants found at its start belong to
    /// slots that died with the last process.
    #[must_use]
    pub fn is_alone(self) -> bool {
        self == Self::Alone
    }

    /// Whether an item can have units in a slot other than the one that a request was put to.
    #[must_use]
    pub fn has_elsewhere(self, slots: usize) -> bool {
        slots > 1 || !self.reaches_all()
    }

    /// What a slot is called, to people.
    #[must_use]
    pub fn name(self, sale: &str, item: &str, slot: SlotKey, node: NodeId) -> String {
        match self {
            Self::Alone if slot.index == 0 => format!("node-{node}:{sale}:{item}"),
            Self::Alone => format!("node-{node}:{sale}:{item}:{}", slot.index),
            Self::PerNode(_) => format!("node-{}:{sale}:{item}", slot.index),
            Self::Shared => format!("shared:{sale}:{item}:{}", slot.index),
        }
    }
}
