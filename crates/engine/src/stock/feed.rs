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

/// Sends these slots their missing feed rows. Returns the slots with their new states, and the list
/// of slots that did not answer. If a slot did not answer, stores its error in `slot_error`.
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
        match read.await {
            Ok(view) => {
                slot.view = view.unwrap_or(slot.view);
                Ok(slot)
            }
            Err(error) => Err((slot.grant.id, error)),
        }
    });
    let (mut fed, mut missed) = (Vec::new(), Vec::new());
    for result in join_all(each).await {
        match result {
            Ok(slot) => fed.push(slot),
            Err((grant, EngineError::Slot(error))) => {
                missed.push(grant);
                *slot_error = Some(error);
            }
            Err((_, error)) => return Err(error),
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
