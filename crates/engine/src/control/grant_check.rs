//! Decides from a slot's answer whether the slot's grant must be closed. Also starts a new epoch
//! for a slot whose memory is full.
//!
//! The sequence of the reads is fixed: the grant, the slot, the pending recalls, and the grant
//! again (see `doorbuster_core::slot_loss`).
use doorbuster_core::{CloseCause, Grant, slot_loss};
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::{DRAIN_MAX, Engine, EngineError};

/// Returns the reason to close this grant, if there is one.
pub(super) async fn check_grant(
    engine: &Engine,
    item: &ItemState,
    before: &Grant,
) -> Result<Option<CloseCause>, EngineError> {
    let view = engine.slots().view(before.slot).await?;
    // The recalls are read before the grant. So `after` includes a recall that finishes between the
    // two reads.
    let pending = engine.store().pending_recalls().await?.iter().any(|r| r.grant == before.id);
    let Some(after) = engine.store().grant(before.id).await? else { return Ok(None) };
    if let Some(cause) = slot_loss::evidence(before, view.as_ref(), after.feed_len) {
        return Ok(Some(cause));
    }
    let Some(view) = view else { return Ok(None) };
    if view.sealed && engine.watches_slots() {
        return roll_epoch(engine, item, before).await.map(|()| None);
    }
    Ok(slot_loss::quiet_evidence(before, &view, &after, pending))
}

/// Drains a slot with full memory and closes its grant. The slot continues under a new epoch.
async fn roll_epoch(engine: &Engine, item: &ItemState, grant: &Grant) -> Result<(), EngineError> {
    let _guard = item.work.reconciling.lock().await;
    engine.slots().stop(grant.slot, true).await?;
    if engine.drain(std::slice::from_ref(&grant.slot), Instant::now() + DRAIN_MAX).await.is_ok()
        && engine.store().close_grant(grant.id, CloseCause::Rolled).await?
    {
        tracing::info!(
            slot = engine.catalogue().slot_name(grant.slot),
            event = "slot.full",
            "a slot's memory was full; the slot continues under a new epoch"
        );
    }
    // With this flag, reconciliation starts the slot again. If reconciliation fails now, the next
    // sweep repeats it.
    item.work.stopped_here.store(true, std::sync::atomic::Ordering::Release);
    super::reconcile::reconcile_locked(engine, item).await
}
