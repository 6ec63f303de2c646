//! Tends an item's slot: opens its grant, sends `init`, refills it from the pool, feeds it. Runs when something changed.
//!
//! A grant is opened with no units; all units reach a slot through the feed, so that nothing has to be remembered between opening and `init`.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::slot::Applied;
use doorbuster_core::{Grant, GrantId, Seq};

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

/// Feed rows sent to a slot at once.
const FEED_BATCH_MAX: usize = 1_000;
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(50);

/// Tends every item that was named, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        engine.control().items_changed.notified().await;
        for id in engine.control().take_items() {
            let catalogue = engine.catalogue().clone();
            let Some(item) = catalogue.item_of(id) else { continue };
            if let Err(error) = tend(&engine, item).await {
                tracing::warn!(%error, item = %id, "a slot could not be tended yet");
                tokio::time::sleep(RETRY).await;
                engine.control().wake(id);
            }
        }
    }
}

/// Brings an item's slot up to the truth. Each step may be repeated.
pub(crate) async fn tend(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let _alone = item.tending.lock().await;
    tend_locked(engine, item).await
}

/// [`tend`] for a caller that holds the item's lock.
pub(super) async fn tend_locked(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    if !engine.catalogue().sale(&item.sale).is_some_and(|s| s.is_warm()) {
        return Ok(());
    }
    let id = GrantId(rand::random::<u64>() >> 1);
    let Some(grant) = engine.store().open_grant(item.slot, id, 0).await? else { return Ok(()) };
    let applied = engine.slots().init(item.slot, grant.id, grant.epoch, grant.counted, 0).await?;
    let Applied::At(applied) = applied else {
        // Another epoch lives there: the watch decides what that proves.
        return Ok(());
    };
    if !grant.acked {
        engine.store().acknowledge_init(grant.id).await?;
    }
    let pool = item.gauge.counts().pool;
    let refilled = if pool > 0 { engine.store().refill(grant.id, pool).await? } else { 0 };
    if refilled > 0 {
        engine.meter().refill(refilled);
    }
    feed(engine, item, &grant, applied).await?;
    item.gauge.nudge();
    Ok(())
}

async fn feed(engine: &Engine, item: &ItemState, grant: &Grant, mut applied: Seq) -> Result<(), EngineError> {
    loop {
        let rows = engine.store().feed_after(grant.id, applied, FEED_BATCH_MAX).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        match engine.slots().apply(item.slot, grant.epoch, &rows).await? {
            Applied::At(at) if at >= last.seq => applied = at,
            Applied::At(_) | Applied::Foreign => return Ok(()),
        }
    }
}
