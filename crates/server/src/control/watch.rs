//! Watches slots for loss, and the clock for steps. A slot that lost its memory has its grant
//! closed, by id, and gets the next one. Runs every second, and at once on a hint. Each node
//! watches the slots that only it reaches, the leader those that all reach; on a suspicion of its
//! own, every node does.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::VERDICT_GRACE_MS;
use doorbuster_core::{CloseCause, Grant};
use futures_util::StreamExt;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

use super::evidence::evidence;

const EVERY: Duration = Duration::from_secs(1);
/// Shortest pause between two looks, however many hints come.
const PACE: Duration = Duration::from_millis(20);
/// Slots looked at at the same time.
const WATCHED_AT_ONCE: usize = 64;

/// Watches until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(if engine.watches() { PACE } else { EVERY }).await;
        let suspects =
            tokio::time::timeout(EVERY, engine.control().suspicion.notified()).await.is_ok();
        if engine.layout().is_alone() {
            discipline(&engine);
        }
        engine.waiters().forget_lost(engine.now().plus(-VERDICT_GRACE_MS));
        if let Err(error) = watch(&engine, suspects).await {
            tracing::warn!(%error, "slots could not be watched");
        }
    }
}

/// Compares the store's clock with the machine's. Where a database has the truth, it has the time
/// as well.
fn discipline(engine: &Engine) {
    let alarm = engine.clock().has_alarm();
    let ahead_ms = engine.clock().discipline();
    if engine.clock().has_alarm() && !alarm {
        tracing::error!(
            ahead_ms,
            "the machine's clock was stepped: nothing expires until the program's agrees with it \
             again, and a step of more than a minute is not followed"
        );
    }
}

/// On a suspicion every node looks at the slots that it reaches: whoever leads may not reach them.
/// Two that close a grant do no harm.
async fn watch(engine: &Engine, suspects: bool) -> Result<(), EngineError> {
    let grants = engine.store().open_grants().await?;
    sweep(engine, &grants).await?;
    let each = futures_util::stream::iter(grants).map(|grant| async move {
        if let Err(error) = watch_one(engine, &grant, suspects).await {
            tracing::warn!(%error, slot = %grant.slot, "a slot could not be watched");
        }
    });
    each.buffer_unordered(WATCHED_AT_ONCE).collect::<()>().await;
    Ok(())
}

async fn watch_one(engine: &Engine, grant: &Grant, suspects: bool) -> Result<(), EngineError> {
    let catalogue = engine.catalogue().clone();
    let Some(item) = catalogue.item_of(grant.slot.item) else { return Ok(()) };
    if !engine.layout().has(&item.row.spread, grant.slot.index) {
        return left_over(engine, item, grant).await;
    }
    if !item.slots.contains(&grant.slot) || !(engine.watches() || suspects) {
        return Ok(());
    }
    let Some(cause) = evidence(engine, item, grant).await? else { return Ok(()) };
    let _alone = item.work.tending.lock().await;
    if engine.store().close_grant(grant.id, cause).await? {
        tracing::error!(slot = %grant.slot, cause = cause.as_str(), "a slot lost its memory: its grant was closed");
    }
    engine.control().wake(grant.slot.item);
    Ok(())
}

/// A slot from before the item's spread was changed.
async fn left_over(engine: &Engine, item: &ItemState, grant: &Grant) -> Result<(), EngineError> {
    if engine.control().leads() && engine.store().close_grant(grant.id, CloseCause::Rolled).await? {
        tracing::info!(slot = %grant.slot, "a slot left from another spread was closed");
        engine.slots().retire(grant.slot).await?;
        engine.control().wake(item.row.id);
    }
    Ok(())
}

/// Wakes whatever was missed: a warm item without a grant, with units in its pool, or with a slot
/// that is behind its feed or stands without reason.
async fn sweep(engine: &Engine, grants: &[Grant]) -> Result<(), EngineError> {
    let catalogue = engine.catalogue().clone();
    if engine.watches() {
        for sale in catalogue.sales().filter(|s| s.is_warm() && !s.is_draining()) {
            for item in &sale.items {
                if item.gauge.open_pool() > 0 {
                    engine.control().wake_by_pool(item.row.id);
                }
                if !is_well(engine, item, grants).await {
                    engine.control().wake(item.row.id);
                }
            }
        }
    }
    for recall in engine.store().pending_recalls().await? {
        let grant = grants.iter().find(|g| g.id == recall.grant);
        let item = grant.and_then(|grant| catalogue.item_of(grant.slot.item).zip(Some(grant.slot)));
        if let Some((item, slot)) = item
            && item.slots.contains(&slot)
        {
            engine.control().wake(item.row.id);
        }
    }
    Ok(())
}

async fn is_well(engine: &Engine, item: &ItemState, grants: &[Grant]) -> bool {
    for &slot in &item.slots {
        let grant = grants.iter().find(|g| g.slot == slot);
        // What cannot be asked is told of by whoever watches it.
        let Ok(view) = engine.slots().view(slot).await else { continue };
        if !grant.zip(view).is_some_and(|(g, v)| g.acked && v.applied >= g.feed_len && !v.stopped) {
            return false;
        }
    }
    true
}
