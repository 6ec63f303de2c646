//! Applies captured payments. [`doorbuster_steps::late_payment`] has the sequence of the effects.
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::money::{Capture, CaptureOutcome};
use doorbuster_steps::late_payment::{Effect, Input, LatePayment};
use tokio::time::{Instant, timeout};

use super::Orders;
use crate::error::EngineError;
use crate::node::Node;
use crate::outage_log;
use crate::stock::{ItemLock, elapsed};

impl Orders {
    /// Applies a captured payment; see [`doorbuster_core::money::capture`]. If the payment's order
    /// has ended, the order needs new units from the pool. If the pool has too few units, recalls
    /// units from the slots. If the pool still has too few units, refunds the payment. The result
    /// is never [`CaptureOutcome::UnitsMissing`].
    ///
    /// # Errors
    ///
    /// If the store is unreachable. The caller may repeat the call.
    pub async fn capture(&self, payment: Capture) -> Result<CaptureOutcome, EngineError> {
        let first = self.node.store().capture(payment.clone(), false).await?;
        let CaptureOutcome::UnitsMissing { order, .. } = &first else { return Ok(first) };
        failpoint::reach(Failpoint::LateLacks);
        let Some(item) = self.catalogue_reader.find_item(order.item).await? else {
            return Ok(self.node.store().capture(payment, true).await?);
        };
        let locked = self.stock.lock_item(&item).await;
        let captured = capture_late(&self.node, &locked, payment).await;
        failpoint::reach(Failpoint::LateCaptured);
        // Reconciliation moves recalled units that the payment did not need back to the slots. If
        // the payment revived its order, the order counts against the buyer's quota again, and
        // reconciliation sends the slot the feed row for this change.
        if let Err(error) = locked.reconcile().await {
            outage_log::warn!(
                self.node.outage_log(),
                error,
                event = "payment.late_reconcile_failed",
                "failed to reconcile slots after a late payment; will retry"
            );
        }
        self.node.control().wake(item.row.id);
        captured
    }
}

async fn capture_late(
    node: &Node,
    locked: &ItemLock<'_>,
    payment: Capture,
) -> Result<CaptureOutcome, EngineError> {
    let began = Instant::now();
    let mut changed = locked.listen();
    let mut captured = CaptureOutcome::Repeated;
    let (mut steps, mut effect) = LatePayment::begin(elapsed(began));
    loop {
        let input = match effect {
            Effect::Capture { is_last } => {
                changed = locked.listen();
                captured = node.store().capture(payment.clone(), is_last).await?;
                Input::Captured(match &captured {
                    CaptureOutcome::UnitsMissing { units, .. } => Some(*units),
                    _ => None,
                })
            }
            Effect::Recall(units) => Input::Recalled(recall_late(node, locked, units).await),
            Effect::Wait(ms) => {
                drop(timeout(Duration::from_millis(ms), changed.as_mut()).await);
                Input::Waited
            }
            Effect::Finish => return Ok(captured),
        };
        effect = steps.next(input, elapsed(began));
    }
}

/// Moves units from the item's slots to its pool, for a payment that arrived after its order had
/// ended. Returns `None` if a slot or the store does not answer.
async fn recall_late(node: &Node, locked: &ItemLock<'_>, units: u64) -> Option<u64> {
    match locked.recall_to_pool(units).await {
        Ok(moved) => {
            failpoint::reach(Failpoint::LateGathered);
            Some(moved)
        }
        Err(error) => {
            outage_log::warn!(
                node.outage_log(),
                error,
                event = "payment.late_recall_failed",
                "failed to recall units for a late payment; if the pool has too few units, the \
                 server refunds the payment"
            );
            None
        }
    }
}
