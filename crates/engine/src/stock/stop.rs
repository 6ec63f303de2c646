//! Stops a node: refuses new requests, settles the tickets that were issued, and returns the units
//! that only this node could sell.
use std::time::Duration;

use doorbuster_core::{CloseCause, SlotKey};
use tokio::time::Instant;

use super::StockControl;
use crate::control::LEASE_RENEWAL;
use crate::error::{DRAIN_MAX, EngineError};
use crate::node::Node;

/// How long a stopping node waits for the verdicts of tickets that other nodes settle. The time is
/// short, so that the wait and the later steps fit into the program's time limit for a stop.
const VERDICT_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a stopping node tries to return its unsettled tickets to their queues. If this fails,
/// other nodes claim these tickets some seconds later.
const RELEASE_TICKETS_MAX: Duration = Duration::from_secs(1);
/// A stopping node still settles tickets for this long after it has released its lease. The time is
/// a little longer than the interval at which other nodes check the leases.
const SETTLE_ON: Duration = LEASE_RENEWAL.saturating_add(Duration::from_millis(200));
/// During a drain, a node checks the queue after each settled batch, and at least this often.
const DRAIN_POLL: Duration = Duration::from_millis(5);

impl StockControl {
    /// Makes this node refuse new requests and ask buyers to retry. If the slots are in this node's
    /// memory, also stops the slots.
    pub async fn begin_node_stop(&self) {
        self.node.lifecycle().refuse_requests();
        if !self.node.layout().is_node_local() {
            // The shared slots must not stop, because other nodes continue to sell from them.
            return;
        }
        for item in self.node.items_with_open_slots() {
            // Reconciliation has this lock while it checks whether the node is stopping. So no
            // reconciliation starts the slots again after this task has stopped them.
            let _guard = self.lock_item(&item).await;
            for slot in item.reached_slots() {
                if let Err(error) = self.slots.stop(slot, true).await {
                    tracing::warn!(
                        %error,
                        slot = self.node.catalogue().slot_name(slot),
                        event = "slot.stop_failed",
                        "failed to stop a slot"
                    );
                }
            }
        }
    }

    /// Refuses new requests, settles the tickets that were issued, ends the jobs, and closes the
    /// store.
    pub async fn stop_node(&self) {
        self.begin_node_stop().await;
        if self.node.layout().is_edge() {
            self.node.lifecycle().end_jobs();
            return;
        }
        let drained = if self.node.layout().is_node_local() {
            self.drain(&own_slots(&self.node), Instant::now() + DRAIN_MAX).await
        } else {
            wait_for_verdicts(&self.node).await
        };
        if let Err(error) = drained {
            tracing::warn!(
                %error,
                event = "slot.tickets_in_flight",
                "stopping with tickets in flight; they are returned, or other nodes settle them"
            );
        }
        if !self.node.layout().is_single_node()
            && let Err(error) = release_leases(&self.node).await
        {
            tracing::warn!(
                %error,
                event = "node.release_failed",
                "failed to release this node's leases; other nodes get its units when the leases lapse"
            );
        }
        if self.node.this_node().roles.settle
            && !self.node.layout().is_node_local()
            && self.node.live_nodes().has_other_settlers()
        {
            // Until the other nodes notice that the lease was released, they do not settle this
            // node's tickets. So this node settles them for a little longer.
            tokio::time::sleep(SETTLE_ON).await;
        }
        self.node.lifecycle().end_jobs();
        self.node.lifecycle().wait_for_tasks().await;
        match tokio::time::timeout(RELEASE_TICKETS_MAX, self.slots.release_tickets()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    %error,
                    event = "slot.release_failed",
                    "failed to release unsettled tickets; other nodes claim them later"
                )
            }
            Err(_) => {
                tracing::warn!(
                    event = "slot.release_timed_out",
                    "releasing unsettled tickets timed out; other nodes claim them later"
                )
            }
        }
        self.node.store().close().await;
    }

    /// Waits until every ticket of these slots is settled and acknowledged. Fails if tickets remain
    /// at the time `until`. If a slot is unreachable, first waits for the other slots, and then
    /// fails.
    pub(crate) async fn drain(&self, slots: &[SlotKey], until: Instant) -> Result<(), EngineError> {
        let mut drained = Ok(());
        for &slot in slots {
            loop {
                match self.slots.view(slot).await {
                    Ok(Some(view)) if view.unacknowledged > 0 => {
                        wait_for_batch(&self.node, until).await?
                    }
                    Ok(_) => break,
                    Err(error) => {
                        drained = Err(error.into());
                        break;
                    }
                }
            }
        }
        drained
    }
}

fn own_slots(node: &Node) -> Vec<SlotKey> {
    node.items_with_open_slots().iter().flat_map(|item| item.reached_slots()).collect()
}

/// Waits until every ticket that this node issued has its verdict or has passed its `decide_by`.
/// Fails if this takes longer than [`VERDICT_WAIT_MAX`]. Other nodes then settle the rest.
async fn wait_for_verdicts(node: &Node) -> Result<(), EngineError> {
    let until = Instant::now() + VERDICT_WAIT_MAX;
    while node.waiters().has_pending(node.now()) {
        wait_for_batch(node, until).await?;
    }
    Ok(())
}

async fn wait_for_batch(node: &Node, until: Instant) -> Result<(), EngineError> {
    if Instant::now() > until {
        return Err(EngineError::Drain);
    }
    // Returns after the next settled batch, or after [`DRAIN_POLL`].
    drop(tokio::time::timeout(DRAIN_POLL, node.control().batch_settled.notified()).await);
    Ok(())
}

/// Releases this node's leases, so that other nodes get its units and tickets at once. Without this
/// call, they would have to wait until the leases lapse.
async fn release_leases(node: &Node) -> Result<(), EngineError> {
    *node.this_node().lock_leases().await = true;
    // The lease is released even if a grant cannot be closed. Another node then closes the grant.
    let closed = if node.layout().is_node_local() { close_grants(node).await } else { Ok(()) };
    node.store().renew_node_lease(node.id(), 0, "{}").await?;
    if node.control().leads() {
        node.store().take_leader_lease(node.id().0, 0).await?;
    }
    closed
}

async fn close_grants(node: &Node) -> Result<(), EngineError> {
    let own = own_slots(node);
    let open = node.store().open_grants().await?;
    for grant in open.iter().filter(|grant| own.contains(&grant.slot)) {
        node.store().close_grant(grant.id, CloseCause::LeaseLapsed).await?;
    }
    Ok(())
}
