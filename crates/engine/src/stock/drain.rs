//! Drains a sale's slots on all nodes. The node that pauses or closes the sale announces the drain
//! in the store. The other nodes read the announcement and drain their slots, and the announcing
//! node waits for them.
//!
//! Each node stops its own slots, waits until their tickets settle, and closes their grants. The
//! transaction that changes the phase closes every grant that is still open and returns its
//! unsettled tickets. So stock stays correct even if a slot is unreachable or slow.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::{CloseCause, Millis, SlotKey};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::slot_cleanup::retire_slots;
use super::{StockControl, slot_reconciliation};
use crate::catalogue::SaleState;
use crate::error::{DRAIN_MAX, EngineError};
use crate::node::Node;
use crate::outage_log;
use crate::sale_rows::{SaleLock, update_in_catalogue};

/// If the node that began a drain has not ended it after this time, the other nodes end it. This
/// time is a little longer than [`DRAIN_MAX`], the longest wait of the node that began the drain.
const DRAIN_NOTICE: Duration = DRAIN_MAX.saturating_add(Duration::from_secs(2));
/// A running drain ends at most this long from now. If a drain's announced end is later, the
/// database's clock was set back after the announcement, and the drain counts as over. The limit is
/// longer than any drain, so that a small difference between clocks ends no drain.
const DRAIN_END_MAX: Duration = DRAIN_NOTICE.saturating_add(Duration::from_secs(5));
/// How often a node checks for other nodes' drains while it knows of at least one.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often a node checks for other nodes' drains while it knows of none.
const IDLE_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a node reads the store while it waits for other nodes, or for the end of a drain.
const DRAIN_POLL: Duration = Duration::from_millis(10);

pub(super) async fn run(stock: Arc<StockControl>) {
    let mut following = tokio::task::JoinSet::new();
    loop {
        let draining = drains_elsewhere(&stock.node);
        let pause = if draining.is_empty() { IDLE_POLL_INTERVAL } else { POLL_INTERVAL };
        for sale in draining {
            let stock = stock.clone();
            following.spawn(async move {
                if let Err(error) = follow_drain(&stock, &sale).await {
                    outage_log::warn!(
                        stock.node.outage_log(),
                        error,
                        event = "slot.drain_follow_failed",
                        sale = sale.row.id,
                        "failed to follow another node's drain; will retry"
                    );
                }
            });
        }
        while following.try_join_next().is_some() {}
        drop(tokio::time::timeout(pause, stock.node.control().drains_changed.notified()).await);
    }
}

fn drains_elsewhere(node: &Node) -> Vec<Arc<SaleState>> {
    let now = node.now();
    let is_told = |sale: &&Arc<SaleState>| {
        sale.row.draining_until.is_some_and(|until| is_drain_running(until, now))
    };
    node.catalogue().sales().filter(is_told).cloned().collect()
}

/// Returns whether a drain with the announced end `until` is still running.
pub(crate) fn is_drain_running(until: Millis, now: Millis) -> bool {
    now < until && until <= now.plus(DRAIN_END_MAX.as_millis() as i64)
}

async fn follow_drain(stock: &StockControl, sale: &SaleState) -> Result<(), EngineError> {
    // Another task of this node has the lock. That task either drains the sale itself, or already
    // follows this drain.
    let Some(_guard) = SaleLock::try_take(&stock.node, &sale.runtime) else { return Ok(()) };
    sale.runtime.draining.store(true, Ordering::Release);
    let drained = drain_own(stock, sale).await;
    let over = wait_for_drain_end(&stock.node, sale).await;
    sale.runtime.draining.store(false, Ordering::Release);
    drained.and(over)?;
    reconcile_after_step(stock, &sale.row.id).await
}

/// Drains the slots that are in this node's memory. If all nodes reach the slots, does nothing,
/// because the node that began the drain drains all slots.
async fn drain_own(stock: &StockControl, sale: &SaleState) -> Result<(), EngineError> {
    if !stock.node.layout().is_node_local() {
        return Ok(());
    }
    let slots = stop_slots(stock, sale).await;
    stock.drain(&slots, Instant::now() + DRAIN_MAX).await?;
    close_own_grants(&stock.node, &slots).await
}

/// Closes the grants of these slots, which are slots of this node. If another node began the drain,
/// that node waits until the grants are closed, for up to [`DRAIN_MAX`].
async fn close_own_grants(node: &Node, slots: &[SlotKey]) -> Result<(), EngineError> {
    for grant in
        node.store().open_grants().await?.iter().filter(|grant| slots.contains(&grant.slot))
    {
        node.store().close_grant(grant.id, CloseCause::Rolled).await?;
    }
    Ok(())
}

async fn wait_for_drain_end(node: &Node, sale: &SaleState) -> Result<(), EngineError> {
    let is_over =
        |until: Option<Millis>| !until.is_some_and(|until| is_drain_running(until, node.now()));
    loop {
        match node.store().sale(&sale.row.id).await {
            Ok(Some(row)) => {
                if is_over(row.draining_until) {
                    return update_in_catalogue(node, row).await;
                }
            }
            Ok(None) => return Ok(()),
            Err(error) if is_over(sale.row.draining_until) => return Err(error.into()),
            Err(_) => {}
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

/// Stops the sale's slots that this node reaches. Returns the stopped slots. If a slot is
/// unreachable, logs an error and continues with the other slots.
pub(crate) async fn stop_slots(stock: &StockControl, sale: &SaleState) -> Vec<SlotKey> {
    let items = sale.items.iter().map(|item| async move {
        // Reconciliation has this lock while it checks `draining`. So once this task has the lock,
        // no reconciliation starts the slots again until the drain ends.
        let _guard = stock.lock_item(item).await;
        item.work.stopped_here.store(true, Ordering::Release);
        join_all(item.reached_slots().into_iter().map(|slot| stop_slot(stock, slot))).await
    });
    join_all(items).await.into_iter().flatten().flatten().collect()
}

async fn stop_slot(stock: &StockControl, slot: SlotKey) -> Option<SlotKey> {
    match stock.slots.stop(slot, true).await {
        Ok(()) => Some(slot),
        Err(error) => {
            outage_log::warn!(
                stock.node.outage_log(),
                error,
                event = "slot.drain_stop_failed",
                slot = stock.node.catalogue().slot_name(slot),
                "failed to stop a slot; its unsettled tickets are returned after the drain"
            );
            None
        }
    }
}

/// Waits until the tickets of these slots are settled. If the time `until` comes first, logs a
/// warning and returns.
pub(crate) async fn await_tickets(
    stock: &StockControl,
    sale: &SaleState,
    slots: &[SlotKey],
    until: Instant,
) {
    if let Err(error) = stock.drain(slots, until).await {
        outage_log::warn!(
            stock.node.outage_log(),
            error,
            event = "slot.drain_incomplete",
            sale = sale.row.id,
            "some slots were not drained; tickets in flight are returned"
        );
    }
}

/// Closes this node's grants of these slots, because another node may wait for this. Then waits
/// until the other nodes have closed their grants of this sale. If some of these grants are still
/// open at the time `until`, logs a warning and returns.
pub(crate) async fn await_other_nodes(
    node: &Node,
    sale: &SaleState,
    slots: &[SlotKey],
    until: Instant,
) -> Result<(), EngineError> {
    if node.layout().reaches_all_slots() {
        return Ok(());
    }
    close_own_grants(node, slots).await?;
    let is_theirs =
        |slot: SlotKey| !slots.contains(&slot) && sale.items.iter().any(|i| i.row.id == slot.item);
    while node.store().open_grants().await?.iter().any(|grant| is_theirs(grant.slot)) {
        if Instant::now() > until {
            tracing::warn!(
                sale = sale.row.id,
                event = "slot.drain_others_incomplete",
                "other nodes did not drain their slots; tickets in flight are returned"
            );
            break;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
    Ok(())
}

/// Announces in the store that every node must drain its slots of the sale. Returns the sale's new
/// version. Returns `None` if the deployment has only one node, or if the sale was deleted.
pub(crate) async fn announce_drain(
    node: &Node,
    sale: &SaleState,
) -> Result<Option<u64>, EngineError> {
    if node.layout().is_single_node() {
        return Ok(None);
    }
    Ok(node.store().drain_sale(&sale.row.id, DRAIN_NOTICE.as_millis() as i64).await?)
}

pub(crate) async fn cancel_drain(node: &Node, sale: &SaleState) {
    if !node.layout().is_single_node()
        && let Err(error) = node.store().cancel_drain(&sale.row.id).await
    {
        outage_log::warn!(
            node.outage_log(),
            error,
            event = "slot.drain_cancel_failed",
            sale = sale.row.id,
            "failed to cancel a drain; other nodes keep draining until the drain times out"
        );
    }
}

/// Makes the slots agree with the sale's phase after a step, even if the step failed. If the step
/// failed and the sale is still open, the slots issue tickets again.
pub(crate) async fn reconcile_after_step(
    stock: &StockControl,
    id: &str,
) -> Result<(), EngineError> {
    let Some(sale) = stock.node.catalogue().sale(id).cloned() else { return Ok(()) };
    if sale.has_open_slots() {
        slot_reconciliation::reconcile_all(stock, &sale.items).await;
    }
    if sale.row.phase == doorbuster_core::Phase::Closed {
        // If a slot does not answer, the job `retire` tries again later.
        let slots = sale.items.iter().flat_map(|item| item.reached_slots()).collect();
        retire_slots(&stock.slots, slots).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_from_before_the_clock_was_set_back_is_over() {
        let (announced, notice) = (Millis(1_000_000), DRAIN_NOTICE.as_millis() as i64);
        let until = announced.plus(notice);
        assert!(is_drain_running(until, announced));
        assert!(is_drain_running(until, announced.plus(notice - 1)));
        assert!(!is_drain_running(until, until));
        assert!(is_drain_running(until, announced.plus(-1_000)), "clocks may differ a little");
        assert!(!is_drain_running(until, announced.plus(-60_000)));
    }
}
