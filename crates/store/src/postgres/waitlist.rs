//! Waitlist entries of items: the rows that the rules read, and the store's methods.
//!
//! An entry changes only while its waitlist's grant is locked. So a read after that lock is cached,
//! and an earlier read is not. Serving locks the sale, the waitlist, the quotas of all buyers that
//! it may serve, and then the item. Every transaction locks in this order.
use tokio_postgres::Row;

use doorbuster_core::event::Actor;
use doorbuster_core::limits::WAITLIST_BATCH_MAX;
use doorbuster_core::waitlist::{self, JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded};
use doorbuster_core::{
    BuyerId, Grant, GrantId, ItemId, Ledger, Millis, Order, RequestKey, SlotKey, TicketId, TicketN,
    WaitlistEntry, WaitlistState,
};

use crate::contract::{WaitlistPosition, WaitlistServed};
use crate::events::actor_text;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::prefetch::QUOTAS;
use super::read::as_limit;
use super::row_cache::CachedQuota;
use super::rows::{self, int, parse_text};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

macro_rules! entry_columns {
    () => {
        "w.item_id, w.n, w.id, w.buyer, w.request_key, w.state, w.joined_at, w.ended_at"
    };
}
pub(super) use entry_columns;

/// Selects the entry's columns, followed by `ahead`.
macro_rules! select_position {
    () => {
        concat!(
            "SELECT ",
            entry_columns!(),
            ", CASE w.state WHEN 'waiting' THEN
                 (SELECT count(*) FROM waitlist b WHERE b.item_id = w.item_id
                 AND b.state = 'waiting' AND b.n < w.n)
               ELSE 0 END FROM waitlist w"
        )
    };
}

pub(super) fn row(row: &Row) -> Done<WaitlistEntry> {
    Ok(WaitlistEntry {
        item: ItemId(row.try_get(0)?),
        n: TicketN(rows::number(row, 1)?),
        id: rows::ticket(row, 2)?,
        buyer: parse_text(row, 3, "buyer", BuyerId::new)?,
        key: parse_text(row, 4, "request key", RequestKey::new)?,
        state: parse_text(row, 5, "state", WaitlistState::parse)?,
        joined_at: Millis(row.try_get(6)?),
        ended_at: rows::time(row, 7)?,
    })
}

pub(super) fn in_slots(ledger: &PostgresLedger<'_>, item: ItemId) -> Done<u64> {
    const SQL: &str =
        concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE item_id = $1 AND open");
    let mut units: u64 = 0;
    for grant in ledger.all(SQL, &[&item.0], rows::grant)? {
        units += if ledger.cache.grants.contains_key(&grant.id) { 0 } else { grant.unsettled() };
    }
    let cache = ledger.cache.grants.values().map(|kept| &kept.row);
    Ok(units + cache.filter(|g| g.open && g.slot.item == item).map(Grant::unsettled).sum::<u64>())
}

/// Returns whether the sale has ended. An ended sale stays ended, so no lock is needed.
pub(super) fn has_ended(ledger: &PostgresLedger<'_>, item: ItemId) -> Done<bool> {
    let sql =
        "SELECT s.phase = 'closed' FROM item i JOIN sale s ON s.id = i.sale_id WHERE i.id = $1";
    Ok(ledger.one(sql, &[&item.0], |row| Ok(row.try_get(0)?))?.unwrap_or(false))
}

fn is_locked(ledger: &PostgresLedger<'_>, item: ItemId) -> bool {
    ledger.cache.grants.values().any(|kept| kept.row.slot == SlotKey::waitlist(item))
}

/// If two transactions create an item's waitlist at once, the insertion of the second one fails,
/// and that transaction runs again.
pub(super) fn waitlist(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<Option<Grant>> {
    if let Some(kept) =
        ledger.cache.grants.values().find(|kept| kept.row.slot == SlotKey::waitlist(item))
    {
        return Ok(Some(kept.row.clone()));
    }
    const SQL: &str = concat!(
        "SELECT ",
        rows::grant_columns!(),
        " FROM slot_grant WHERE item_id = $1 AND slot = $2 FOR NO KEY UPDATE"
    );
    let found = ledger.one(SQL, &[&item.0, &i64::from(SlotKey::WAITLIST)], rows::grant)?;
    Ok(found.map(|row| ledger.cache.cache_grant(row)))
}

fn cache_if_locked(ledger: &mut PostgresLedger<'_>, entry: WaitlistEntry) -> WaitlistEntry {
    match is_locked(ledger, entry.item) {
        true => ledger.cache.cache_waitlist_entry(entry),
        false => entry,
    }
}

pub(super) fn waitlist_entry(
    ledger: &mut PostgresLedger<'_>,
    id: &TicketId,
) -> Done<Option<WaitlistEntry>> {
    if let Some(kept) = ledger.cache.waitlist.values().find(|kept| kept.row.id == *id) {
        return Ok(Some(kept.row.clone()));
    }
    const SQL: &str = concat!("SELECT ", entry_columns!(), " FROM waitlist w WHERE w.id = $1");
    let found = ledger.one(SQL, &[&id.text().as_str()], row)?;
    Ok(found.map(|entry| cache_if_locked(ledger, entry)))
}

pub(super) fn waitlist_entry_of(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    buyer: &BuyerId,
) -> Done<Option<WaitlistEntry>> {
    const SQL: &str = concat!(
        "SELECT ",
        entry_columns!(),
        " FROM waitlist w WHERE w.item_id = $1 AND w.buyer = $2 AND w.state = 'waiting'"
    );
    let waits = |entry: &WaitlistEntry| {
        entry.item == item && entry.buyer == *buyer && entry.state == WaitlistState::Waiting
    };
    if let Some(kept) = ledger.cache.waitlist.values().find(|kept| waits(&kept.row)) {
        return Ok(Some(kept.row.clone()));
    }
    let found = ledger.one(SQL, &[&item.0, &buyer.as_str()], row)?;
    // The query may find an entry that ended in this transaction, because the change is only in the
    // cache.
    Ok(found.map(|entry| cache_if_locked(ledger, entry)).filter(waits))
}

pub(super) fn waiting_entries(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    limit: usize,
) -> Done<Vec<WaitlistEntry>> {
    const SQL: &str = concat!(
        "SELECT ",
        entry_columns!(),
        " FROM waitlist w WHERE w.item_id = $1 AND w.state = 'waiting' ORDER BY w.n LIMIT $2"
    );
    // Entries may have ended in this transaction, so the query reads that many rows more.
    let among = as_limit(limit.saturating_add(ledger.cache.waitlist.len()));
    let mut entries = ledger.all(SQL, &[&item.0, &among], row)?;
    entries.retain(|entry| !ledger.cache.waitlist.contains_key(&(entry.item, entry.n)));
    let cache = ledger.cache.waitlist.values().map(|kept| &kept.row);
    entries.extend(cache.filter(|p| p.item == item && p.state == WaitlistState::Waiting).cloned());
    entries.sort_unstable_by_key(|entry| entry.n);
    entries.truncate(limit);
    Ok(entries.into_iter().map(|entry| cache_if_locked(ledger, entry)).collect())
}

/// Searches the buyer's orders, behind `OFFSET 0`. Without that, sorting by number would read all
/// orders of the grant.
pub(super) fn first_unpaid(
    ledger: &PostgresLedger<'_>,
    grant: GrantId,
    buyer: &BuyerId,
    by: Option<&Actor>,
) -> Done<Option<Order>> {
    const SQL: &str = concat!(
        "SELECT ",
        rows::order_columns!(),
        " FROM (SELECT * FROM orders o WHERE o.buyer = $1 OFFSET 0) o
          WHERE o.grant_id = $2 AND (o.state = 'expired' OR (o.state = 'cancelled'
          AND ($3::text IS NULL OR $3 =
              (SELECT e.actor FROM event e WHERE e.grant_id = o.grant_id AND e.n = o.n
              AND e.type = 'order.cancelled' LIMIT 1))))
          ORDER BY o.n LIMIT 1"
    );
    ledger.one(SQL, &[&buyer.as_str(), &int(grant.0), &by.map(actor_text)], rows::order)
}

/// Locks the waitlist, and the quotas of its first buyers.
fn lock_waitlist(ledger: &mut PostgresLedger<'_>, item: ItemId, at_most: usize) -> Done<()> {
    if ledger.waitlist(item)?.is_none() {
        return Ok(());
    }
    let entries = ledger.waiting_entries(item, at_most)?;
    let buyers: Vec<&str> = entries.iter().map(|entry| entry.buyer.as_str()).collect();
    let items = vec![item.0; buyers.len()];
    let quota = |row: &Row| {
        Ok((rows::parse_text(row, 0, "buyer", BuyerId::new)?, rows::small(row, 2, "quota")?))
    };
    for (buyer, used) in ledger.all(QUOTAS, &[&buyers, &items], quota)? {
        ledger.cache.quotas.insert((buyer, item), CachedQuota { used, read: Some(used) });
    }
    for entry in entries {
        // A missing row cannot be locked. If another transaction inserts the row meanwhile, the
        // insertion fails here, and this transaction runs again.
        ledger
            .cache
            .quotas
            .entry((entry.buyer, item))
            .or_insert(CachedQuota { used: 0, read: None });
    }
    Ok(())
}

fn serve(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<WaitlistServed> {
    let sql = "SELECT least(pool, waiting) FROM item WHERE id = $1";
    let kept = ledger.one(sql, &[&item.0], |row| rows::number(row, 0))?.unwrap_or(0);
    let at_most = usize::try_from(kept).unwrap_or(usize::MAX).min(WAITLIST_BATCH_MAX);
    if at_most == 0 {
        return Ok(WaitlistServed::default());
    }
    ledger.on_sale(item)?;
    lock_waitlist(ledger, item, at_most)?;
    let now = ledger.now;
    waitlist::serve(ledger, item, at_most, now)
}

fn end_with_sale(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<WaitlistEnded> {
    let sql = "SELECT waiting FROM item WHERE id = $1";
    if ledger.one(sql, &[&item.0], |row| rows::number(row, 0))?.unwrap_or(0) == 0 {
        return Ok(WaitlistEnded::default());
    }
    let now = ledger.now;
    waitlist::end_with_sale(ledger, item, WAITLIST_BATCH_MAX, now)
}

fn position_row(found: &Row) -> Done<WaitlistPosition> {
    Ok(WaitlistPosition { entry: row(found)?, ahead: rows::number(found, 8)? })
}

impl Postgres {
    pub(crate) async fn join_waitlist(
        &self,
        item: ItemId,
        joiner: JoinRequest,
    ) -> StoreResult<JoinOutcome> {
        let id_key = self.shared().id_key.clone();
        let join = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            waitlist::join(ledger, &id_key, item, &joiner, now)
        };
        self.job(RetryUnknown::Allowed, join).await
    }

    pub(crate) async fn leave_waitlist(&self, id: TicketId) -> StoreResult<LeaveOutcome> {
        let leave = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            waitlist::leave(ledger, &id, now)
        };
        self.job(RetryUnknown::Allowed, leave).await
    }

    pub(crate) async fn serve_waitlist(&self, item: ItemId) -> StoreResult<WaitlistServed> {
        self.job(RetryUnknown::Allowed, move |ledger| serve(ledger, item)).await
    }

    pub(crate) async fn end_waitlist(&self, item: ItemId) -> StoreResult<WaitlistEnded> {
        self.job(RetryUnknown::Allowed, move |ledger| end_with_sale(ledger, item)).await
    }

    /// Searches the buyer's orders, as [`first_unpaid`] does.
    pub(crate) async fn waitlist_order_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<Order>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM (SELECT * FROM orders o WHERE o.buyer = $2 OFFSET 0) o
              WHERE o.grant_id = (SELECT g.id FROM slot_grant g WHERE g.item_id = $1
              AND g.slot = $3)
              AND NOT EXISTS (SELECT FROM waitlist w WHERE w.item_id = $1 AND w.n > o.n
              AND w.buyer = $2)
              ORDER BY o.n DESC LIMIT 1"
        );
        self.one(SQL, &[&item.0, &buyer.as_str(), &i64::from(SlotKey::WAITLIST)], rows::order).await
    }

    pub(crate) async fn waitlist_position(
        &self,
        id: TicketId,
    ) -> StoreResult<Option<WaitlistPosition>> {
        const SQL: &str = concat!(select_position!(), " WHERE w.id = $1");
        self.one(SQL, &[&id.text().as_str()], position_row).await
    }

    pub(crate) async fn waitlist_position_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<WaitlistPosition>> {
        const SQL: &str = concat!(
            select_position!(),
            " WHERE w.item_id = $1 AND w.buyer = $2 AND w.state = 'waiting'"
        );
        self.one(SQL, &[&item.0, &buyer.as_str()], position_row).await
    }

    pub(crate) async fn waitlist(
        &self,
        item: ItemId,
        after: TicketN,
        limit: usize,
    ) -> StoreResult<Vec<WaitlistEntry>> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM waitlist w WHERE w.item_id = $1 AND w.state = 'waiting' AND w.n > $2
             ORDER BY w.n LIMIT $3"
        );
        self.all(SQL, &[&item.0, &rows::int(after.0), &as_limit(limit)], row).await
    }
}
