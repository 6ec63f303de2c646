//! What a slot's answer proves about its grant, and what is done about a slot whose memory is full.
//!
//! Evidence is read truth first, slot second, then the pending recalls and the grant again (see
//! `doorbuster_core::loss`).
use doorbuster_core::{CloseCause, Grant, loss};
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::{DRAIN_MAX, Engine, EngineError};

/// Why this grant has to be closed, if it has.
pub(super) async fn evidence(
    engine: &Engine,
    item: &ItemState,
    before: &Grant,
) -> Result<Option<CloseCause>, EngineError> {
    let view = engine.slots().view(before.slot).await?;
    // Before the grant: a recall that is finished in between shows there.
    let pending = engine.store().pending_recalls().await?.iter().any(|r| r.grant == before.id);
    let Some(after) = engine.store().grant(before.id).await? else { return Ok(None) };
    if let Some(cause) = loss::evidence(before, view.as_ref(), after.feed_len) {
        return Ok(Some(cause));
    }
    let Some(view) = view else { return Ok(None) };
    if view.sealed && engine.watches() {
        return roll(engine, item, before).await.map(|()| None);
    }
    Ok(loss::quiet_evidence(before, &view, &after, pending))
}

/// A slot whose memory is full is drained and goes on under a new epoch.
async fn roll(engine: &Engine, item: &ItemState, grant: &Grant) -> Result<(), EngineError> {
    let _alone = item.work.tending.lock().await;
    engine.slots().stop(grant.slot, true).await?;
    if engine.drain(std::slice::from_ref(&grant.slot), Instant::now() + DRAIN_MAX).await.is_ok()
        && engine.store().close_grant(grant.id, CloseCause::Rolled).await?
    {
        tracing::info!(slot = %grant.slot, "a slot's memory was full: it goes on under a new epoch");
    }
    // Whatever came of it, tending lets the slot go on; the sweep repeats it should it fail.
    item.work.stopped_here.store(true, std::sync::atomic::Ordering::Release);
    super::tend::tend_locked(engine, item).await
}
