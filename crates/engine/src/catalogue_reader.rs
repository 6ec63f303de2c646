//! Reads the catalogue from the store after other nodes changed it.
//!
//! [`CatalogueReader`] owns no state: the catalogue and the time of its last read belong to the
//! [`Node`]. The reader calls the store, the cache and the catalogue of the node. It puts changed
//! rows into the catalogue with the functions of `sale_rows`. If another node closed or deleted a
//! sale, the reader also calls the slots, and `retire_slots` of stock control. These calls delete
//! the data of the sale's slots.
//!
//! The reader is called in three cases:
//! - A notification from the store wakes the reader's job, which then calls the reader.
//! - A part of the node gets the id of an unknown sale or item. Such parts are the handlers of
//!   requests, the changes of orders, and the delivery of events.
//! - An operator sends a request. The reader is called before the request's handler runs, so that
//!   operators see other nodes' changes at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{ItemId, Phase};
use doorbuster_slots::Slots;
use doorbuster_store::{CatalogueRows, SaleRow, StoreError};
use tokio::time::Instant;

use crate::catalogue::{ItemState, SaleState};
use crate::error::EngineError;
use crate::node::Node;
use crate::outage_log;
use crate::sale_rows::{add_to_catalogue, update_in_catalogue, wake_spread_jobs};
use crate::stock::retire_slots;

const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The part of a node that reads the changes that other nodes made to the catalogue.
pub struct CatalogueReader {
    node: Arc<Node>,
    slots: Slots,
}

impl CatalogueReader {
    /// Creates the reader of a node's catalogue. `slots` are the slots that this node reaches.
    pub(crate) fn new(node: Arc<Node>, slots: Slots) -> Self {
        Self { node, slots }
    }

    /// Loads all changes that other nodes committed before this call. Concurrent calls share one
    /// read.
    ///
    /// # Errors
    ///
    /// If the store is unreachable.
    pub async fn refresh(&self) -> Result<(), EngineError> {
        if self.node.layout().is_single_node() || self.node.layout().is_edge() {
            return Ok(());
        }
        let asked = Instant::now();
        let mut looked = self.node.last_check().lock().await;
        if looked.began.is_none_or(|began| began < asked) {
            let began = Instant::now();
            looked.version = reload(&self.node, &self.slots, looked.version.as_deref()).await?;
            looked.began = Some(began);
        }
        Ok(())
    }

    /// Does the same as [`Self::refresh`], for requests whose ids a client can invent. The node
    /// limits how often such requests cause a read of the store.
    pub async fn refresh_paced(&self) {
        if self.node.layout().is_single_node() || self.node.layout().is_edge() {
            return;
        }
        self.node.cache().check_if_due(&self.node, || self.refresh()).await;
    }

    /// Returns the item, even if another node has just created it. Returns `None` if no sale has
    /// the item.
    pub(crate) async fn find_item(
        &self,
        id: ItemId,
    ) -> Result<Option<Arc<ItemState>>, EngineError> {
        if self.node.catalogue().item_by_id(id).is_none() {
            self.refresh().await?;
        }
        Ok(self.node.catalogue().item_by_id(id).cloned())
    }

    /// Returns the item of each id, even if another node has just created some of the items.
    ///
    /// # Errors
    ///
    /// If the store is unreachable, or if one of the items belongs to no known sale. The second
    /// case is an error, because callers would otherwise silently omit rows about the unknown item.
    pub async fn find_items(&self, ids: &[ItemId]) -> Result<Vec<Arc<ItemState>>, EngineError> {
        let known = |id: &ItemId| self.node.catalogue().item_by_id(*id).cloned();
        if let Some(items) = ids.iter().map(known).collect::<Option<Vec<_>>>() {
            return Ok(items);
        }
        self.refresh().await?;
        let reason = |id: &ItemId| format!("this node does not know item {} yet", id.0);
        let unknown =
            |id: &ItemId| StoreError::Unavailable { reason: reason(id), may_have_happened: false };
        Ok(ids.iter().map(|id| known(id).ok_or_else(|| unknown(id))).collect::<Result<_, _>>()?)
    }
}

/// Runs until the program stops.
pub(crate) async fn run(reader: Arc<CatalogueReader>) {
    loop {
        reader.node.control().catalogue_changed.notified().await;
        while let Err(error) = reader.refresh().await {
            outage_log::warn!(
                reader.node.outage_log(),
                error,
                event = "sale.catalogue_failed",
                "failed to reload the catalogue; will retry"
            );
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Loads the changes since the version `since`. Returns the version up to which the catalogue is
/// now complete, or `None` if a changed sale was skipped.
async fn reload(
    node: &Node,
    slots: &Slots,
    since: Option<&str>,
) -> Result<Option<String>, EngineError> {
    node.meter().catalogue_checks.add_one();
    // The function keeps the catalogue from before the read of the store. After the read, it
    // compares the two to find sales that another task changed meanwhile.
    let known = node.catalogue().clone();
    let version = node.store().catalogue_version().await?;
    if since == Some(version.as_str()) {
        return Ok(Some(version));
    }
    let CatalogueRows { version, sales } = node.cache().rows(node, &version).await?;
    let stored: HashSet<&str> = sales.iter().map(|row| row.id.as_str()).collect();
    let gone: Vec<Arc<str>> = known
        .sales()
        .filter(|sale| !stored.contains(sale.row.id.as_str()))
        .map(|sale| sale.row.id.as_str().into())
        .collect();
    for id in gone {
        // A sale that is in this node's catalogue but not among the rows may be new: this node may
        // have created it after the read. So the store is asked about this sale.
        if node.store().sale(&id).await?.is_none() {
            node.change_catalogue(|c| c.remove(&id));
            if let Some(sale) = known.sale(&id).filter(|_| node.layout().is_node_local()) {
                let retired = sale.items.iter().flat_map(|item| item.reached_slots()).collect();
                retire_slots(slots, retired).await;
            }
        }
    }
    let mut has_all = true;
    for row in sales {
        let before = known.sale(&row.id);
        if before.is_none_or(|before| before.row != row) {
            has_all &= reload_one(node, slots, row, before).await?;
        }
    }
    Ok(has_all.then_some(version))
}

/// Loads one changed sale. Returns whether the catalogue has the newest row of this sale after the
/// call. Skips the sale if this node is changing it: the end of that change triggers another
/// reload.
async fn reload_one(
    node: &Node,
    slots: &Slots,
    row: SaleRow,
    before: Option<&Arc<SaleState>>,
) -> Result<bool, EngineError> {
    let id = row.id.clone();
    {
        let _guard = match before.map(|before| before.runtime.sale_lock.try_lock()) {
            Some(Ok(alone)) => Some(alone),
            Some(Err(_)) => return Ok(false),
            None => None,
        };
        let is_untouched = node.catalogue().sale(&id).map(Arc::as_ptr) == before.map(Arc::as_ptr);
        let is_shown = match (before, is_untouched) {
            (Some(_), true) => update_in_catalogue(node, row).await.map(|()| true)?,
            // This node changed the sale during the read, so `row` may be outdated, and is read
            // again.
            (Some(_), false) => match node.store().sale(&id).await? {
                Some(row) => update_in_catalogue(node, row).await.map(|()| true)?,
                None => return Ok(true),
            },
            (None, _) => add_to_catalogue(node, row).await?,
        };
        if !is_shown {
            // This node created the sale during the read, so the row that was read may be older or
            // newer than the catalogue's row.
            node.control().wake_catalogue_job();
            return Ok(false);
        }
        node.meter().reloads.add_one();
    }
    if let Some(before) = before {
        for (item, old) in node.catalogue().sale(&id).into_iter().flat_map(|now| {
            now.items.iter().filter_map(|item| {
                Some((item, before.items.iter().find(|old| old.row.id == item.row.id)?))
            })
        }) {
            if item.row.spread != old.row.spread {
                wake_spread_jobs(node, item.row.id);
            }
        }
    }
    // The block above has released the sale's lock before this call. The call may wake the job that
    // follows another node's drain, and that job takes the lock.
    follow_step(node, slots, &id).await?;
    Ok(true)
}

async fn follow_step(node: &Node, slots: &Slots, id: &str) -> Result<(), EngineError> {
    let Some(sale) = node.catalogue().sale(id).cloned() else { return Ok(()) };
    if sale.row.draining_until.is_some() {
        node.control().wake_drain_job();
    }
    for item in &sale.items {
        if sale.has_open_slots() {
            node.control().wake_by_commit(item.row.id);
        } else if sale.row.phase == Phase::Closed && node.layout().is_node_local() {
            for &slot in &item.slots {
                slots.retire(slot, None).await?;
            }
        }
        item.gauge.wake_parked();
    }
    Ok(())
}
