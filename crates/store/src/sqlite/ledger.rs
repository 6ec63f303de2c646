//! The [`Ledger`] of `doorbuster-core`, over SQLite.
//!
//! Items and grants are read once and written once, regardless of the number of tickets (see
//! `row_cache`). All other rows are written immediately.
mod tables;
mod writes;

use rusqlite::params;

use doorbuster_core::{BuyerId, ItemId, Millis, Order, TicketId};

use crate::failure::Done;
use crate::sql::to_i64;
use crate::{queries, rows};

use super::row_cache::RowCache;
use super::statement_cache::Statements;

/// The quota rows of the buyer whose rows were read last. To cache one buyer is enough: all
/// accesses for one ticket follow each other, and most buyers are new.
struct CachedQuotas {
    buyer: BuyerId,
    used: Vec<(ItemId, u32)>,
    /// Whether `used` contains every quota row that the buyer has.
    all: bool,
}

/// The first query for a buyer reads at most this many quota rows. Further rows are read one by
/// one.
const CACHED_QUOTAS_MAX: usize = 4;

/// The tables, as one transaction reads and writes them.
pub struct SqliteLedger<'c> {
    pub(crate) sql: Statements<'c>,
    /// The store's time, which each job sets.
    pub(crate) now: Millis,
    cache: RowCache,
    quotas: Option<CachedQuotas>,
    /// This field and the next two fields hold the changes to publish: orders, items whose units
    /// moved, and whether there are events.
    pub(super) orders: Vec<Order>,
    pub(super) touched: Vec<ItemId>,
    pub(super) events: bool,
    pub(crate) action: Option<std::sync::Arc<crate::contract::NewAction>>,
}

impl<'c> SqliteLedger<'c> {
    pub(super) fn new(sql: Statements<'c>) -> Self {
        Self {
            sql,
            now: Millis(0),
            cache: RowCache::default(),
            quotas: None,
            orders: Vec::new(),
            touched: Vec::new(),
            events: false,
            action: None,
        }
    }

    pub(crate) fn flush(&mut self) -> Done<()> {
        self.cache.flush(&mut self.sql, self.now)
    }

    /// Drops every cached row. The caller does this after a rollback or a commit, and before a
    /// statement that changes the tables without the cache. The cached rows could then be outdated.
    pub(crate) fn reset(&mut self) {
        (self.cache, self.quotas) = (RowCache::default(), None);
    }

    pub(crate) fn touch(&mut self, item: ItemId) {
        if !self.touched.contains(&item) {
            self.touched.push(item);
        }
    }

    fn cached_quotas(&mut self, buyer: &BuyerId) -> Done<&mut CachedQuotas> {
        if self.quotas.as_ref().is_none_or(|quotas| quotas.buyer != *buyer) {
            let used = self.sql.all(
                "SELECT item_id, used FROM quota WHERE buyer = ?1 LIMIT ?2",
                params![buyer.as_str(), CACHED_QUOTAS_MAX as i64],
                |row| Ok((ItemId(row.get(0)?), row.get(1)?)),
            )?;
            self.quotas = Some(CachedQuotas {
                buyer: buyer.clone(),
                all: used.len() < CACHED_QUOTAS_MAX,
                used,
            });
        }
        Ok(self.quotas.as_mut().expect("the rows are cached"))
    }

    fn find_order(&mut self, id: &TicketId) -> Done<Option<Order>> {
        let Some(parts) = id.parts() else { return Ok(None) };
        let found = self.sql.one(
            queries::ORDER.sqlite,
            params![to_i64(parts.grant.0), to_i64(parts.n.0)],
            rows::order,
        )?;
        Ok(found.filter(|order| order.id == *id))
    }
}
