//! Cached items and grants. For a group of jobs, each row is read once. For each job, a changed row
//! is written once, regardless of the number of tickets.
use rusqlite::params;

use doorbuster_core::{CloseCause, Grant, Item, Millis, Stock};

use crate::failure::Failure;
use crate::row_cache::{CachedRow, Rows};
use crate::sql::to_i64;

use super::statement_cache::Statements;

/// The items and grants that were read or created. The functions of `doorbuster-core` read a row
/// before they change it. So if a written grant is not in the cache, it is new, and its row is
/// inserted. An item is never new.
#[derive(Default)]
pub(super) struct RowCache {
    pub(super) items: Rows<Item>,
    pub(super) grants: Rows<Grant>,
}

impl RowCache {
    /// Writes the changed rows. Closed grants are written first, so that a slot never has two open
    /// grants.
    pub(super) fn flush(&mut self, sql: &mut Statements<'_>, now: Millis) -> Result<(), Failure> {
        for open in [false, true] {
            for CachedRow { row, read } in self.grants.dirty().filter(|c| c.row.open == open) {
                match read {
                    Some(_) => update_grant(sql, row, now)?,
                    None => insert_grant(sql, row, now)?,
                }
            }
        }
        for item in self.items.dirty() {
            update_item(sql, &item.row)?;
        }
        self.grants.mark_written();
        self.items.mark_written();
        Ok(())
    }
}

fn update_item(sql: &mut Statements<'_>, item: &Item) -> Result<(), Failure> {
    let total = match item.total {
        Stock::Counted(units) => Some(to_i64(units)),
        Stock::Unlimited => None,
    };
    sql.run(
        "UPDATE item SET total = ?2, pool = ?3, ended = ?4, paid = ?5, waiting = ?6 WHERE id = ?1",
        params![
            item.id.0,
            total,
            to_i64(item.pool),
            to_i64(item.ended),
            to_i64(item.paid),
            to_i64(item.waiting)
        ],
    )?;
    Ok(())
}

fn insert_grant(sql: &mut Statements<'_>, g: &Grant, now: Millis) -> Result<(), Failure> {
    sql.run(
        "INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open, acked,
         max_n, resolved, feed_len,
                                 closed_cause, opened_at, closed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        params![
            to_i64(g.id.0),
            g.slot.item.0,
            g.slot.index,
            to_i64(g.epoch.0),
            to_i64(g.granted),
            to_i64(g.settled),
            g.counted,
            g.open,
            g.acked,
            to_i64(g.max_n.0),
            to_i64(g.resolved),
            to_i64(g.feed_len.0),
            g.closed.map(CloseCause::as_str),
            now.0,
            (!g.open).then_some(now.0)
        ],
    )?;
    Ok(())
}

fn update_grant(sql: &mut Statements<'_>, g: &Grant, now: Millis) -> Result<(), Failure> {
    sql.run(
        "UPDATE slot_grant SET granted = ?2, settled = ?3, open = ?4, acked = ?5, max_n = ?6,
         resolved = ?7, feed_len = ?8,
                               closed_cause = ?9, closed_at = coalesce(closed_at, ?10)
         WHERE id = ?1",
        params![
            to_i64(g.id.0),
            to_i64(g.granted),
            to_i64(g.settled),
            g.open,
            g.acked,
            to_i64(g.max_n.0),
            to_i64(g.resolved),
            to_i64(g.feed_len.0),
            g.closed.map(CloseCause::as_str),
            (!g.open).then_some(now.0)
        ],
    )?;
    Ok(())
}
