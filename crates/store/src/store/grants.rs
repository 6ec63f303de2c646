//! Grants, feeds and recalls, by which units move to the slots and back.
use doorbuster_core::{
    CloseCause, Counter, FeedRow, Grant, GrantId, ItemId, Recall, RecallId, RecallTarget, Seq,
    SlotKey,
};

use super::{Store, StoreResult};
use crate::contract::GrantTransfers;

/// Grants, feeds and recalls.
impl Store {
    /// Opens a grant (see [`doorbuster_core::stock::open`]). Returns `None` if the item does not
    /// exist or cannot be sold now.
    pub async fn open_grant(
        &self,
        slot: SlotKey,
        id: GrantId,
        units: u64,
    ) -> StoreResult<Option<Grant>> {
        match self {
            Self::Sqlite(s) => s.open_grant(slot, id, units).await,
            Self::Postgres(s) => Box::pin(s.open_grant(slot, id, units)).await,
        }
    }

    /// Records that the slot accepted the grant (see [`doorbuster_core::stock::acknowledge_init`]).
    pub async fn acknowledge_init(&self, id: GrantId) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.acknowledge_init(id).await,
            Self::Postgres(s) => Box::pin(s.acknowledge_init(id)).await,
        }
    }

    /// Moves units from the pool to a grant (see [`doorbuster_core::stock::refill`]). Returns their
    /// number.
    pub async fn refill(&self, id: GrantId, units: u64, counter: Counter) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.refill(id, units, counter).await,
            Self::Postgres(s) => Box::pin(s.refill(id, units, counter)).await,
        }
    }

    /// Closes a grant (see [`doorbuster_core::stock::close`]). Returns false if it was already
    /// closed or never existed.
    pub async fn close_grant(&self, id: GrantId, cause: CloseCause) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.close_grant(id, cause).await,
            Self::Postgres(s) => Box::pin(s.close_grant(id, cause)).await,
        }
    }

    /// Returns every open grant of every item, by slot.
    pub async fn open_grants(&self) -> StoreResult<Vec<Grant>> {
        match self {
            Self::Sqlite(s) => s.open_grants().await,
            Self::Postgres(s) => Box::pin(s.open_grants()).await,
        }
    }

    /// Returns the grant of this id.
    pub async fn grant(&self, id: GrantId) -> StoreResult<Option<Grant>> {
        match self {
            Self::Sqlite(s) => s.grant(id).await,
            Self::Postgres(s) => Box::pin(s.grant(id)).await,
        }
    }

    /// Returns every grant of an item's slots, open or closed, by slot, and newest first within a
    /// slot. The waitlist's grant is not included.
    pub async fn grants(&self, item: ItemId) -> StoreResult<Vec<Grant>> {
        match self {
            Self::Sqlite(s) => s.grants(item).await,
            Self::Postgres(s) => Box::pin(s.grants(item)).await,
        }
    }

    /// Returns the number of transfers under each grant of an item, open or closed.
    pub async fn grant_transfers(&self, item: ItemId) -> StoreResult<Vec<GrantTransfers>> {
        match self {
            Self::Sqlite(s) => s.grant_transfers(item).await,
            Self::Postgres(s) => Box::pin(s.grant_transfers(item)).await,
        }
    }

    /// Returns at most `limit` rows of a grant's feed after `seq`, in order.
    pub async fn feed_after(
        &self,
        id: GrantId,
        seq: Seq,
        limit: usize,
    ) -> StoreResult<Vec<FeedRow>> {
        match self {
            Self::Sqlite(s) => s.feed_after(id, seq, limit).await,
            Self::Postgres(s) => Box::pin(s.feed_after(id, seq, limit)).await,
        }
    }

    /// Begins a recall (see [`doorbuster_core::recall::begin`]). Returns `None` if there are no
    /// units to recall.
    pub async fn begin_recall(
        &self,
        id: RecallId,
        grant: GrantId,
        target: RecallTarget,
        units: u64,
    ) -> StoreResult<Option<Recall>> {
        match self {
            Self::Sqlite(s) => s.begin_recall(id, grant, target, units).await,
            Self::Postgres(s) => Box::pin(s.begin_recall(id, grant, target, units)).await,
        }
    }

    /// Finishes a recall (see [`doorbuster_core::recall::finish`]). Returns the number of units
    /// that this call moved.
    pub async fn finish_recall(&self, id: RecallId, taken: u64) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.finish_recall(id, taken).await,
            Self::Postgres(s) => Box::pin(s.finish_recall(id, taken)).await,
        }
    }

    /// Returns the recalls that are not finished, by id.
    pub async fn pending_recalls(&self) -> StoreResult<Vec<Recall>> {
        match self {
            Self::Sqlite(s) => s.pending_recalls().await,
            Self::Postgres(s) => Box::pin(s.pending_recalls()).await,
        }
    }

    /// Returns the grants that were closed because their slot failed.
    pub async fn repairs(&self) -> StoreResult<u64> {
        let closings = self.closings().await?;
        Ok(closings
            .into_iter()
            .filter(|(cause, _)| cause.is_fault())
            .map(|(_, grants)| grants)
            .sum())
    }

    /// Returns how many grants of slots were closed, by cause. Causes without a closed grant are
    /// left out.
    pub async fn closings(&self) -> StoreResult<Vec<(CloseCause, u64)>> {
        match self {
            Self::Sqlite(s) => s.closings().await,
            Self::Postgres(s) => Box::pin(s.closings()).await,
        }
    }
}
