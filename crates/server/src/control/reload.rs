//! Reads the catalogue again when other nodes changed it. Runs when the store says so.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{ItemId, Phase};
use doorbuster_store::{CatalogueRows, SaleRow};
use tokio::time::Instant;

use crate::catalogue::SaleState;
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

/// The newest look for changes of the catalogue.
#[derive(Debug, Default)]
pub(crate) struct LastLook {
    /// When it began.
    began: Option<Instant>,
    /// The version that this node has all of.
    version: Option<String>,
}

/// Takes in what others changed since this version; the version that this node has all of then.
async fn reload(engine: &Engine, since: Option<&str>) -> Result<Option<String>, EngineError> {
    engine.meter().look();
    // Kept from before the truth is asked: whatever is put here meanwhile may be newer than what is
    // read.
    let known = engine.catalogue().clone();
    let version = engine.store().catalogue_version().await?;
    if since == Some(version.as_str()) {
        return Ok(Some(version));
    }
    let CatalogueRows { version, sales } = engine.cache().rows(engine, &version).await?;
    let there: HashSet<&str> = sales.iter().map(|row| row.id.as_str()).collect();
    let gone: Vec<Arc<str>> = known
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
    let mut has_all = true;
    for row in sales {
        let before = known.sale(&row.id);
        if before.is_none_or(|before| before.row != row) {
            has_all &= reload_one(engine, row, before).await?;
        }
    }
    Ok(has_all.then_some(version))
}

/// Takes in one sale that was read again, unless it is being changed here: then whoever does has it
/// read once more in the end.
async fn reload_one(
    engine: &Engine,
    row: SaleRow,
    before: Option<&Arc<SaleState>>,
) -> Result<bool, EngineError> {
    let id = row.id.clone();
    {
        let _alone = match before.map(|before| before.flags.operating.try_lock()) {
            Some(Ok(alone)) => Some(alone),
            Some(Err(_)) => return Ok(false),
            None => None,
        };
        let is_untouched = engine.catalogue().sale(&id).map(Arc::as_ptr) == before.map(Arc::as_ptr);
        let is_shown = match (before, is_untouched) {
            (Some(_), true) => engine.take_in(row).await.map(|()| true)?,
            // It was put here since: what was read may be older.
            (Some(_), false) => match engine.store().sale(&id).await? {
                Some(row) => engine.take_in(row).await.map(|()| true)?,
                None => return Ok(true),
            },
            (None, _) => engine.take_in_new(row).await?,
        };
        if !is_shown {
            // It was made here at the same time, and which of the two is newer is not known: once
            // more, now that it is known.
            engine.control().reload();
            return Ok(false);
        }
        engine.meter().reload();
    }
    // Whoever follows a drain takes the sale for itself.
    follow(engine, &id).await?;
    Ok(true)
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
    /// Shows whatever other nodes had changed before this was called. One reading serves everybody
    /// who asked before it began.
    ///
    /// # Errors When the store is away.
    pub async fn catch_up(&self) -> Result<(), EngineError> {
        if self.layout().is_alone() {
            return Ok(());
        }
        let asked = Instant::now();
        let mut looked = self.looked().lock().await;
        if looked.began.is_none_or(|began| began < asked) {
            let began = Instant::now();
            looked.version = reload(self, looked.version.as_deref()).await?;
            looked.began = Some(began);
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
                .filter_map(|&id| {
                    catalogue.item_of(id).map(|item| (item.clone(), item.gauge.published()))
                })
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
