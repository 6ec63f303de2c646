//! Wakes jobs early in two cases: other nodes recall units from this node, or the set of servers
//! that hold slots changes. If such an event is missed, the jobs run at their usual times, which is
//! only later.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_slots::Slots;

use crate::catalogue::ItemState;
use crate::error::EngineError;
use crate::node::Node;

/// The interval of the checks for recalled units while a sale is open.
const RECALL_POLL: Duration = Duration::from_millis(40);
/// The interval of the checks for recalled units while an item of an open sale has units in slots,
/// but none in the pool. Waiting requests then need these last units quickly.
const RECALL_POLL_AT_TAIL: Duration = Duration::from_millis(10);
/// The interval of the checks for recalled units while no sale is open.
const RECALL_POLL_IDLE: Duration = Duration::from_secs(1);

/// When a server that holds slots changes, appears or disappears, wakes the check of the slots.
pub(super) async fn run(node: Arc<Node>, slots: Slots) {
    let mut seen = slots.evidence().changes;
    loop {
        seen = slots.wait_for_change(seen).await;
        let evidence = slots.evidence();
        tracing::warn!(
            servers = ?evidence.servers,
            event = "slot.servers_changed",
            "the set of servers that hold slots changed"
        );
        for refusal in evidence.refusals {
            tracing::error!(
                refusal,
                event = "slot.server_refused",
                "a Redis server has settings that slots cannot use; change the settings, because \
                 nodes cannot start while a server has them"
            );
        }
        node.control().suspect_loss();
    }
}

/// Checks whether other nodes recall units from slots that only this node reaches. If so, wakes the
/// reconciliation of the slots' items.
pub(super) async fn poll_recalls(node: Arc<Node>) {
    if node.layout().reaches_all_slots() {
        return std::future::pending().await;
    }
    loop {
        drop(tokio::time::timeout(poll_pause(&node), node.control().sale_opened.notified()).await);
        if let Err(error) = wake_recalled_items(&node).await {
            tracing::debug!(%error, "failed to read which units other nodes recalled; will retry");
        }
    }
}

fn poll_pause(node: &Node) -> Duration {
    let catalogue = node.catalogue();
    let open =
        catalogue.sales().filter(|sale| sale.row.phase == Phase::Open).flat_map(|sale| &sale.items);
    let is_at_the_tail =
        |item: &Arc<ItemState>| item.gauge.open_pool() == 0 && item.gauge.counts().in_slots > 0;
    let pauses =
        open.map(|item| if is_at_the_tail(item) { RECALL_POLL_AT_TAIL } else { RECALL_POLL });
    pauses.min().unwrap_or(RECALL_POLL_IDLE)
}

async fn wake_recalled_items(node: &Node) -> Result<(), EngineError> {
    let pending = node.store().pending_recalls().await?;
    for recall in pending {
        let Some(grant) = node.store().grant(recall.grant).await? else { continue };
        let catalogue = node.catalogue();
        if let Some(item) = catalogue.item_by_id(grant.slot.item)
            && item.slots.contains(&grant.slot)
        {
            node.control().wake(item.row.id);
        }
    }
    Ok(())
}
