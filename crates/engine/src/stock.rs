//! Stock control: makes the slots of an item agree with the store's rows.
//!
//! Only stock control takes the lock of an item. Changes of a spread and late payments also move
//! units, and get an [`ItemLock`] from stock control for this purpose. Purchases and the settler
//! use the slots without stock control.
//!
//! [`StockControl`] starts slots, moves units between pool and slots, drains slots, and deletes
//! their data. It changes an item's total, shows an item's numbers, and stops the node. It owns no
//! state except its handle of the slots. The locks and the state of its work on an item are in the
//! item's `ItemWork`, in the catalogue of the [`Node`].
//!
//! Stock control calls the store, the slots, and the memory of the node. When it follows another
//! node's drain, it also calls `sale_rows`. It calls no part that changes sales or orders.

mod adjust;
pub(crate) mod drain;
mod feed;
mod grant_check;
mod item_lock;
mod item_numbers;
mod item_view;
mod pool_recall;
mod recall;
pub(crate) mod slot_cleanup;
mod slot_drain;
mod slot_reconciliation;
mod slot_watch;
mod start_slot;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::SlotKey;
use doorbuster_core::slot::SlotView;
use doorbuster_slots::Slots;
use doorbuster_steps::purchase::SLOT_QUERY_MAX_MS;

use crate::node::{Jobs, Node};

pub use item_lock::ItemLock;
pub use item_numbers::ItemNumbers;
pub(crate) use pool_recall::elapsed;
pub(crate) use slot_cleanup::{retire_slots, slots_with_grants};
pub(crate) use slot_reconciliation::{reconcile, reconcile_all};

const VIEW_MAX: Duration = Duration::from_millis(SLOT_QUERY_MAX_MS);

/// The part of a node that makes the slots agree with the store's rows.
pub struct StockControl {
    pub(crate) node: Arc<Node>,
    pub(crate) slots: Slots,
}

impl StockControl {
    /// Creates stock control. Its jobs do not run yet.
    pub(crate) fn new(node: Arc<Node>, slots: Slots) -> Self {
        Self { node, slots }
    }

    /// Returns the slots.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Returns the state of a slot. Returns `None` if the slot does not answer within [`VIEW_MAX`].
    /// Without this limit, a server that hangs would delay the item's other slots.
    async fn view_in_time(&self, slot: SlotKey) -> Option<Option<SlotView>> {
        let view = tokio::time::timeout(VIEW_MAX, self.slots.view(slot)).await;
        view.ok()?.ok()
    }
}

pub(crate) fn start_jobs(stock: &Arc<StockControl>, jobs: &Jobs, roles: Roles) {
    jobs.start("drain", drain::run(stock.clone()));
    jobs.start("reconcile", slot_reconciliation::run(stock.clone()));
    jobs.start("watch", slot_watch::run(stock.clone()));
    if roles.control {
        jobs.start("retire", slot_cleanup::run(stock.node.clone(), stock.slots.clone()));
    }
}
