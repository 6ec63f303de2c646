//! Takes units for a payment that arrives after its order ended. The units come first from the pool
//! and then from the slots, by recalls.
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::money::{Capture, CaptureOutcome};
use tokio::time::Instant;

use super::reconcile;
use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};
use crate::outages;

/// How long a late payment waits for units that may still return. After that, the payment gets
/// units from the pool. If the pool has too few units, the payment is refunded.
const RECALL_WAIT_MAX: Duration = Duration::from_secs(1);

impl Engine {
    /// Applies a captured payment; see [`doorbuster_core::money::capture`]. Never returns
    /// [`CaptureOutcome::UnitsMissing`].
    ///
    /// # Errors
    ///
    /// If a store or slot is unreachable. The caller may repeat the call.
    pub async fn capture(&self, payment: Capture) -> Result<CaptureOutcome, EngineError> {
        let first = self.store().capture(payment.clone(), false).await?;
        let CaptureOutcome::UnitsMissing { order, .. } = &first else { return Ok(first) };
        failpoint::pass(Failpoint::LateLacks);
        if self.catalogue().item_by_id(order.item).is_none() {
            self.refresh_catalogue().await?;
        }
        let catalogue = self.catalogue().clone();
        let Some(item) = catalogue.item_by_id(order.item) else {
            return Ok(self.store().capture(payment, true).await?);
        };
        let _guard = item.work.reconciling.lock().await;
        let captured = self.capture_with_recall(item, payment).await;
        failpoint::pass(Failpoint::LateCaptured);
        // If recalled units are not needed, reconciliation moves them back to the slots. It also
        // adds the order's units to the buyer's quota in the slot again.
        if let Err(error) = reconcile::reconcile_locked(self, item).await {
            outages::warn!(
                self.outages(),
                error,
                event = "payment.late_reconcile_failed",
                "failed to reconcile slots after a late payment; will retry"
            );
        }
        self.control().wake(item.row.id);
        captured
    }

    async fn capture_with_recall(
        &self,
        item: &ItemState,
        payment: Capture,
    ) -> Result<CaptureOutcome, EngineError> {
        let until = Instant::now() + RECALL_WAIT_MAX;
        loop {
            // `changed` begins to listen before the store is read. So it also notices units that a
            // commit returns after the read.
            let changed = item.gauge.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_last = Instant::now() >= until;
            let units = match self.store().capture(payment.clone(), is_last).await? {
                CaptureOutcome::UnitsMissing { units, .. } => units,
                captured => return Ok(captured),
            };
            let moved = match self.recall_to_pool(item, units).await {
                Ok(moved) => moved,
                Err(error) => {
                    // The payment does not wait for unreachable slots. It uses only the pool.
                    outages::warn!(
                        self.outages(),
                        error,
                        event = "payment.late_recall_failed",
                        "failed to recall units for a late payment; only the pool is used"
                    );
                    return Ok(self.store().capture(payment, true).await?);
                }
            };
            failpoint::pass(Failpoint::LateGathered);
            if moved == 0 {
                // Tickets in flight may have the missing units. Each ticket either becomes an order
                // or returns its units. Also, another node may still move recalled units to the
                // pool.
                drop(tokio::time::timeout_at(until, changed).await);
            }
        }
    }
}
