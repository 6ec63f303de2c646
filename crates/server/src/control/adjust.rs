//! Changes an item's total while the sale runs. Lowering takes what is free: from the pool first,
//! then recalled from the slots.
use std::time::Duration;

use doorbuster_core::{Grant, RecallId, RecallTarget};
use doorbuster_store::{AdjustOutcome, Adjustment, ItemCounts};
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};
use crate::failpoint::{self, Point};

use super::{gather, tend};

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
        let _alone = item.work.tending.lock().await;
        let outcome = self.adjust_locked(item, adjustment).await;
        // Whatever was recalled and not used goes back to the slots.
        tend::tend_locked(self, item).await?;
        self.control().wake(item.row.id);
        outcome
    }

    async fn adjust_locked(
        &self,
        item: &ItemState,
        adjustment: Adjustment,
    ) -> Result<Adjusted, EngineError> {
        let wanted = adjustment.units.unsigned_abs();
        let until = Instant::now() + PATIENCE;
        loop {
            // Enabled before the store is asked: a unit that comes back in the very same commit is
            // not missed.
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
            // Of the truth: this node may not have heard yet of units that came back elsewhere.
            let counts = self.store().counts(Some(vec![item.row.id])).await?;
            let free = counts.first().map_or(0, |counts| counts.pool + counts.in_slots);
            if wanted > free {
                return Ok(Adjusted::MoreThanFree { free });
            }
            let moved = self.recall(item, wanted.saturating_sub(pool)).await?;
            if is_last {
                // Tickets in flight are not free as long as this.
                let free = item.gauge.counts().pool + self.at_hand(item).await;
                return Ok(Adjusted::MoreThanFree { free: free.min(wanted.saturating_sub(1)) });
            }
            if moved == 0 {
                // What is missing is in tickets in flight, which will be orders or come back. After
                // the wait, once more.
                drop(tokio::time::timeout_at(until, changed).await);
            }
        }
    }

    /// Moves at most `units` from the item's slots to its pool; returns how many it moved. What
    /// only another node reaches is asked for: that node moves it.
    pub(crate) async fn recall(&self, item: &ItemState, units: u64) -> Result<u64, EngineError> {
        // Credits of returned tickets are on their way to the slots, and the caller holds the lock
        // of whoever would bring them.
        let grants = self.store().grants(item.row.id).await?;
        let mut sources = self.sources(item, grants).await?;
        sources.sort_by_key(|(grant, _, has)| (std::cmp::Reverse(*has), grant.slot));
        let pending = self.store().pending_recalls().await?;
        let (mut lacks, mut moved) = (units, 0);
        for (grant, is_here, has) in sources {
            let is_asked =
                pending.iter().any(|r| r.grant == grant.id && r.target == RecallTarget::Pool);
            if lacks == 0 || has == 0 || (is_asked && !is_here) {
                continue;
            }
            let id = RecallId(rand::random::<u64>() >> 1);
            let begun =
                self.store().begin_recall(id, grant.id, RecallTarget::Pool, lacks.min(has)).await?;
            let Some(recall) = begun else { continue };
            failpoint::pass(Point::RecallBegun);
            let taken = if is_here {
                gather::carry_out(self, &grant, &recall).await?.unwrap_or(0)
            } else {
                0
            };
            moved += taken;
            lacks -= taken.min(lacks);
        }
        Ok(moved)
    }

    /// The item's open grants, whether this node reaches their slots, and how many units may be
    /// there.
    async fn sources(
        &self,
        item: &ItemState,
        grants: Vec<Grant>,
    ) -> Result<Vec<(Grant, bool, u64)>, EngineError> {
        let mut sources = Vec::new();
        for grant in grants.into_iter().filter(|grant| grant.open) {
            let is_here = item.slots.contains(&grant.slot);
            let has = match is_here {
                true => tend::fed(self, &grant).await?,
                false => grant.unsettled(),
            };
            sources.push((grant, is_here, has));
        }
        Ok(sources)
    }
}
