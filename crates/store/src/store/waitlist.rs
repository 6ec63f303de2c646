//! Waitlists: the buyers who wait for a returned unit of an item whose units are all held.
use doorbuster_core::limits::WAITLIST_ENTRIES_MAX;
use doorbuster_core::waitlist::{JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded};
use doorbuster_core::{
    BuyerId, GrantId, ItemId, Order, RequestKey, TicketId, TicketN, Token, WaitlistEntry,
};

use crate::contract::{WaitlistPosition, WaitlistServed};

use super::{Store, StoreResult};

/// Waitlists.
impl Store {
    /// Adds a buyer to an item's waitlist, for one unit. See [`doorbuster_core::waitlist::join`].
    ///
    /// After the commit, a call with the same key returns the same entry, or the order that the
    /// entry became. So the call may be repeated after any error.
    pub async fn join_waitlist(
        &self,
        item: ItemId,
        buyer: BuyerId,
        key: RequestKey,
    ) -> StoreResult<JoinOutcome> {
        // The id of a grant has 63 bits, and a token has 48.
        let (grant, token) =
            (GrantId(rand::random::<u64>() >> 1), Token(rand::random::<u64>() >> 16));
        self.join_waitlist_as(
            item,
            JoinRequest { buyer, key, grant, token, entries_max: WAITLIST_ENTRIES_MAX },
        )
        .await
    }

    pub(crate) async fn join_waitlist_as(
        &self,
        item: ItemId,
        joiner: JoinRequest,
    ) -> StoreResult<JoinOutcome> {
        match self {
            Self::Sqlite(s) => s.join_waitlist(item, joiner).await,
            Self::Postgres(s) => Box::pin(s.join_waitlist(item, joiner)).await,
        }
    }

    /// Ends an entry for its buyer. See [`doorbuster_core::waitlist::leave`].
    pub async fn leave_waitlist(&self, id: TicketId) -> StoreResult<LeaveOutcome> {
        match self {
            Self::Sqlite(s) => s.leave_waitlist(id).await,
            Self::Postgres(s) => Box::pin(s.leave_waitlist(id)).await,
        }
    }

    /// Serves the buyers who have waited longest: as many as the pool has units, and at most
    /// [`doorbuster_core::limits::WAITLIST_BATCH_MAX`]. See [`doorbuster_core::waitlist::serve`].
    /// Without a unit in the pool, or without a waiting buyer, it writes nothing and locks nothing.
    ///
    /// Its changes are published like those of any commit. If a lost answer left the outcome of an
    /// attempt unknown, the returned value may lack that attempt's changes.
    pub async fn serve_waitlist(&self, item: ItemId) -> StoreResult<WaitlistServed> {
        match self {
            Self::Sqlite(s) => s.serve_waitlist(item).await,
            Self::Postgres(s) => Box::pin(s.serve_waitlist(item)).await,
        }
    }

    /// Ends the entries that still wait after the sale has ended, at most
    /// [`doorbuster_core::limits::WAITLIST_BATCH_MAX`]. See
    /// [`doorbuster_core::waitlist::end_with_sale`]. If the sale has not ended, or no buyer waits,
    /// it writes nothing.
    ///
    /// Its changes are published like those of any commit. If a lost answer left the outcome of an
    /// attempt unknown, the returned value may lack that attempt's changes.
    pub async fn end_waitlist(&self, item: ItemId) -> StoreResult<WaitlistEnded> {
        match self {
            Self::Sqlite(s) => s.end_waitlist(item).await,
            Self::Postgres(s) => Box::pin(s.end_waitlist(item)).await,
        }
    }

    /// Returns the order that the buyer's last entry in the item's waitlist became, in its current
    /// state. Returns `None` if the buyer has no entry, or if the last entry still waits or became
    /// no order.
    pub async fn waitlist_order_of(
        &self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> StoreResult<Option<Order>> {
        match self {
            Self::Sqlite(s) => s.waitlist_order_of(item, buyer.clone()).await,
            Self::Postgres(s) => Box::pin(s.waitlist_order_of(item, buyer.clone())).await,
        }
    }

    /// Returns the entry of this id, waiting or ended.
    pub async fn waitlist_position(&self, id: TicketId) -> StoreResult<Option<WaitlistPosition>> {
        match self {
            Self::Sqlite(s) => s.waitlist_position(id).await,
            Self::Postgres(s) => Box::pin(s.waitlist_position(id)).await,
        }
    }

    /// Returns the entry with which a buyer waits for the item.
    pub async fn waitlist_position_of(
        &self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> StoreResult<Option<WaitlistPosition>> {
        match self {
            Self::Sqlite(s) => s.waitlist_position_of(item, buyer.clone()).await,
            Self::Postgres(s) => Box::pin(s.waitlist_position_of(item, buyer.clone())).await,
        }
    }

    /// Returns the waiting entries of an item after this number, in order.
    pub async fn waitlist(
        &self,
        item: ItemId,
        after: TicketN,
        limit: usize,
    ) -> StoreResult<Vec<WaitlistEntry>> {
        match self {
            Self::Sqlite(s) => s.waitlist(item, after, limit).await,
            Self::Postgres(s) => Box::pin(s.waitlist(item, after, limit)).await,
        }
    }
}
