//! Reads the catalogue again after other nodes changed the catalogue. The store's notifications
//! wake this job.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_store::{CatalogueRows, SaleRow};
use tokio::time::Instant;

use super::slot_cleanup::retire_slots;
use crate::catalogue::SaleState;
use crate::engine::{Engine, EngineError};
use crate::outage_log;

/// Pause after a failed reload of the catalogue.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Reloads the catalogue until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        engine.node.control().catalogue_changed.notified().await;
        while let Err(error) = engine.refresh_catalogue().await {
            outage_log::warn!(
                engine.node.outage_log(),
                error,
                event = "sale.catalogue_failed",
                "failed to reload the catalogue; will retry"
            );
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Loads the changes that other nodes made since the version `since`. Returns the version up to
/// which this node then has the whole catalogue, or `None` if this function skipped a changed sale.
async fn reload(engine: &Engine, since: Option<&str>) -> Result<Option<String>, EngineError> {
    engine.node.meter().count_catalogue_check();
    // `known` is the catalogue before the store is read. If another task changes a sale during this
    // function, that task's row may be newer than the row that this function reads.
    let known = engine.node.catalogue().clone();
    let version = engine.node.store().catalogue_version().await?;
    if since == Some(version.as_str()) {
        return Ok(Some(version));
    }
    let CatalogueRows { version, sales } = engine.node.cache().rows(&engine.node, &version).await?;
    let stored: HashSet<&str> = sales.iter().map(|row| row.id.as_str()).collect();
    let gone: Vec<Arc<str>> = known
        .sales()
        .filter(|sale| !stored.contains(sale.row.id.as_str()))
        .map(|sale| sale.row.id.as_str().into())
        .collect();
    for id in gone {
        // This node may have created the sale after the read, so the store is asked again.
        if engine.node.store().sale(&id).await?.is_none() {
            engine.node.change_catalogue(|c| c.remove(&id));
            if let Some(sale) = known.sale(&id).filter(|_| engine.node.layout().is_node_local()) {
                let slots = sale.items.iter().flat_map(|item| item.reached_slots()).collect();
                retire_slots(engine, slots).await;
            }
        }
    }
    let mut has_all = true;
    for row in sales {
        let before = known.sale(&row.id);
        if before.is_none_or(|before| before.row != row) {
            has_all &= reload_one(engine, row, before).await?;
        }
    }
    Ok(has_all.then_some(version))
}

/// Loads one changed sale. Skips a sale that this node is changing itself, because the end of that
/// change triggers another reload. Returns whether this node has the sale's newest row now.
async fn reload_one(
    engine: &Engine,
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
        let is_untouched =
            engine.node.catalogue().sale(&id).map(Arc::as_ptr) == before.map(Arc::as_ptr);
        let is_shown = match (before, is_untouched) {
            (Some(_), true) => engine.update_in_catalogue(row).await.map(|()| true)?,
            // The sale has changed on this node during the read, so the row may be outdated and is
            // read again.
            (Some(_), false) => match engine.node.store().sale(&id).await? {
                Some(row) => engine.update_in_catalogue(row).await.map(|()| true)?,
                None => return Ok(true),
            },
            (None, _) => engine.add_to_catalogue(row).await?,
        };
        if !is_shown {
            // This node created the sale while the rows were read. Either that row or the row that
            // was read may be newer, so the sale is read again.
            engine.node.control().wake_catalogue_job();
            return Ok(false);
        }
        engine.node.meter().count_sale_reload();
    }
    if let Some(before) = before {
        for (item, old) in engine.node.catalogue().sale(&id).into_iter().flat_map(|now| {
            now.items.iter().filter_map(|item| {
                Some((item, before.items.iter().find(|old| old.row.id == item.row.id)?))
            })
        }) {
            if item.row.spread != old.row.spread {
                engine.wake_spread_jobs(item.row.id);
            }
        }
    }
    // The lock of the sale was released above, because the task that follows a drain needs
    // exclusive access to the sale.
    follow_step(engine, &id).await?;
    Ok(true)
}

/// Applies another node's phase change to the slots that only this node reaches.
async fn follow_step(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let Some(sale) = engine.node.catalogue().sale(id).cloned() else { return Ok(()) };
    if sale.row.draining_until.is_some() {
        engine.node.control().drains_changed.notify_one();
    }
    for item in &sale.items {
        if sale.has_open_slots() {
            engine.node.control().wake_by_commit(item.row.id);
        } else if sale.row.phase == Phase::Closed && engine.node.layout().is_node_local() {
            for &slot in &item.slots {
                engine.slots().retire(slot).await?;
            }
        }
        item.gauge.wake_parked();
    }
    Ok(())
}

impl Engine {
    /// Loads all changes that other nodes committed before this call. One read serves all callers
    /// that arrived before the read began.
    ///
    /// # Errors
    ///
    /// If the store is unreachable.
    pub async fn refresh_catalogue(&self) -> Result<(), EngineError> {
        if self.node.layout().is_single_node() || self.node.layout().is_edge() {
            return Ok(());
        }
        let asked = Instant::now();
        let mut looked = self.node.last_check().lock().await;
        if looked.began.is_none_or(|began| began < asked) {
            let began = Instant::now();
            looked.version = reload(self, looked.version.as_deref()).await?;
            looked.began = Some(began);
        }
        Ok(())
    }
}
