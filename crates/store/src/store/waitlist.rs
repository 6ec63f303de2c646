//! Waitlists: the buyers who wait for a returned unit of an item whose units are all held or paid.
//!
//! In PostgreSQL, every transaction locks in this order: the sale, the waitlist, the quotas of the
//! first waiting buyers, the item.
use doorbuster_core::limits::{WAITLIST_BATCH_MAX, WAITLIST_ENTRIES_MAX};
use doorbuster_core::waitlist::{JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded};
use doorbuster_core::{
    BuyerId, GrantId, ItemId, Order, RequestKey, SlotKey, TicketId, TicketN, Token, WaitlistEntry,
    waitlist,
};

use crate::contract::{Page, WaitlistPosition, WaitlistServed};
use crate::failure::Done;
use crate::limits::PAGE_ROWS_MAX;
use crate::rows;
use crate::rows::waitlist::{entry, entry_columns};
use crate::sql::{Row, Statement, as_limit, statement, to_i64, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

/// Selects an entry, followed by the number of waiting entries ahead of it.
macro_rules! positions {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            entry_columns!(),
            ", CASE w.state WHEN 'waiting' THEN
                 (SELECT count(*) FROM waitlist b WHERE b.item_id = w.item_id
                  AND b.state = 'waiting' AND b.n < w.n)
               ELSE 0 END FROM waitlist w WHERE ",
            $condition
        )
    };
}
const POSITION: Statement = statement(positions!("w.id = $1"));
const POSITION_OF: Statement =
    statement(positions!("w.item_id = $1 AND w.buyer = $2 AND w.state = 'waiting'"));
const WAITING_AFTER: Statement = statement(concat!(
    "SELECT ",
    entry_columns!(),
    " FROM waitlist w WHERE w.item_id = $1 AND w.state = 'waiting' AND w.n > $2 ORDER BY w.n
      LIMIT $3"
));
/// The `+` keeps the planners from using the index on the grant. With this index, they would read
/// all orders of the grant.
const ORDER_OF_LAST_ENTRY: Statement = statement(concat!(
    "SELECT ",
    rows::order_columns!(),
    " FROM orders o WHERE o.buyer = $2
      AND +o.grant_id = (SELECT g.id FROM slot_grant g WHERE g.item_id = $1 AND g.slot = $3)
      AND NOT EXISTS (SELECT 1 FROM waitlist w WHERE w.item_id = $1 AND w.n > o.n
                      AND w.buyer = $2)
      ORDER BY o.n DESC LIMIT 1"
));
/// Selects the entries of blocked buyers among the first waiting entries. These buyers joined at a
/// node that did not know their block yet.
const BLOCKED: Statement = statement(
    "SELECT w.id FROM (SELECT id, buyer, n FROM waitlist WHERE item_id = $1 AND state = 'waiting'
                       ORDER BY n LIMIT $3) w
     JOIN block b ON b.kind = 'buyer' AND b.value = w.buyer
     WHERE b.until IS NULL OR b.until > $2 ORDER BY w.n",
);
const KEPT: Statement =
    statement("SELECT CASE WHEN pool < waiting THEN pool ELSE waiting END FROM item WHERE id = $1");
const WAITING: Statement = statement("SELECT waiting FROM item WHERE id = $1");

fn position(row: Row<'_>) -> Done<WaitlistPosition> {
    Ok(WaitlistPosition { entry: entry(row)?, ahead: row.number(8)? })
}

fn serve(tx: &mut Transaction<'_, '_>, item: ItemId) -> Done<WaitlistServed> {
    let kept = tx.one(KEPT, &values![item], |row| row.number(0))?.unwrap_or(0);
    let at_most = usize::try_from(kept).unwrap_or(usize::MAX).min(WAITLIST_BATCH_MAX);
    if at_most == 0 {
        return Ok(WaitlistServed::default());
    }
    if let Transaction::Postgres(ledger) = tx {
        ledger.lock_waitlist(item, at_most)?;
    }
    let now = tx.now();
    waitlist::serve(tx.ledger(), item, at_most, now)
}

fn end_with_sale(tx: &mut Transaction<'_, '_>, item: ItemId) -> Done<WaitlistEnded> {
    if tx.one(WAITING, &values![item], |row| row.number(0))?.unwrap_or(0) == 0 {
        return Ok(WaitlistEnded::default());
    }
    let now = tx.now();
    waitlist::end_with_sale(tx.ledger(), item, WAITLIST_BATCH_MAX, now)
}

impl Store {
    /// Adds a buyer to an item's waitlist, for one unit ([`doorbuster_core::waitlist::join`]).
    ///
    /// A later call with the same key returns the same entry, or the order that the entry became.
    /// So the call may be repeated after any error.
    pub async fn join_waitlist(
        &self,
        item: ItemId,
        buyer: BuyerId,
        key: RequestKey,
    ) -> StoreResult<JoinOutcome> {
        // The shifts give the random numbers their sizes: 63 bits for the id of a grant, and 48
        // bits for a token.
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
        let id_key = self.id_key();
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            waitlist::join(tx.ledger(), &id_key, item, &joiner, now)
        })
        .await
    }

    /// Removes a buyer from a waitlist: ends the entry with this id
    /// ([`doorbuster_core::waitlist::leave`]).
    pub async fn leave_waitlist(&self, id: TicketId) -> StoreResult<LeaveOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            waitlist::leave(tx.ledger(), &id, now)
        })
        .await
    }

    /// First ends the entries of blocked buyers. Then serves the buyers who have waited longest
    /// ([`doorbuster_core::waitlist::serve`]). Serves as many buyers as the pool has units, but at
    /// most [`doorbuster_core::limits::WAITLIST_BATCH_MAX`]. If the pool has no unit, or no buyer
    /// waits, this second step writes nothing and locks nothing.
    ///
    /// The changes are published like the changes of any commit. If the answer to COMMIT is lost,
    /// the call runs the transaction again. The returned value may then lack the changes of the
    /// first run.
    pub async fn serve_waitlist(&self, item: ItemId) -> StoreResult<WaitlistServed> {
        loop {
            let first = values![item, self.now(), as_limit(WAITLIST_BATCH_MAX)];
            let id = |row: Row<'_>| row.parse(0, "id", TicketId::parse);
            let blocked = self.all(BLOCKED, first, id).await?;
            if blocked.is_empty() {
                break;
            }
            for id in blocked {
                self.leave_waitlist(id).await?;
            }
        }
        self.job(RetryUnknown::Allowed, move |tx| serve(tx, item)).await
    }

    /// After the sale has ended, ends entries that still wait, at most
    /// [`doorbuster_core::limits::WAITLIST_BATCH_MAX`]
    /// ([`doorbuster_core::waitlist::end_with_sale`]). If the sale has not ended, or no buyer
    /// waits, the call writes nothing.
    ///
    /// As in [`Store::serve_waitlist`], the returned value may lack the changes of an earlier run.
    pub async fn end_waitlist(&self, item: ItemId) -> StoreResult<WaitlistEnded> {
        self.job(RetryUnknown::Allowed, move |tx| end_with_sale(tx, item)).await
    }

    /// Returns the current state of the order that the buyer's last entry in the item's waitlist
    /// became. Returns `None` if there is no entry, or if the last entry still waits or ended
    /// without an order.
    pub async fn waitlist_order_of(
        &self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> StoreResult<Option<Order>> {
        let values = values![item, buyer.as_str().to_owned(), SlotKey::WAITLIST];
        self.one(ORDER_OF_LAST_ENTRY, values, rows::order).await
    }

    /// Returns the entry with this id, waiting or ended.
    pub async fn waitlist_position(&self, id: TicketId) -> StoreResult<Option<WaitlistPosition>> {
        self.one(POSITION, values![id], position).await
    }

    /// Returns the entry with which a buyer waits for the item, or `None` if the buyer does not
    /// wait.
    pub async fn waitlist_position_of(
        &self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> StoreResult<Option<WaitlistPosition>> {
        let values = values![item, buyer.as_str().to_owned()];
        self.one(POSITION_OF, values, position).await
    }

    /// Returns a page of an item's waiting entries with numbers above `after`, sorted by number.
    pub async fn waitlist(
        &self,
        item: ItemId,
        after: TicketN,
        limit: usize,
    ) -> StoreResult<Page<WaitlistEntry>> {
        let limit = limit.min(PAGE_ROWS_MAX);
        let values = values![item, after, as_limit(limit + 1)];
        let rows = self.all(WAITING_AFTER, values, entry).await?;
        Ok(Page::of(rows, limit, |entry| to_i64(entry.n.0)))
    }
}
