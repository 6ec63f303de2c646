//! Changes an item's total while the sale runs. [`doorbuster_steps::total_change`] has the sequence
//! of the effects.
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_steps::total_change::{Effect, Input, TotalChange};
use doorbuster_store::{AdjustOutcome, Adjustment};
use tokio::time::{Instant, timeout};

use super::StockControl;
use super::pool_recall::{elapsed, listen, recall_to_pool};
use crate::catalogue::ItemState;
use crate::error::EngineError;
use crate::node::Node;

impl StockControl {
    /// Raises or lowers an item's total. If the adjustment would remove more units than are free,
    /// returns [`AdjustOutcome::NotInPool`] with the number of free units in the pool and slots.
    ///
    /// # Errors
    /// If the store or a slot is unreachable. The caller may repeat the call with the same key.
    pub async fn adjust(&self, adjustment: Adjustment) -> Result<AdjustOutcome, EngineError> {
        let catalogue = self.node.catalogue().clone();
        let Some(item) = catalogue.item_by_id(adjustment.item) else {
            return Ok(AdjustOutcome::NotFound);
        };
        let sale = catalogue.sale(&item.sale);
        if sale.is_some_and(|sale| sale.row.phase == Phase::Closed) {
            return adjusted_before_close(&self.node, &adjustment).await;
        }
        let locked = self.lock_item(item).await;
        let outcome = self.adjust_locked(item, adjustment).await;
        // Recalled units that were not needed go back to the slots.
        locked.reconcile().await?;
        self.node.control().wake(item.row.id);
        outcome
    }

    async fn adjust_locked(
        &self,
        item: &ItemState,
        adjustment: Adjustment,
    ) -> Result<AdjustOutcome, EngineError> {
        let started = Instant::now();
        let (mut changed, mut decided) = (listen(item), AdjustOutcome::NotFound);
        let (mut steps, mut effect) =
            TotalChange::begin(adjustment.units.unsigned_abs(), elapsed(started));
        loop {
            let input = match effect {
                Effect::Adjust => {
                    changed = listen(item);
                    match self.node.store().adjust(adjustment.clone()).await? {
                        AdjustOutcome::NotInPool(pool) => Input::Adjusted(Some(pool)),
                        outcome => {
                            decided = outcome;
                            Input::Adjusted(None)
                        }
                    }
                }
                Effect::ReadFree => {
                    let counts = self.node.store().counts(Some(vec![item.row.id])).await?;
                    Input::Free(counts.first().map_or(0, |counts| counts.pool + counts.in_slots))
                }
                Effect::Recall(units) => Input::Recalled(recall_to_pool(self, item, units).await?),
                Effect::Wait(ms) => {
                    drop(timeout(Duration::from_millis(ms), changed.as_mut()).await);
                    Input::Waited
                }
                Effect::CountFree => {
                    Input::Free(item.gauge.counts().pool + self.available_units(item).await)
                }
                Effect::Finish => return Ok(decided),
                Effect::Refuse(free) => return Ok(AdjustOutcome::NotInPool(free)),
            };
            effect = steps.next(input, elapsed(started));
        }
    }
}

/// Returns the result for an item of a closed sale. The item's total can no longer change. But if a
/// call with the same key changed the total before the close, returns the result of that earlier
/// call.
async fn adjusted_before_close(
    node: &Node,
    adjustment: &Adjustment,
) -> Result<AdjustOutcome, EngineError> {
    match node.store().adjustment(adjustment.item, &adjustment.key).await? {
        None => Ok(AdjustOutcome::Closed),
        Some((units, reason)) if (units, &reason) != (adjustment.units, &adjustment.reason) => {
            Ok(AdjustOutcome::KeyReused)
        }
        Some(_) => {
            let counts = node.store().counts(Some(vec![adjustment.item])).await?;
            Ok(counts.first().map_or(AdjustOutcome::NotFound, |c| AdjustOutcome::Repeated(*c)))
        }
    }
}
