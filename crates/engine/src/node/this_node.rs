//! What this node is: its id, its roles, where its slots are, and its description for other nodes.
//!
//! This part of a node owns the description and the lock of the node's leases. It calls no
//! other part of the node. The jobs, the console and the other parts read the description.
use std::sync::OnceLock;

use doorbuster_config::Roles;
use doorbuster_core::{Millis, NodeId};
use doorbuster_telemetry::metrics::Gauge;
use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard};

use crate::slot_layout::SlotLayout;

/// What this node is: its id and roles, where its slots are, and its description for other nodes.
#[derive(Debug)]
pub struct ThisNode {
    pub(crate) id: NodeId,
    pub(crate) roles: Roles,
    pub(crate) layout: SlotLayout,
    /// Whether this node always acts as leader, even while another node has the leader's lease.
    pub(crate) always_leads: bool,
    /// Locked during each renewal of the leases. `true` once the stopping node has released its
    /// leases for good.
    leases_released: Mutex<bool>,
    /// Set when the node begins to serve requests.
    description: OnceLock<NodeDescription>,
}

/// The parts of a node's description that are known only once the node serves requests.
#[derive(Debug)]
pub struct NodeDescription {
    /// When the node started, by its own clock.
    pub started_at: Millis,
    /// The node's open connections.
    pub connections: Gauge,
}

impl ThisNode {
    pub(crate) fn new(id: NodeId, roles: Roles, layout: SlotLayout, always_leads: bool) -> Self {
        let (leases_released, description) = (Mutex::default(), OnceLock::new());
        Self { id, roles, layout, always_leads, leases_released, description }
    }

    /// Sets this node's description for other nodes.
    pub fn describe(&self, description: NodeDescription) {
        // If a description is already set, it stays. A second description would be equal.
        drop(self.description.set(description));
    }

    /// Returns when this node started. Returns `None` while this process serves no requests.
    pub(crate) fn started_at(&self) -> Option<Millis> {
        self.description.get().map(|it| it.started_at)
    }

    /// Returns this node's description as JSON, with `notes` as a member.
    pub(crate) fn description(&self, notes: impl Serialize) -> String {
        let description = self.description.get();
        serde_json::json!({
            "roles": self.roles.names(),
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.started_at().map(|at| at.0),
            "connections": description.map_or(0, |it| it.connections.get()),
            "notes": notes,
        })
        .to_string()
    }

    /// Locks the node's leases. The value is `true` if this node has released its leases for good.
    pub(crate) async fn lock_leases(&self) -> MutexGuard<'_, bool> {
        self.leases_released.lock().await
    }
}
