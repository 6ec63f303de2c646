//! Watches slots for loss, and the clock for steps. A slot that lost its memory has its grant closed, by id, and gets the next one.
//!
//! Evidence is read truth first, slot second, then the pending recalls and the grant again (see `doorbuster_core::loss`).
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Cause, Grant, loss};

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

const EVERY: Duration = Duration::from_secs(1);

/// Watches until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let alarm = engine.clock().has_alarm();
        let ahead_ms = engine.clock().discipline();
        if engine.clock().has_alarm() && !alarm {
            tracing::error!(
                ahead_ms,
                "the machine's clock was stepped: it is not followed, and nothing expires until it agrees again"
            );
        }
        if let Err(error) = watch(&engine).await {
            tracing::warn!(%error, "slots could not be watched");
        }
    }
}

async fn watch(engine: &Engine) -> Result<(), EngineError> {
    let grants = engine.store().open_grants().await?;
    sweep(engine, &grants).await?;
    for grant in grants {
        let catalogue = engine.catalogue().clone();
        let Some(item) = catalogue.item_of(grant.slot.item) else { continue };
        let cause = match evidence(engine, item, &grant).await {
            Ok(Some(cause)) => cause,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, slot = %grant.slot, "a slot could not be watched");
                continue;
            }
        };
        let _alone = item.tending.lock().await;
        if engine.store().close_grant(grant.id, cause).await? {
            tracing::error!(slot = %grant.slot, cause = cause.as_str(), "a slot lost its memory: its grant was closed");
        }
        engine.control().wake(grant.slot.item);
    }
    Ok(())
}

/// Wakes whatever was missed: a warm item without a grant, with units in its pool, or whose slot is behind its feed or stands without reason.
async fn sweep(engine: &Engine, grants: &[Grant]) -> Result<(), EngineError> {
    let catalogue = engine.catalogue().clone();
    for sale in catalogue.sales().filter(|s| s.is_warm() && !s.is_draining()) {
        for item in &sale.items {
            let grant = grants.iter().find(|g| g.slot == item.slot);
            let view = engine.slots().view(item.slot).await?;
            let well = grant.zip(view).is_some_and(|(g, v)| g.acked && v.applied >= g.feed_len && !v.stopped);
            if !well || item.gauge.counts().pool > 0 {
                engine.control().wake(item.row.id);
            }
        }
    }
    for recall in engine.store().pending_recalls().await? {
        if let Some(grant) = grants.iter().find(|g| g.id == recall.grant) {
            engine.control().wake(grant.slot.item);
        }
    }
    Ok(())
}

async fn evidence(engine: &Engine, item: &ItemState, before: &Grant) -> Result<Option<Cause>, EngineError> {
    let view = engine.slots().view(item.slot).await?;
    // Before the grant: a recall that is finished in between shows there.
    let pending = engine.store().pending_recalls().await?.iter().any(|r| r.grant == before.id);
    let Some(after) = engine.store().grant(before.id).await? else { return Ok(None) };
    if let Some(cause) = loss::evidence(before, view.as_ref(), after.feed_len) {
        return Ok(Some(cause));
    }
    let Some(view) = view else { return Ok(None) };
    if view.sealed {
        return roll(engine, item, before).await.map(|()| None);
    }
    Ok(loss::quiet_evidence(before, &view, &after, pending))
}

/// A slot whose memory is full is drained and goes on under a new epoch.
async fn roll(engine: &Engine, item: &ItemState, grant: &Grant) -> Result<(), EngineError> {
    let _alone = item.tending.lock().await;
    engine.slots().stop(item.slot, true).await?;
    if engine.drain(std::slice::from_ref(&item.slot)).await.is_ok()
        && engine.store().close_grant(grant.id, Cause::Rolled).await?
    {
        tracing::info!(slot = %grant.slot, "a slot's memory was full: it goes on under a new epoch");
    }
    // Whatever came of it, tending lets the slot go on; the sweep repeats it should it fail.
    super::tend::tend_locked(engine, item).await
}
