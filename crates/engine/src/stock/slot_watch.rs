//! Watches whether slots lose their memory, and whether the machine's clock is stepped. If a slot
//! has lost its memory, this job closes the slot's grant, and the slot gets a new grant.
//!
//! If only one node reaches a slot, this node watches the slot. If all nodes reach the slot, the
//! leader watches it. A node that suspects a loss checks all slots that it reaches.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::VERDICT_GRACE_MS;
use doorbuster_core::{CloseCause, Grant, SlotKey};
use futures_util::StreamExt;
use futures_util::future::{join, join_all};

use super::StockControl;
use super::grant_check::check_grant;
use crate::catalogue::ItemState;
use crate::error::EngineError;
use crate::node::Node;
use crate::outage_log;

const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest pause between two checks on a node that watches slots. The pause matters if many
/// signals arrive.
const PACE: Duration = Duration::from_millis(20);
const WATCHED_AT_ONCE: usize = 64;

pub(super) async fn run(stock: Arc<StockControl>) {
    loop {
        tokio::time::sleep(if stock.node.watches_slots() { PACE } else { CHECK_INTERVAL }).await;
        let is_suspected =
            tokio::time::timeout(CHECK_INTERVAL, stock.node.control().loss_suspected.notified())
                .await
                .is_ok();
        if stock.node.layout().is_single_node() {
            discipline(&stock.node);
        }
        stock.node.waiters().forget_overdue(stock.node.now().plus(-VERDICT_GRACE_MS));
        if let Err(error) = watch(&stock, is_suspected).await {
            outage_log::warn!(
                stock.node.outage_log(),
                error,
                event = "slot.watch_failed",
                "failed to watch the slots; will retry"
            );
        }
    }
}

/// Adjusts the store's clock to the machine's clock, and logs if the machine's clock was stepped.
/// Only the embedded store needs this adjustment. PostgreSQL has its own clock.
fn discipline(node: &Node) {
    let alarm = node.clock().has_alarm();
    let ahead_ms = node.clock().adjust_to_wall();
    if node.clock().has_alarm() && !alarm {
        tracing::error!(
            ahead_ms,
            event = "clock.stepped",
            "the machine's clock was stepped; no order expires until the node's clock agrees with \
             the machine's clock again; after a step of more than a minute, correct the machine's \
             clock or restart the node"
        );
    }
}

/// Checks the slots that this node watches. If a loss is suspected, checks all slots that this node
/// reaches, because the leader may be unable to reach one of them. Two nodes may then close the
/// same grant, but this does no harm.
async fn watch(stock: &StockControl, is_suspected: bool) -> Result<(), EngineError> {
    let grants = stock.node.store().open_grants().await?;
    observe_leaving(&stock.node, &grants);
    let each = futures_util::stream::iter(grants.clone()).map(|grant| async move {
        if let Err(error) = watch_one(stock, &grant, is_suspected).await {
            outage_log::warn!(
                stock.node.outage_log(),
                error,
                event = "slot.watch_failed",
                slot = stock.node.catalogue().slot_name(grant.slot),
                "failed to watch a slot; will retry"
            );
        }
    });
    let watched = each.buffer_unordered(WATCHED_AT_ONCE).collect::<()>();
    join(watched, sweep(stock, &grants)).await.1
}

fn observe_leaving(node: &Node, grants: &[Grant]) {
    // The catalogue is read after the grants, so it is at least as new as the grants. In an older
    // catalogue, the spread could lack a new slot that already has a grant. This slot would then
    // wrongly count as leaving.
    let catalogue = node.catalogue();
    for item in catalogue.sales().flat_map(|sale| &sale.items) {
        let has_slot = |slot: &SlotKey| node.layout().has_slot(&item.row.spread, slot.index);
        let own = grants.iter().map(|grant| grant.slot).filter(|slot| slot.item == item.row.id);
        item.work.leaving.observe(&own.filter(|slot| !has_slot(slot)).collect::<Vec<_>>());
    }
}

async fn watch_one(
    stock: &StockControl,
    grant: &Grant,
    is_suspected: bool,
) -> Result<(), EngineError> {
    let catalogue = stock.node.catalogue().clone();
    let Some(item) = catalogue.item_by_id(grant.slot.item) else { return Ok(()) };
    let is_leaving = !stock.node.layout().has_slot(&item.row.spread, grant.slot.index);
    if is_leaving {
        match catalogue.sale(&item.sale).is_some_and(|sale| sale.has_open_slots()) {
            true if stock.node.control().leads() => stock.node.control().wake(item.row.id),
            true => {}
            false => return close_leftover(stock, item, grant).await,
        }
    }
    let is_watched = is_leaving || item.slots.contains(&grant.slot);
    if !is_watched || !(stock.node.watches_slots() || is_suspected) {
        return Ok(());
    }
    let Some(cause) = check_grant(stock, item, grant).await? else { return Ok(()) };
    let _guard = stock.lock_item(item).await;
    if stock.node.store().close_grant(grant.id, cause).await? {
        tracing::error!(
            slot = stock.node.catalogue().slot_name(grant.slot),
            cause = cause.as_str(),
            event = "slot.memory_lost",
            "a slot lost its memory; its grant was closed, and the slot gets a new grant"
        );
    }
    stock.node.control().wake(grant.slot.item);
    Ok(())
}

/// Closes, without a drain, the grant of a slot that is not in the item's spread. Must not be
/// called for a scheduled or open sale, where the slot must be drained first.
async fn close_leftover(
    stock: &StockControl,
    item: &ItemState,
    grant: &Grant,
) -> Result<(), EngineError> {
    if stock.node.control().leads()
        && stock.node.store().close_grant(grant.id, CloseCause::Rolled).await?
    {
        tracing::info!(
            slot = stock.node.catalogue().slot_name(grant.slot),
            event = "slot.grant_closed",
            "closed the grant of a slot that is no longer in the spread"
        );
        stock.node.control().add_leftover(grant.slot, grant.epoch);
        stock.node.control().wake(item.row.id);
    }
    Ok(())
}

/// Wakes the reconciliation of items for which a signal may have been missed:
///
/// - items with units in the pool
/// - items with a pending recall
/// - items with a slot that is stopped, has no grant, or has not applied all feed rows
async fn sweep(stock: &StockControl, grants: &[Grant]) -> Result<(), EngineError> {
    let catalogue = stock.node.catalogue().clone();
    if stock.node.watches_slots() {
        let mut items = Vec::new();
        for sale in catalogue.sales().filter(|s| s.has_open_slots() && !s.is_draining()) {
            items.extend(sale.items.iter().cloned());
        }
        let each = futures_util::stream::iter(items).map(|item| async move {
            if item.gauge.open_pool() > 0 {
                stock.node.control().wake_by_pool(item.row.id);
            }
            if !is_healthy(stock, &item, grants).await {
                stock.node.control().wake(item.row.id);
            }
        });
        each.buffer_unordered(WATCHED_AT_ONCE).collect::<()>().await;
    }
    for recall in stock.node.store().pending_recalls().await? {
        let grant = grants.iter().find(|g| g.id == recall.grant);
        let item =
            grant.and_then(|grant| catalogue.item_by_id(grant.slot.item).zip(Some(grant.slot)));
        if let Some((item, slot)) = item
            && item.reached_slots().contains(&slot)
        {
            stock.node.control().wake(item.row.id);
        }
    }
    Ok(())
}

async fn is_healthy(stock: &StockControl, item: &ItemState, grants: &[Grant]) -> bool {
    let is_healthy = item.slots.iter().map(|&slot| async move {
        let grant = grants.iter().find(|g| g.slot == slot);
        match stock.view_in_time(slot).await {
            Some(view) => grant
                .zip(view)
                .is_some_and(|(g, v)| g.acked && v.applied >= g.feed_len && !v.stopped),
            // An unreachable slot counts as healthy, because reconciliation cannot help it. The
            // node that watches this slot logs the failure.
            None => true,
        }
    });
    join_all(is_healthy).await.into_iter().all(|is_healthy| is_healthy)
}
