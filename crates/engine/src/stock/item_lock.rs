//! The lock of an item, for a task that moves units between the item's pool and its slots.

use std::pin::Pin;

use tokio::sync::MutexGuard;
use tokio::sync::futures::Notified;

use super::StockControl;
use super::pool_recall::{listen, recall_to_pool};
use super::slot_reconciliation::reconcile_locked;
use crate::catalogue::ItemState;
use crate::error::EngineError;

/// The exclusive right of one task to move an item's units. The lock excludes other tasks of this
/// node, but no tasks of other nodes.
pub struct ItemLock<'a> {
    stock: &'a StockControl,
    item: &'a ItemState,
    _alone: MutexGuard<'a, ()>,
}

impl StockControl {
    /// Waits for the lock of an item. Until the returned lock is dropped, no other task of this
    /// node moves the item's units.
    pub async fn lock_item<'a>(&'a self, item: &'a ItemState) -> ItemLock<'a> {
        let alone = item.work.reconciling.lock().await;
        ItemLock { stock: self, item, _alone: alone }
    }
}

impl<'a> ItemLock<'a> {
    /// Moves at most `units` units from the item's slots to its pool. Returns the number of moved
    /// units. If it moved no units and a slot did not answer, returns the slot's error.
    pub(crate) async fn recall_to_pool(&self, units: u64) -> Result<u64, EngineError> {
        recall_to_pool(self.stock, self.item, units).await
    }

    pub(crate) async fn reconcile(&self) -> Result<(), EngineError> {
        reconcile_locked(self.stock, self.item).await
    }

    /// Returns a future that ends when the item's counts change. A task must call this function
    /// before it reads the store. Otherwise, it could miss a commit that returns units between its
    /// read and its wait.
    pub(crate) fn listen(&self) -> Pin<Box<Notified<'a>>> {
        listen(self.item)
    }
}
