//! Reads the catalogue again when other nodes changed it. Runs when the store says so.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{ItemId, Phase};
use doorbuster_store::SaleRow;

use crate::engine::{Engine, EngineError};

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Reads until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        engine.control().catalogue_changed.notified().await;
        while let Err(error) = reload(&engine).await {
            tracing::warn!(%error, "the sales could not be read again yet");
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn reload(engine: &Engine) -> Result<(), EngineError> {
    let rows = engine.store().sales().await?;
    let catalogue = engine.catalogue().clone();
    let gone: Vec<Arc<str>> = catalogue
        .sales()
        .filter(|sale| rows.iter().all(|row| row.id != sale.row.id))
        .map(|sale| sale.row.id.as_str().into())
        .collect();
    let changed: Vec<SaleRow> =
        rows.into_iter().filter(|row| catalogue.sale(&row.id).is_none_or(|known| known.row != *row)).collect();
    for id in gone {
        engine.change_catalogue(|c| c.remove(&id));
    }
    for row in changed {
        let id = row.id.clone();
        engine.take_in(row).await?;
        follow(engine, &id).await?;
    }
    Ok(())
}

/// What another node's step asks of the slots that only this node reaches.
async fn follow(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let Some(sale) = engine.catalogue().sale(id).cloned() else { return Ok(()) };
    for item in &sale.items {
        if sale.is_warm() {
            engine.control().wake_by_commit(item.row.id);
        } else if sale.row.phase == Phase::Closed && engine.layout().is_own() {
            for &slot in &item.slots {
                engine.slots().retire(slot).await?;
            }
        }
        item.gauge.nudge();
    }
    Ok(())
}

impl Engine {
    /// Reads where the units of these items are and shows it, however many commits come in between.
    pub(crate) async fn read_counts(&self, items: Vec<ItemId>) -> Result<(), EngineError> {
        let catalogue = self.catalogue().clone();
        let mut missing = items;
        while !missing.is_empty() {
            let seen: Vec<_> = missing
                .iter()
                .filter_map(|&id| catalogue.item_of(id).map(|item| (item.clone(), item.gauge.published())))
                .collect();
            let counts = self.store().counts(Some(missing)).await?;
            missing = seen
                .iter()
                .filter(|(item, published)| {
                    let read = counts.iter().find(|counts| counts.item == item.row.id);
                    read.is_some_and(|counts| !item.gauge.publish_read(*counts, *published))
                })
                .map(|(item, _)| item.row.id)
                .collect();
        }
        Ok(())
    }
}
