//! Puts changed rows of sales into a node's catalogue, and locks a sale while this node changes it.
//!
//! These functions own no state. They call the store and the memory of a [`Node`].

use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::ItemId;
use doorbuster_store::SaleRow;
use tokio::sync::MutexGuard;

use crate::catalogue::SaleRuntime;
use crate::control::JobSignals;
use crate::error::EngineError;
use crate::node::Node;

/// After a change of an item's spread, the node reconciles the item at once. Another node may move
/// units in the meantime, so the node repeats the reconciliation after each of these pauses.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// The exclusive right of one task to change a sale on this node. While the task has this lock, the
/// node does not read other nodes' changes of the sale. When the task drops the lock, the node
/// reads them.
pub(crate) struct SaleLock<'a> {
    alone: Option<MutexGuard<'a, ()>>,
    control: &'a JobSignals,
}

impl<'a> SaleLock<'a> {
    pub(crate) async fn take(node: &'a Node, runtime: &'a SaleRuntime) -> Self {
        Self { alone: Some(runtime.sale_lock.lock().await), control: node.control() }
    }

    /// Takes the lock without waiting. Returns `None` if another task has the lock.
    pub(crate) fn try_take(node: &'a Node, runtime: &'a SaleRuntime) -> Option<Self> {
        let alone = runtime.sale_lock.try_lock().ok()?;
        Some(Self { alone: Some(alone), control: node.control() })
    }
}

impl Drop for SaleLock<'_> {
    fn drop(&mut self) {
        drop(self.alone.take());
        self.control.wake_catalogue_job();
    }
}

/// Updates a sale in the catalogue, publishes its status, and wakes the jobs that depend on the
/// sale's times. The caller must have the sale's lock.
pub(crate) async fn update_in_catalogue(node: &Node, row: SaleRow) -> Result<(), EngineError> {
    show_row(node, row, false).await.map(drop)
}

/// Adds a new sale to the catalogue. Returns `false` if another task of this node has already added
/// the sale, perhaps with a newer row.
pub(crate) async fn add_to_catalogue(node: &Node, row: SaleRow) -> Result<bool, EngineError> {
    show_row(node, row, true).await
}

async fn show_row(node: &Node, row: SaleRow, is_new: bool) -> Result<bool, EngineError> {
    // A known sale may have items that this node does not know, because another node has deleted
    // the sale and created it again.
    let known = node.catalogue().clone();
    let items: Vec<_> =
        row.items.iter().map(|i| i.id).filter(|id| known.item_by_id(*id).is_none()).collect();
    let counts = match items.is_empty() {
        true => Vec::new(),
        false => node.store().counts(Some(items.clone())).await?,
    };
    let id: Arc<str> = row.id.as_str().into();
    if !node.put_sale(row, &counts, is_new) {
        return Ok(false);
    }
    if !items.is_empty() {
        // A commit may have changed the counts after the read above, but before the catalogue had
        // the items. This node missed such a change, so it reads the counts again.
        node.read_counts(items).await?;
    }
    node.control().status_changed(&id);
    node.control().wake_timed_jobs();
    Ok(true)
}

pub(crate) fn wake_spread_jobs(node: &Node, item: ItemId) {
    node.control().queues_changed.notify_one();
    node.control().wake(item);
    for pause in LOOK_AGAIN {
        node.wake_after(pause, item);
    }
    if let Some(item) = node.catalogue().item_by_id(item) {
        item.gauge.wake_parked();
    }
}
