//! Moves units from an item's slots to its pool. [`doorbuster_steps::pool_recall`] has the sequence
//! of the effects.
use std::pin::Pin;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::Millis;
use doorbuster_core::RecallTarget;
use doorbuster_slots::SlotError;
use doorbuster_steps::pool_recall::{Effect, Input, PoolRecall};
use futures_util::future::join_all;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::{StockControl, feed, recall};
use crate::catalogue::ItemState;
use crate::error::EngineError;

/// Moves at most `units` units from the item's slots to its pool. Returns the number of moved
/// units. If it moved no units and a slot did not answer, returns the slot's error. The caller must
/// have the item's lock. Without the lock, another task could at the same time move the returned
/// units back to slots.
pub(super) async fn recall_to_pool(
    stock: &StockControl,
    item: &ItemState,
    units: u64,
) -> Result<u64, EngineError> {
    let (mut steps, mut effect) = PoolRecall::begin(item.reached_slots(), units);
    let (store, slots) = (stock.node.store(), &stock.slots);
    let mut missed = None;
    loop {
        effect = steps.next(match effect {
            Effect::ReadGrants => Input::Grants(store.grants(item.row.id).await?),
            Effect::CountUnits(grants) => {
                let counted = grants.iter().map(|grant| feed::feed_and_count(store, slots, grant));
                let counted = join_all(counted).await.into_iter();
                Input::Units(
                    counted.map(|units| answer(units, &mut missed)).collect::<Result<_, _>>()?,
                )
            }
            Effect::ReadRecalls => Input::Recalls(store.pending_recalls().await?),
            Effect::BeginRecall { from, units } => {
                let (id, target) = (recall::new_id(), RecallTarget::Pool);
                let recall = store.begin_recall(id, from, target, units).await?;
                if recall.is_some() {
                    failpoint::reach(Failpoint::RecallBegun);
                }
                Input::RecallBegun(recall)
            }
            Effect::TakeUnits { from, recall } => {
                let taken = recall::take_units(slots, &from, &recall).await;
                Input::Taken(taken.map_err(|error| missed = Some(error)).ok())
            }
            Effect::FinishRecall { recall, units } => {
                Input::Moved(recall::finish_recall(&stock.node, recall, units).await?)
            }
            Effect::Finish(moved) => {
                return match (moved, missed) {
                    (None, Some(error)) => Err(error.into()),
                    (moved, _) => Ok(moved.unwrap_or(0)),
                };
            }
        });
    }
}

/// If the slot did not answer, stores its error in `missed`, and returns `Ok(None)`. Passes on all
/// other errors.
fn answer<T>(
    result: Result<T, EngineError>,
    missed: &mut Option<SlotError>,
) -> Result<Option<T>, EngineError> {
    match result {
        Err(EngineError::Slot(error)) => {
            *missed = Some(error);
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// See [`super::ItemLock::listen`].
pub(super) fn listen(item: &ItemState) -> Pin<Box<Notified<'_>>> {
    let mut changed = Box::pin(item.gauge.changed().notified());
    changed.as_mut().enable();
    changed
}

pub(crate) fn elapsed(started: Instant) -> Millis {
    Millis(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX))
}
