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
    for grant in engine.store().open_grants().await? {
        let catalogue = engine.catalogue().clone();
        let Some(item) = catalogue.item_of(grant.slot.item) else { continue };
        let Some(cause) = evidence(engine, item, &grant).await? else { continue };
        let _alone = item.tending.lock().await;
        if engine.store().close_grant(grant.id, cause).await? {
            tracing::error!(slot = %grant.slot, cause = cause.as_str(), "a slot lost its memory: its grant was closed");
        }
        engine.control().wake(grant.slot.item);
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
    let drained = engine.drain(std::slice::from_ref(&item.slot)).await;
    if drained.is_ok() && engine.store().close_grant(grant.id, Cause::Rolled).await? {
        tracing::info!(slot = %grant.slot, "a slot's memory was full: it goes on under a new epoch");
        super::tend::tend_locked(engine, item).await?;
    }
    engine.slots().stop(item.slot, false).await?;
    drained
}
