//! Checks whether a slot has lost its data. Also starts a new epoch for a slot that has no room for
//! more tickets. [`doorbuster_steps::slot_check`] has the sequence of the reads.
use std::sync::Arc;

use doorbuster_core::{CloseCause, Grant};
use doorbuster_steps::slot_check::{Effect, Finding, Input, SlotCheck};
use tokio::time::Instant;

use super::StockControl;
use crate::catalogue::ItemState;
use crate::error::{DRAIN_MAX, EngineError};

pub(super) async fn check_grant(
    stock: &StockControl,
    item: &ItemState,
    before: &Grant,
) -> Result<Option<CloseCause>, EngineError> {
    let (mut check, mut effect) =
        SlotCheck::start(Arc::new(before.clone()), stock.node.watches_slots());
    loop {
        effect = check.next(match effect {
            Effect::ReadSlot => Input::Slot(stock.slots.view(before.slot).await?),
            Effect::ReadRecalls => {
                let recalls = stock.node.store().pending_recalls().await?;
                Input::RecallsPending(recalls.iter().any(|recall| recall.grant == before.id))
            }
            Effect::ReadGrant => {
                Input::Grant(stock.node.store().grant(before.id).await?.map(Arc::new))
            }
            Effect::Finish(Finding::Healthy) => return Ok(None),
            Effect::Finish(Finding::Lost(cause)) => return Ok(Some(cause)),
            Effect::Finish(Finding::Full) => {
                return roll_epoch(stock, item, before).await.map(|()| None);
            }
        });
    }
}

/// Starts a new epoch for a slot whose memory is full: drains the slot, closes its grant, and
/// reconciles the item. Reconciliation gives the slot a new grant.
async fn roll_epoch(
    stock: &StockControl,
    item: &ItemState,
    grant: &Grant,
) -> Result<(), EngineError> {
    let locked = stock.lock_item(item).await;
    stock.slots.stop(grant.slot, true).await?;
    if stock.drain(std::slice::from_ref(&grant.slot), Instant::now() + DRAIN_MAX).await.is_ok()
        && stock.node.store().close_grant(grant.id, CloseCause::Rolled).await?
    {
        tracing::info!(
            slot = stock.node.catalogue().slot_name(grant.slot),
            event = "slot.full",
            "a slot's memory was full; the slot continues under a new epoch"
        );
    }
    // Reconciliation starts the stopped slot again only if this flag is set. If the reconciliation
    // below fails, the flag stays set, and the next check of all slots causes another
    // reconciliation.
    item.work.stopped_here.store(true, std::sync::atomic::Ordering::Release);
    locked.reconcile().await
}
