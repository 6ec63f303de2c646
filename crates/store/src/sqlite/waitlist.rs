//! Waitlist entries of items: the rows of the rules, and the store's methods.
use rusqlite::{Row, params};

use doorbuster_core::limits::WAITLIST_BATCH_MAX;
use doorbuster_core::waitlist::{JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded};
use doorbuster_core::{
    BuyerId, ItemId, Ledger, Millis, Order, RequestKey, SlotKey, TicketId, TicketN, WaitlistEntry,
    WaitlistState, waitlist,
};

use crate::contract::{WaitlistPosition, WaitlistServed};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::read::{Reader, as_limit};
use super::rows::{self, int, parse_text};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

macro_rules! entry_columns {
    () => {
        "item_id, n, id, buyer, request_key, state, joined_at, ended_at"
    };
}
pub(super) use entry_columns;

pub(super) fn row(row: &Row<'_>) -> Done<WaitlistEntry> {
    Ok(WaitlistEntry {
        item: ItemId(row.get(0)?),
        n: TicketN(rows::number(row, 1)?),
        id: rows::ticket(row, 2)?,
        buyer: parse_text(row, 3, "buyer", BuyerId::new)?,
        key: parse_text(row, 4, "request key", RequestKey::new)?,
        state: parse_text(row, 5, "state", WaitlistState::parse)?,
        joined_at: Millis(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(Millis),
    })
}

pub(super) fn in_slots(sql: &mut Statements<'_>, item: ItemId) -> Done<u64> {
    let text = "SELECT coalesce(sum(granted - settled), 0) FROM slot_grant WHERE item_id = ?1
                AND open = 1 AND counted = 1";
    Ok(sql.one(text, params![item.0], |row| rows::number(row, 0))?.unwrap_or(0))
}

pub(super) fn has_ended(sql: &mut Statements<'_>, item: ItemId) -> Done<bool> {
    let text =
        "SELECT s.phase = 'closed' FROM item i JOIN sale s ON s.id = i.sale_id WHERE i.id = ?1";
    Ok(sql.one(text, params![item.0], |row| Ok(row.get::<_, bool>(0)?))?.unwrap_or(false))
}

pub(super) fn waitlist_entry(
    sql: &mut Statements<'_>,
    id: &TicketId,
) -> Done<Option<WaitlistEntry>> {
    let text = concat!("SELECT ", entry_columns!(), " FROM waitlist WHERE id = ?1");
    sql.one(text, params![id.text().as_str()], row)
}

pub(super) fn waitlist_entry_of(
    sql: &mut Statements<'_>,
    item: ItemId,
    buyer: &BuyerId,
) -> Done<Option<WaitlistEntry>> {
    let text = concat!(
        "SELECT ",
        entry_columns!(),
        " FROM waitlist WHERE item_id = ?1 AND buyer = ?2 AND state = 'waiting'"
    );
    sql.one(text, params![item.0, buyer.as_str()], row)
}

pub(super) fn waiting_entries(
    sql: &mut Statements<'_>,
    item: ItemId,
    limit: usize,
) -> Done<Vec<WaitlistEntry>> {
    let text = concat!(
        "SELECT ",
        entry_columns!(),
        " FROM waitlist WHERE item_id = ?1 AND state = 'waiting' ORDER BY n LIMIT ?2"
    );
    sql.all(text, params![item.0, as_limit(limit)], row)
}

pub(super) fn put_waitlist_entry(sql: &mut Statements<'_>, entry: &WaitlistEntry) -> Done<()> {
    sql.run(
        "INSERT INTO waitlist (item_id, n, id, buyer, request_key, state, joined_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (item_id, n) DO UPDATE SET state = excluded.state,
         ended_at = excluded.ended_at",
        params![
            entry.item.0,
            int(entry.n.0),
            entry.id.text().as_str(),
            entry.buyer.as_str(),
            entry.key.as_str(),
            entry.state.as_str(),
            entry.joined_at.0,
            entry.ended_at.map(|t| t.0)
        ],
    )?;
    Ok(())
}

/// Returns the order that the buyer's last waitlist entry became. It searches the buyer's orders.
/// The `+` prevents SQLite from reading all orders of the grant.
fn order_of_last_entry(sql: &mut Reader<'_>, item: ItemId, buyer: &BuyerId) -> Done<Option<Order>> {
    let text = concat!(
        "SELECT ",
        rows::order_columns!(),
        " FROM orders WHERE buyer = ?2 AND +grant_id = (SELECT g.id FROM slot_grant g
         WHERE g.item_id = ?1 AND g.slot = ?3)
          AND NOT EXISTS (SELECT 1 FROM waitlist w WHERE w.item_id = ?1 AND w.n > orders.n
          AND w.buyer = ?2)
          ORDER BY n DESC LIMIT 1"
    );
    sql.one(text, params![item.0, buyer.as_str(), SlotKey::WAITLIST], rows::order)
}

fn with_position(
    sql: &mut Reader<'_>,
    entry: Option<WaitlistEntry>,
) -> Done<Option<WaitlistPosition>> {
    let Some(entry) = entry else { return Ok(None) };
    let mut ahead = 0;
    if entry.state == WaitlistState::Waiting {
        let text =
            "SELECT count(*) FROM waitlist WHERE item_id = ?1 AND state = 'waiting' AND n < ?2";
        ahead = sql
            .one(text, params![entry.item.0, int(entry.n.0)], |row| rows::number(row, 0))?
            .unwrap_or(0);
    }
    Ok(Some(WaitlistPosition { entry, ahead }))
}

impl Sqlite {
    pub(crate) async fn join_waitlist(
        &self,
        item: ItemId,
        joiner: JoinRequest,
    ) -> StoreResult<JoinOutcome> {
        let id_key = self.0.shared.id_key.clone();
        self.job(move |ledger| {
            let now = ledger.now;
            waitlist::join(ledger, &id_key, item, &joiner, now)
        })
        .await
    }

    pub(crate) async fn leave_waitlist(&self, id: TicketId) -> StoreResult<LeaveOutcome> {
        self.job(move |ledger| {
            let now = ledger.now;
            waitlist::leave(ledger, &id, now)
        })
        .await
    }

    pub(crate) async fn serve_waitlist(&self, item: ItemId) -> StoreResult<WaitlistServed> {
        self.job(move |ledger| {
            let now = ledger.now;
            let kept = ledger.item(item)?.map_or(0, |item| item.kept_for_waitlist());
            waitlist::serve(
                ledger,
                item,
                usize::try_from(kept).unwrap_or(usize::MAX).min(WAITLIST_BATCH_MAX),
                now,
            )
        })
        .await
    }

    pub(crate) async fn end_waitlist(&self, item: ItemId) -> StoreResult<WaitlistEnded> {
        self.job(move |ledger| {
            let now = ledger.now;
            waitlist::end_with_sale(ledger, item, WAITLIST_BATCH_MAX, now)
        })
        .await
    }

    pub(crate) async fn waitlist_order_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<Order>> {
        self.read(move |sql| order_of_last_entry(sql, item, &buyer)).await
    }

    pub(crate) async fn waitlist_position(
        &self,
        id: TicketId,
    ) -> StoreResult<Option<WaitlistPosition>> {
        self.read(move |sql| {
            let found = waitlist_entry(sql, &id)?;
            with_position(sql, found)
        })
        .await
    }

    pub(crate) async fn waitlist_position_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<WaitlistPosition>> {
        self.read(move |sql| {
            let found = waitlist_entry_of(sql, item, &buyer)?;
            with_position(sql, found)
        })
        .await
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
            " FROM waitlist WHERE item_id = ?1 AND state = 'waiting' AND n > ?2 ORDER BY n LIMIT ?3"
        );
        self.read(move |sql| sql.all(SQL, params![item.0, int(after.0), as_limit(limit)], row))
            .await
    }
}
