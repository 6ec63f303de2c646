//! Sends slots the feed rows that they have not applied yet. [`doorbuster_steps::feed`] has the
//! sequence of the effects.
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Grant, Seq};
use doorbuster_slots::{SlotError, Slots};
use doorbuster_steps::feed::{Effect, Input, ROWS_MAX, SlotFeed};
use doorbuster_steps::slot_reconciliation::{self, OpenSlot};
use doorbuster_store::Store;
use futures_util::future::join_all;

use crate::error::EngineError;

/// Sends these slots their missing feed rows. Returns the slots with their new states, and which
/// slots did not answer. Stores the error of such a slot in `slot_error`.
pub(super) async fn feed_slots(
    store: &Store,
    slots: &Slots,
    open_slots: Vec<OpenSlot>,
    slot_error: &mut Option<SlotError>,
) -> Result<slot_reconciliation::Input, EngineError> {
    let each = open_slots.into_iter().map(async |mut slot| {
        let read = async {
            feed(store, slots, &slot.grant, slot.view.applied).await?;
            view_of(slots, &slot.grant).await
        };
        let view = read.await;
        slot.view = view.as_ref().ok().cloned().flatten().unwrap_or(slot.view);
        (slot, view.err())
    });
    let (mut fed, mut missed) = (Vec::new(), Vec::new());
    for (slot, error) in join_all(each).await {
        match error {
            None => fed.push(slot),
            Some(EngineError::Slot(error)) => {
                missed.push(slot.grant.id);
                *slot_error = Some(error);
            }
            Some(error) => return Err(error),
        }
    }
    Ok(slot_reconciliation::Input::Fed { fed, missed })
}

/// Sends a slot its missing feed rows. Then returns for how many units the slot can issue tickets.
/// Returns 0 if the slot does not have this grant.
pub(super) async fn feed_and_count(
    store: &Store,
    slots: &Slots,
    grant: &Grant,
) -> Result<u64, EngineError> {
    let Some(view) = view_of(slots, grant).await? else { return Ok(0) };
    feed(store, slots, grant, view.applied).await?;
    Ok(view_of(slots, grant).await?.map_or(0, |view| view.available))
}

/// Returns the state of the grant's slot, or `None` if the slot does not have this grant.
async fn view_of(slots: &Slots, grant: &Grant) -> Result<Option<SlotView>, EngineError> {
    Ok(slots.view(grant.slot).await?.filter(|view| view.grant == grant.id))
}

async fn feed(
    store: &Store,
    slots: &Slots,
    grant: &Grant,
    applied: Seq,
) -> Result<(), EngineError> {
    let (mut feed, mut effect) = SlotFeed::begin(applied);
    loop {
        effect = feed.next(match effect {
            Effect::ReadRows(after) => {
                Input::Rows(store.feed_after(grant.id, after, ROWS_MAX).await?)
            }
            Effect::Apply(rows) => {
                Input::Applied(slots.apply(grant.slot, grant.epoch, &rows).await?)
            }
            Effect::Finish => return Ok(()),
        });
    }
}
