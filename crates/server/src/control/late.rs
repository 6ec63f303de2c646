//! A payment that comes after its order ended takes its units from the pool; what the pool lacks is
//! recalled from the slots, as a lowering does.
use std::time::Duration;

use doorbuster_core::money::{Capture, CaptureOutcome};
use tokio::time::Instant;

use super::tend;
use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};
use crate::failpoint::{self, Point};

/// How long a late payment waits for units on their way; then it is paid with what the pool has, or
/// refunded.
const PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// Takes a captured payment; see [`doorbuster_core::money::capture`]. Never answers
    /// [`CaptureOutcome::UnitsMissing`].
    ///
    /// # Errors When a store or slot is away; the message may be taken again.
    pub async fn capture(&self, told: Capture) -> Result<CaptureOutcome, EngineError> {
        let first = self.store().capture(told.clone(), false).await?;
        let CaptureOutcome::UnitsMissing { order, .. } = &first else { return Ok(first) };
        failpoint::pass(Point::LateLacks);
        if self.catalogue().item_of(order.item).is_none() {
            self.catch_up().await?;
        }
        let catalogue = self.catalogue().clone();
        let Some(item) = catalogue.item_of(order.item) else {
            return Ok(self.store().capture(told, true).await?);
        };
        let _alone = item.work.tending.lock().await;
        let captured = self.capture_gathering(item, told).await;
        failpoint::pass(Point::LateCaptured);
        // Whatever was recalled and not used goes back to the slots, and a slot learns of the limit
        // that is used again.
        if let Err(error) = tend::tend_locked(self, item).await {
            tracing::warn!(%error, "what a late payment left is brought to the slots later");
        }
        self.control().wake(item.row.id);
        captured
    }

    async fn capture_gathering(
        &self,
        item: &ItemState,
        told: Capture,
    ) -> Result<CaptureOutcome, EngineError> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Enabled before the store is asked: a unit that comes back in the very same commit is
            // not missed.
            let changed = item.gauge.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_last = Instant::now() >= until;
            let units = match self.store().capture(told.clone(), is_last).await? {
                CaptureOutcome::UnitsMissing { units, .. } => units,
                captured => return Ok(captured),
            };
            let moved = match self.recall(item, units).await {
                Ok(moved) => moved,
                Err(error) => {
                    // Slots that are away do not keep money waiting: the pool decides.
                    tracing::warn!(%error, "units for a late payment could not be recalled");
                    return Ok(self.store().capture(told, true).await?);
                }
            };
            failpoint::pass(Point::LateGathered);
            if moved == 0 {
                // What is missing is in tickets in flight, which will be orders or come back, or
                // another node brings it.
                drop(tokio::time::timeout_at(until, changed).await);
            }
        }
    }
}
