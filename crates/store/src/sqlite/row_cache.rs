//! Cached items and grants. They are read once for a group of jobs and written once for each job,
//! for any number of tickets.
use rusqlite::params;

use doorbuster_core::{CloseCause, Grant, GrantId, Item, ItemId, Millis, Stock};

use crate::failure::Failure;
use crate::sql::to_i64;

use super::statement_cache::Statements;

struct CachedRow<T> {
    row: T,
    /// Whether the row is not in the table yet.
    new: bool,
    /// Whether the row changed since it was last read or written. A changed row must be written.
    dirty: bool,
}

/// The rows that were read or created. There are few, so a linear search is fast enough.
#[derive(Default)]
pub(super) struct RowCache {
    items: Vec<CachedRow<Item>>,
    grants: Vec<CachedRow<Grant>>,
}

impl RowCache {
    pub(super) fn item(&self, id: ItemId) -> Option<&Item> {
        self.items.iter().find(|c| c.row.id == id).map(|c| &c.row)
    }

    pub(super) fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.iter().find(|c| c.row.id == id).map(|c| &c.row)
    }

    /// Caches an item that was read.
    pub(super) fn cache_item(&mut self, row: Item) -> Item {
        self.items.push(CachedRow { row: row.clone(), new: false, dirty: false });
        row
    }

    /// Caches a grant that was read. A version that is already cached is newer, and stays.
    pub(super) fn cache_grant(&mut self, row: Grant) -> Grant {
        if let Some(copy) = self.grant(row.id) {
            return copy.clone();
        }
        self.grants.push(CachedRow { row: row.clone(), new: false, dirty: false });
        row
    }

    pub(super) fn put_item(&mut self, item: &Item) {
        match self.items.iter_mut().find(|c| c.row.id == item.id) {
            Some(copy) => (copy.row, copy.dirty) = (item.clone(), true),
            None => self.items.push(CachedRow { row: item.clone(), new: false, dirty: true }),
        }
    }

    /// Caches a written grant. The functions of `doorbuster-core` read a grant before they write
    /// it. So a grant that is not cached is new.
    pub(super) fn put_grant(&mut self, grant: &Grant) {
        match self.grants.iter_mut().find(|c| c.row.id == grant.id) {
            Some(copy) => (copy.row, copy.dirty) = (grant.clone(), true),
            None => self.grants.push(CachedRow { row: grant.clone(), new: true, dirty: true }),
        }
    }

    /// Writes every cached row that changed. Closed grants come first, so that a slot never has two
    /// open grants.
    pub(super) fn flush(&mut self, sql: &mut Statements<'_>, now: Millis) -> Result<(), Failure> {
        for open in [false, true] {
            for copy in self.grants.iter_mut().filter(|c| c.dirty && c.row.open == open) {
                match copy.new {
                    true => insert_grant(sql, &copy.row, now)?,
                    false => update_grant(sql, &copy.row, now)?,
                }
                (copy.new, copy.dirty) = (false, false);
            }
        }
        for copy in self.items.iter_mut().filter(|c| c.dirty) {
            update_item(sql, &copy.row)?;
            copy.dirty = false;
        }
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
