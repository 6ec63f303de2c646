//! Reads and writes waitlist entries for the SQLite ledger.
use rusqlite::params;

use doorbuster_core::{BuyerId, ItemId, TicketId, WaitlistEntry};

use crate::failure::Done;
use crate::queries;
use crate::rows::waitlist::entry as row;
use crate::sql::{as_limit, to_i64};

use super::statement_cache::Statements;

pub(super) fn unsettled_units(sql: &mut Statements<'_>, item: ItemId) -> Done<u64> {
    let text = "SELECT coalesce(sum(granted - settled), 0) FROM slot_grant WHERE item_id = ?1
                AND open = 1 AND counted = 1";
    Ok(sql.one(text, params![item.0], |row| row.number(0))?.unwrap_or(0))
}

pub(super) fn has_ended(sql: &mut Statements<'_>, item: ItemId) -> Done<bool> {
    Ok(sql
        .one(queries::HAS_ENDED.sqlite, params![item.0], |row| row.get::<bool>(0))?
        .unwrap_or(false))
}

pub(super) fn waitlist_entry(
    sql: &mut Statements<'_>,
    id: &TicketId,
) -> Done<Option<WaitlistEntry>> {
    sql.one(queries::ENTRY.sqlite, params![id.text().as_str()], row)
}

pub(super) fn waitlist_entry_of(
    sql: &mut Statements<'_>,
    item: ItemId,
    buyer: &BuyerId,
) -> Done<Option<WaitlistEntry>> {
    sql.one(queries::ENTRY_OF.sqlite, params![item.0, buyer.as_str()], row)
}

pub(super) fn waiting_entries(
    sql: &mut Statements<'_>,
    item: ItemId,
    limit: usize,
) -> Done<Vec<WaitlistEntry>> {
    sql.all(queries::WAITING_ENTRIES.sqlite, params![item.0, as_limit(limit)], row)
}

pub(super) fn put_waitlist_entry(sql: &mut Statements<'_>, entry: &WaitlistEntry) -> Done<()> {
    sql.run(
        "INSERT INTO waitlist (item_id, n, id, buyer, request_key, state, joined_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (item_id, n) DO UPDATE SET state = excluded.state,
         ended_at = excluded.ended_at",
        params![
            entry.item.0,
            to_i64(entry.n.0),
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
