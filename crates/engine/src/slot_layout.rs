//! Where the slots of an item are, as seen from this node. The layout depends on the shape of the
//! deployment, and does not change while the process runs.
use doorbuster_core::{IdKey, ItemId, NodeId, SlotKey, Spread};

/// Where the slots of all items are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotLayout {
    /// The slots are in the memory of this process, and no other process can reach them.
    SingleNode,
    /// Each node that serves buyers has one slot of each item in its own memory. The value is the
    /// id of this node, or `None` if this node serves no buyers and so has no slots.
    PerNode(Option<NodeId>),
    /// The slots are on Redis servers, and every node can reach them.
    Shared,
    /// This process is an edge and has no slots. It passes requests for units to nodes.
    Edge,
}

impl SlotLayout {
    /// Returns the slots that serve requests on this node.
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

    /// Returns whether an item with this spread uses the slot with the number `index`. If not, the
    /// slot is left over from an earlier spread.
    #[must_use]
    pub fn has_slot(self, spread: &Spread, index: u32) -> bool {
        match self {
            Self::SingleNode | Self::Shared => index < spread.partitions.max(1),
            Self::PerNode(_) => true,
            Self::Edge => false,
        }
    }

    /// Returns whether this node can reach every slot of an item.
    #[must_use]
    pub fn reaches_all_slots(self) -> bool {
        !matches!(self, Self::PerNode(_) | Self::Edge)
    }

    /// Returns whether the slots that this node reaches are in this node's memory, so that no other
    /// node uses them.
    #[must_use]
    pub fn is_node_local(self) -> bool {
        !matches!(self, Self::Shared)
    }

    /// Returns whether this process is the only node of the deployment. Such a node is always the
    /// leader. The grants that it finds at its start belong to an earlier process.
    #[must_use]
    pub fn is_single_node(self) -> bool {
        self == Self::SingleNode
    }

    /// Returns whether this process is an edge, which has no store and no slots.
    #[must_use]
    pub fn is_edge(self) -> bool {
        self == Self::Edge
    }

    /// Returns whether units of an item can also be in slots other than the first slot that a
    /// request tries. `slots` is the number of the item's slots on this node.
    #[must_use]
    pub fn has_other_slots(self, slots: usize) -> bool {
        slots > 1 || !self.reaches_all_slots()
    }

    /// Returns a slot's name for operators.
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

/// Returns the prefix of a deployment's keys in Redis. Each deployment has a different prefix, so
/// that several deployments can share Redis servers.
pub(crate) fn redis_prefix(id_key: &IdKey) -> String {
    let deployment = id_key.request_hash("doorbuster", "slots").id_bits();
    format!("doorbuster:{deployment:06x}")
}
