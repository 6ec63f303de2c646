//! Lines of items that are held out: who waits for a unit that comes back.
use doorbuster_core::limits::WAITLIST_ENTRIES_MAX;
use doorbuster_core::waitlist::{JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded};
use doorbuster_core::{BuyerId, GrantId, ItemId, Order, RequestKey, TicketId, Token};

use crate::contract::{WaitlistPosition, WaitlistServed};

use super::{Store, StoreResult};

/// Lines.
impl Store {
    /// Puts a buyer in an item's line, for one unit. See [`doorbuster_core::line::join`].
    ///
    /// Once it committed, asking again with the same key gives the same place, or the order that it
    /// became; so it may be asked again whatever the error.
    pub async fn join_waitlist(
        &self,
        item: ItemId,
        buyer: BuyerId,
        key: RequestKey,
    ) -> StoreResult<JoinOutcome> {
        // Ids of grants have 63 bits, tokens 48.
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

    /// Gives a place up. See [`doorbuster_core::line::leave`].
    pub async fn leave_waitlist(&self, id: TicketId) -> StoreResult<LeaveOutcome> {
        match self {
            Self::Sqlite(s) => s.leave_waitlist(id).await,
            Self::Postgres(s) => Box::pin(s.leave_waitlist(id)).await,
        }
    }

    /// Serves those who have waited longest, as many as the pool has units for and at most
    /// [`doorbuster_core::limits::WAITLIST_BATCH_MAX`] ([`doorbuster_core::line::serve`]). Without
    /// a unit in the pool, or anybody in line, it writes nothing and locks nothing.
    ///
    /// Whatever it did is told like any commit, also what a lost answer left unknown; then the
    /// answer may lack it.
    pub async fn serve_waitlist(&self, item: ItemId) -> StoreResult<WaitlistServed> {
        match self {
            Self::Sqlite(s) => s.serve_waitlist(item).await,
            Self::Postgres(s) => Box::pin(s.serve_waitlist(item)).await,
        }
    }

    /// Ends the places of those who still stand in line though the sale has ended, at most
    /// [`doorbuster_core::limits::WAITLIST_BATCH_MAX`] ([`doorbuster_core::line::end_with_sale`]).
    /// Where the sale has not ended, or nobody is left, it writes nothing.
    ///
    /// Whatever it did is told like any commit, also what a lost answer left unknown; then the
    /// answer may lack it.
    pub async fn end_waitlist(&self, item: ItemId) -> StoreResult<WaitlistEnded> {
        match self {
            Self::Sqlite(s) => s.end_waitlist(item).await,
            Self::Postgres(s) => Box::pin(s.end_waitlist(item)).await,
        }
    }

    /// The order that the buyer's last place in the item's line became, as it is now. `None`: there
    /// was no place, or the last one became nothing, or waits.
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

    /// The place of this id, waiting or ended.
    pub async fn waitlist_position(&self, id: TicketId) -> StoreResult<Option<WaitlistPosition>> {
        match self {
            Self::Sqlite(s) => s.waitlist_position(id).await,
            Self::Postgres(s) => Box::pin(s.waitlist_position(id)).await,
        }
    }

    /// The place in which a buyer waits for the item.
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
}
