//! Several times per lease period, renews this node's lease, and renews the leader's lease or takes
//! it if no other node has it. Also reads which nodes are live.
//!
//! If each node has its own slots, the leader closes the grants of nodes whose lease has lapsed.
//! Other nodes can then sell the units of these grants. If all nodes share the slots, the live
//! nodes divide the slots among themselves. Each node then settles the tickets of its slots. Leases
//! only avoid duplicate work: the store's rows decide about stock.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::{CloseCause, NodeId, settler_pace};
use doorbuster_slots::Slots;
use doorbuster_steps::takeover::{Effect, Input, Takeover};
use doorbuster_store::NodeRow;
use tokio::time::Instant;

use crate::error::EngineError;
use crate::node::Node;
use crate::outage_log;

/// How long a node counts as alive after it last renewed its lease, in milliseconds.
pub const LEASE_MS: i64 = 3_000;
const _: () = assert!(
    2 * LEASE_MS <= doorbuster_store::limits::LEASE_END_MAX_MS,
    "the store must accept a new lease of a node whose clock is 3 s ahead"
);
pub(crate) const LEASE_RENEWAL: Duration = Duration::from_millis(500);
/// The leader closes grants for at most this long. Then it reads the leases again before it closes
/// more grants.
const TAKEOVER_MAX: Duration = Duration::from_secs(1);

/// Runs two jobs at the same time: one renews the leases, the other closes the grants of dead
/// nodes. The second job can take longer than a lease lasts, so it must not delay the renewals.
pub(super) async fn run(node: Arc<Node>, slots: Slots, roles: Roles) {
    if node.layout().is_single_node() {
        return std::future::pending().await;
    }
    tokio::join!(keep_leases(&node, &slots, roles), close_lapsed_grants(&node));
}

/// Renews the leases until the node stops and releases them. Then waits forever.
pub(crate) async fn keep_leases(node: &Node, slots: &Slots, roles: Roles) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(LEASE_RENEWAL).await;
        let asked = Instant::now();
        let released = node.this_node().lock_leases().await;
        if *released {
            return std::future::pending().await;
        }
        let renewed = renew_leases(node, slots, roles).await;
        drop(released);
        match renewed {
            Ok(()) => {
                if asked.duration_since(last) > Duration::from_millis(LEASE_MS.unsigned_abs()) {
                    handle_own_lapse(node, asked.duration_since(last));
                }
                last = asked;
            }
            Err(error) => {
                outage_log::warn!(
                    node.outage_log(),
                    error,
                    event = "node.lease_failed",
                    "failed to renew this node's lease; will retry"
                );
                node.control().scheduler.set_leads(false);
                node.control()
                    .reconciles_on_commit
                    .store(node.layout().is_node_local(), Ordering::Release);
            }
        }
    }
}

/// Wakes the checks of all slots that this node reaches. The leader may have closed grants of these
/// slots while this node had no valid lease.
fn handle_own_lapse(node: &Node, away: Duration) {
    tracing::warn!(
        away_ms = away.as_millis(),
        event = "node.lease_lapsed",
        "this node's lease lapsed; if other nodes took its units, its slots start a new epoch"
    );
    node.meter().lapses.add_one();
    node.control().suspect_loss();
    for item in node.items_with_open_slots() {
        node.control().wake(item.row.id);
    }
}

/// Renews this node's lease. If this node has the role `control`, it also renews the leader's
/// lease, or takes it if no other node has it.
pub(crate) async fn renew_leases(
    node: &Node,
    slots: &Slots,
    roles: Roles,
) -> Result<(), EngineError> {
    let control = node.control();
    if node.layout().is_single_node() {
        control.scheduler.set_leads(true);
        control.reconciles_on_commit.store(true, Ordering::Release);
        return Ok(());
    }
    node.store().renew_node_lease(node.id(), LEASE_MS, &node.node_description()).await?;
    let has_lead = roles.control && node.store().take_leader_lease(node.id().0, LEASE_MS).await?;
    let leads = has_lead || node.this_node().always_leads;
    if control.scheduler.set_leads(leads) {
        tracing::info!(
            leads,
            node = %node.id(),
            event = "node.leadership_changed",
            "leadership changed"
        );
        node.meter().leads.add_one();
    }
    control.reconciles_on_commit.store(leads || node.layout().is_node_local(), Ordering::Release);
    read_nodes(node, slots).await
}

/// If each node has its own slots, regularly closes the grants of dead nodes. Does nothing on a
/// node that is not the leader.
async fn close_lapsed_grants(node: &Node) {
    while !node.layout().reaches_all_slots() {
        tokio::time::sleep(LEASE_RENEWAL).await;
        if let Err(error) = take_over(node).await {
            outage_log::warn!(
                node.outage_log(),
                error,
                event = "node.takeover_failed",
                "failed to close the grants of dead nodes; will retry"
            );
        }
    }
}

/// Closes the grants of nodes whose leases have lapsed. Ends after [`TAKEOVER_MAX`] even if some
/// grants are still open. The list of dead nodes is then too old, because some of them may have
/// renewed their leases. Also ends when this node is no longer the leader.
async fn take_over(node: &Node) -> Result<(), EngineError> {
    let leads = || node.control().leads() && !node.lifecycle().is_stopping();
    if !leads() {
        return Ok(());
    }
    let mut read_at = Instant::now();
    let (mut steps, mut effect) = Takeover::begin(node.id());
    loop {
        effect = steps.next(match effect {
            Effect::ReadGrants => Input::Grants(node.store().open_grants().await?),
            Effect::ReadNodes => {
                read_at = Instant::now();
                Input::Live(live_nodes(&node.store().nodes().await?))
            }
            Effect::Close(_) if !leads() => return Ok(()),
            Effect::Close(grant) => {
                if node.store().close_grant(grant.id, CloseCause::LeaseLapsed).await? {
                    tracing::warn!(
                        slot = node.catalogue().slot_name(grant.slot),
                        units = grant.unsettled(),
                        event = "node.lost",
                        "a node's lease lapsed; other nodes sell its units"
                    );
                }
                // The time is checked only after a grant is closed. So each call closes at least
                // one grant, even if the store is slow.
                if read_at.elapsed() >= TAKEOVER_MAX {
                    return Ok(());
                }
                Input::Closed
            }
            Effect::Finish => return Ok(()),
        });
    }
}

fn live_nodes(rows: &[NodeRow]) -> Vec<NodeId> {
    rows.iter().map(|row| row.node).collect()
}

/// Reads the leases to learn which nodes are live. A node's row also contains the node's questions
/// to other nodes, about refusals. This function answers the questions that other nodes ask this
/// node.
async fn read_nodes(node: &Node, slots: &Slots) -> Result<(), EngineError> {
    let nodes = node.store().nodes().await?;
    let live = live_nodes(&nodes);
    node.store().set_refresh_interval(settler_pace::refresh_interval(live.len()));
    if let Some(heard) = node.live_nodes().observe(&nodes, &node.items_with_open_slots()) {
        slots.set_live_nodes(&heard);
        node.control().queues_changed.notify_one();
    }
    if node.answer_questions(&nodes) {
        // The answers are a part of this node's own row. This second renewal writes the row at
        // once, so that other nodes get the answers without delay.
        node.store().renew_node_lease(node.id(), LEASE_MS, &node.node_description()).await?;
    }
    Ok(())
}
