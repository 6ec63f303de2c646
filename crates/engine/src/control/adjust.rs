//! Changes an item's total while the sale runs. To lower the total, the server takes free units:
//! first from the pool, and then by recalls from the slots.
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::{Grant, Phase, RecallTarget};
use doorbuster_store::{AdjustOutcome, Adjustment, ItemCounts};
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

use super::{feed, recall, reconcile};

/// How long a change to a lower total waits for tickets in flight to be settled.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(1);

/// The result of a change of the total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdjustResult {
    /// This call changed the total.
    Done(ItemCounts),
    /// An earlier call with the same key changed the total. The counts are the current ones.
    Repeated(ItemCounts),
    /// The change takes more units than are free.
    MoreThanFree {
        /// The free units.
        free: u64,
    },
    /// The idempotency key was used for another change.
    KeyReused,
    /// The total would exceed its bound.
    TooMuch,
    /// The total of unlimited stock cannot be adjusted.
    Unlimited,
    /// The sale is closed, so its stock cannot change any more.
    Closed,
    /// The item does not exist.
    NotFound,
}

impl Engine {
    /// Raises or lowers an item's total.
    ///
    /// # Errors
    /// If a store or slot is unreachable. The caller may repeat the call with the same key.
    pub async fn adjust(&self, adjustment: Adjustment) -> Result<AdjustResult, EngineError> {
        let catalogue = self.catalogue().clone();
        let Some(item) = catalogue.item_by_id(adjustment.item) else {
            return Ok(AdjustResult::NotFound);
        };
        let sale = catalogue.sale(&item.sale);
        if sale.is_some_and(|sale| sale.row.phase == Phase::Closed) {
            return self.adjusted_before_close(&adjustment).await;
        }
        let _guard = item.work.reconciling.lock().await;
        let outcome = self.adjust_locked(item, adjustment).await;
        // Recalled units that are not needed go back to the slots.
        reconcile::reconcile_locked(self, item).await?;
        self.control().wake(item.row.id);
        outcome
    }

    /// Returns the result for an item of a closed sale. An earlier call with the same key may have
    /// changed the total.
    async fn adjusted_before_close(
        &self,
        adjustment: &Adjustment,
    ) -> Result<AdjustResult, EngineError> {
        match self.store().adjusted_units(adjustment.item, &adjustment.key).await? {
            None => Ok(AdjustResult::Closed),
            Some(units) if units != adjustment.units => Ok(AdjustResult::KeyReused),
            Some(_) => {
                let counts = self.store().counts(Some(vec![adjustment.item])).await?;
                Ok(counts.first().map_or(AdjustResult::NotFound, |c| AdjustResult::Repeated(*c)))
            }
        }
    }

    async fn adjust_locked(
        &self,
        item: &ItemState,
        adjustment: Adjustment,
    ) -> Result<AdjustResult, EngineError> {
        let wanted = adjustment.units.unsigned_abs();
        let until = Instant::now() + SETTLE_WAIT_MAX;
        loop {
            // `changed` begins to listen before the store is read. So it also notices units that a
            // commit returns after the read.
            let changed = item.gauge.changed().notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_last = Instant::now() >= until;
            let pool = match self.store().adjust(adjustment.clone()).await? {
                AdjustOutcome::Done(counts) => return Ok(AdjustResult::Done(counts)),
                AdjustOutcome::Repeated(counts) => return Ok(AdjustResult::Repeated(counts)),
                AdjustOutcome::NotInPool(pool) => pool,
                AdjustOutcome::KeyReused => return Ok(AdjustResult::KeyReused),
                AdjustOutcome::TooMuch => return Ok(AdjustResult::TooMuch),
                AdjustOutcome::Unlimited => return Ok(AdjustResult::Unlimited),
                AdjustOutcome::NotFound => return Ok(AdjustResult::NotFound),
            };
            // The counts come from the store, because this node may not know yet about units that
            // came back on other nodes.
            let counts = self.store().counts(Some(vec![item.row.id])).await?;
            let free = counts.first().map_or(0, |counts| counts.pool + counts.in_slots);
            if wanted > free {
                return Ok(AdjustResult::MoreThanFree { free });
            }
            let moved = self.recall_to_pool(item, wanted.saturating_sub(pool)).await?;
            if is_last {
                // Units of tickets that are still in flight after the wait do not count as free.
                let free = item.gauge.counts().pool + self.available_units(item).await;
                return Ok(AdjustResult::MoreThanFree { free: free.min(wanted.saturating_sub(1)) });
            }
            if moved == 0 {
                // Tickets in flight have the missing units. Each ticket either becomes an order or
                // returns its units. The loop tries once more after the wait.
                drop(tokio::time::timeout_at(until, changed).await);
            }
        }
    }

    /// Moves at most `units` from the item's slots to its pool, and returns the number of moved
    /// units. If only another node reaches a slot, this function begins a recall, and the other
    /// node moves the units.
    pub async fn recall_to_pool(&self, item: &ItemState, units: u64) -> Result<u64, EngineError> {
        // The slots may lack the credits of returned tickets. No other task can deliver these
        // credits now, because the caller has the item's lock. So `recall_sources` delivers them.
        let grants = self.store().grants(item.row.id).await?;
        let mut sources = self.recall_sources(item, grants).await?;
        sources.sort_by_key(|(grant, _, has)| (std::cmp::Reverse(*has), grant.slot));
        let pending = self.store().pending_recalls().await?;
        let (mut lacks, mut moved) = (units, 0);
        for (grant, is_here, has) in sources {
            let is_asked =
                pending.iter().any(|r| r.grant == grant.id && r.target == RecallTarget::Pool);
            if lacks == 0 || has == 0 || (is_asked && !is_here) {
                continue;
            }
            let (id, target) = (recall::new_id(), RecallTarget::Pool);
            let begun = self.store().begin_recall(id, grant.id, target, lacks.min(has)).await?;
            let Some(recall_to_pool) = begun else { continue };
            failpoint::pass(Failpoint::RecallBegun);
            let taken = if is_here {
                recall::carry_out_recall(self, &grant, &recall_to_pool).await?.unwrap_or(0)
            } else {
                0
            };
            moved += taken;
            lacks -= taken.min(lacks);
        }
        Ok(moved)
    }

    /// Returns the item's open grants. For each grant, the result says how many units its slot may
    /// have, and whether this node reaches the slot.
    async fn recall_sources(
        &self,
        item: &ItemState,
        grants: Vec<Grant>,
    ) -> Result<Vec<(Grant, bool, u64)>, EngineError> {
        let (mut sources, reached) = (Vec::new(), item.reached_slots());
        for grant in grants.into_iter().filter(|grant| grant.open) {
            let is_here = reached.contains(&grant.slot);
            let has = match is_here {
                true => feed::feed_and_count(self, &grant).await?,
                false => grant.unsettled(),
            };
            sources.push((grant, is_here, has));
        }
        Ok(sources)
    }
}
