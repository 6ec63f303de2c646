//! Changes an item's total while the sale runs. Lowering takes what is free: from the pool first, then recalled from the slot.
use std::time::Duration;

use doorbuster_core::slot::Recalled;
use doorbuster_core::{GrantId, Recall, RecallId, RecallTarget};
use doorbuster_store::{AdjustOutcome, Adjustment, ItemCounts};
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

use super::tend;

/// How long a lowering waits for tickets in flight to settle.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a change of the total came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjusted {
    /// Done by this call.
    Done(ItemCounts),
    /// Done by an earlier call with the same key; the counts as they are now.
    Repeated(ItemCounts),
    /// More than is free now.
    MoreThanFree {
        /// What is.
        free: u64,
    },
    /// The idempotency key was used for another change.
    KeyReused,
    /// The total would pass the bound.
    TooMuch,
    /// Unlimited stock cannot be adjusted.
    Unlimited,
    /// No such item.
    NotFound,
}

impl Engine {
    /// Raises or lowers an item's total.
    ///
    /// # Errors
    /// When a store or slot is away; the same key may be sent again.
    pub async fn adjust(&self, adjustment: Adjustment) -> Result<Adjusted, EngineError> {
        let catalogue = self.catalogue().clone();
        let Some(item) = catalogue.item_of(adjustment.item) else { return Ok(Adjusted::NotFound) };
        let _alone = item.tending.lock().await;
        let outcome = self.adjust_locked(item, adjustment).await;
        // Whatever was recalled and not used goes back to the slot.
        tend::tend_locked(self, item).await?;
        self.control().wake(item.row.id);
        outcome
    }

    async fn adjust_locked(&self, item: &ItemState, adjustment: Adjustment) -> Result<Adjusted, EngineError> {
        let wanted = adjustment.units.unsigned_abs();
        let until = Instant::now() + PATIENCE;
        loop {
            // Enabled before the store is asked: a unit that comes back in the very same commit is not missed.
            let changed = item.gauge.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_last = Instant::now() >= until;
            let pool = match self.store().adjust(adjustment.clone()).await? {
                AdjustOutcome::Done(counts) => return Ok(Adjusted::Done(counts)),
                AdjustOutcome::Repeated(counts) => return Ok(Adjusted::Repeated(counts)),
                AdjustOutcome::NotInPool(pool) => pool,
                AdjustOutcome::KeyReused => return Ok(Adjusted::KeyReused),
                AdjustOutcome::TooMuch => return Ok(Adjusted::TooMuch),
                AdjustOutcome::Unlimited => return Ok(Adjusted::Unlimited),
                AdjustOutcome::NotFound => return Ok(Adjusted::NotFound),
            };
            let counts = item.gauge.counts();
            let free = counts.pool + counts.in_slots;
            if wanted > free {
                return Ok(Adjusted::MoreThanFree { free });
            }
            let moved = self.recall(item, wanted.saturating_sub(pool)).await?;
            if is_last {
                // Tickets in flight are not free as long as this.
                let here = self.slots().view(item.slot).await?.map_or(0, |v| v.available);
                let free = item.gauge.counts().pool + here;
                return Ok(Adjusted::MoreThanFree { free: free.min(wanted.saturating_sub(1)) });
            }
            if moved == 0 {
                // What is missing is in tickets in flight, which will be orders or come back. After the wait, once more.
                drop(tokio::time::timeout_at(until, changed).await);
            }
        }
    }

    /// Moves at most `units` from the item's slot to its pool; returns how many it moved.
    async fn recall(&self, item: &ItemState, units: u64) -> Result<u64, EngineError> {
        let open = self.store().open_grants().await?;
        let Some(grant) = open.into_iter().find(|g| g.slot == item.slot) else { return Ok(0) };
        // Credits of returned tickets are on their way to the slot, and the caller holds the lock of whoever would bring them.
        if let Some(view) = self.slots().view(item.slot).await? {
            tend::feed(self, item, &grant, view.applied).await?;
        }
        let id = RecallId(rand::random::<u64>() >> 1);
        let begun = self.store().begin_recall(id, grant.id, RecallTarget::Pool, units).await?;
        let Some(recall) = begun else { return Ok(0) };
        self.carry_out(item, &recall, grant.id).await
    }

    /// Asks the slot and finishes a recall. A refusal finishes nothing: closing the grant will.
    async fn carry_out(&self, item: &ItemState, recall: &Recall, grant: GrantId) -> Result<u64, EngineError> {
        let Some(from) = self.store().grant(grant).await? else { return Ok(0) };
        match self.slots().recall(item.slot, recall.id, grant, from.epoch, recall.asked).await? {
            Recalled::Taken(taken) => {
                self.meter().recall();
                Ok(self.store().finish_recall(recall.id, taken).await?)
            }
            Recalled::Refused => Ok(0),
        }
    }
}
