//! Reads the catalogue again when other nodes changed it. Runs when the store says so.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{ItemId, Phase};
use tokio::time::Instant;

use crate::engine::{Engine, EngineError};

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Reads until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        engine.control().catalogue_changed.notified().await;
        while let Err(error) = engine.catch_up().await {
            tracing::warn!(%error, "the sales could not be read again yet");
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn reload(engine: &Engine) -> Result<(), EngineError> {
    engine.meter().look();
    let rows = engine.store().sales().await?;
    let catalogue = engine.catalogue().clone();
    let there: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let gone: Vec<Arc<str>> = catalogue
        .sales()
        .filter(|sale| !there.contains(sale.row.id.as_str()))
        .map(|sale| sale.row.id.as_str().into())
        .collect();
    for id in gone {
        // It may have been made here just now.
        if engine.store().sale(&id).await?.is_none() {
            engine.change_catalogue(|c| c.remove(&id));
        }
    }
    for row in rows.into_iter().filter(|row| catalogue.sale(&row.id).is_none_or(|known| known.row != *row)) {
        reload_one(engine, &row.id).await?;
    }
    Ok(())
}

/// Reads one sale again, unless it is being changed here: whoever does has it read again in the end.
async fn reload_one(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let flags = engine.catalogue().sale(id).map(|sale| sale.flags.clone());
    {
        let _alone = match &flags {
            Some(flags) => match flags.operating.try_lock() {
                Ok(alone) => Some(alone),
                Err(_) => return Ok(()),
            },
            None => None,
        };
        let Some(row) = engine.store().sale(id).await? else { return Ok(()) };
        engine.meter().reload();
        engine.take_in(row).await?;
    }
    // Whoever follows a drain takes the sale for itself.
    follow(engine, id).await
}

/// What another node's step asks of the slots that only this node reaches.
async fn follow(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let Some(sale) = engine.catalogue().sale(id).cloned() else { return Ok(()) };
    if sale.row.draining_until.is_some() {
        engine.control().drains_changed.notify_one();
    }
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
    /// Shows whatever other nodes had changed before this was called. One reading serves everybody who asked before it began.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn catch_up(&self) -> Result<(), EngineError> {
        if self.layout().is_alone() {
            return Ok(());
        }
        let asked = Instant::now();
        let mut read = self.read_at().lock().await;
        if read.is_none_or(|began| began < asked) {
            let began = Instant::now();
            reload(self).await?;
            *read = Some(began);
        }
        Ok(())
    }

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
