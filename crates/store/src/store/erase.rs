//! Erasing a buyer.
//!
//! In PostgreSQL the erasure finds orders, locks their grants, and reads the orders again. While a
//! grant is locked, its orders, their checkouts and their payments stay unchanged. Then the erasure
//! locks the buyer's quotas, in lock order. The rows of most other tables are found before the
//! transaction, because these tables have no index by buyer.
use std::collections::BTreeMap;

use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::{BuyerId, GrantId, RequestKey};

use crate::contract::{BuyerTraces, Erased};
use crate::erase::{ErasableOrder, ErasableRows, ErasableVisitor, ErasedNames};
use crate::failure::Done;
use crate::limits::ERASE_ROWS_MAX;
use crate::sql::{Row, Value, as_limit, bad_row, values};
use crate::transaction::{RetryUnknown, Transaction};
use crate::{StoreError, actions, erase};

use super::{Store, StoreResult};

const LOCK_QUOTAS: &str = "SELECT FROM quota WHERE buyer IN ($1, $2) AND item_id = ANY($3)
                           ORDER BY buyer, item_id FOR NO KEY UPDATE";

fn order(row: Row<'_>) -> Done<ErasableOrder> {
    let (grant, n, key) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(ErasableOrder { grant, n, key, item: row.get(3)?, held: row.get(4)? })
}

/// Replaces the buyer's id and the request keys in orders, and moves the orders' units to the
/// quotas of the new id.
fn erase_orders(tx: &mut Transaction<'_, '_>, names: &ErasedNames) -> Done<u64> {
    let (old, new) = (&names.old, &names.new);
    let by = values![old, as_limit(ERASE_ROWS_MAX)];
    let mut grants = tx.all(erase::FIND_ORDERS, &by, |row| row.get::<i64>(0))?;
    grants.sort_unstable();
    grants.dedup();
    if grants.is_empty() {
        return Ok(0);
    }
    let ids: Vec<GrantId> = grants.iter().map(|id| GrantId(id.cast_unsigned())).collect();
    tx.lock_grants(&ids)?;
    let mut found = tx.all(erase::FIND_ORDERS, &by, order)?;
    // This second read may find an order that could not be erased at the first read, and whose
    // grant is not locked. The next transaction erases that order.
    found.retain(|order| grants.binary_search(&order.grant).is_ok());
    let mut shares: BTreeMap<i64, i64> = BTreeMap::new();
    for order in &found {
        *shares.entry(order.item).or_default() += order.held;
    }
    if let Transaction::Postgres(ledger) = tx {
        let items: Vec<i64> = shares.keys().copied().collect();
        ledger.query(LOCK_QUOTAS, &values![old, new, items], |_| Ok(()))?;
    }
    for order in &found {
        let key = names.order_key(order);
        let values = values![new, key.as_str(), order.grant, order.n, old];
        tx.run(erase::RENAME_ORDER, &values)?;
    }
    for (item, held) in shares {
        tx.run(erase::DECREASE_QUOTA, &values![held, old, item])?;
        tx.run(erase::INCREASE_QUOTA, &values![new, item, held])?;
        tx.run(erase::DELETE_QUOTA, &values![old, item])?;
    }
    Ok(found.len() as u64)
}

/// Replaces the buyer's id in the rows of all other tables. Deletes the subscriptions of the
/// buyer's browsers, and the buyer's quota rows without an order.
fn erase_other_rows(
    tx: &mut Transaction<'_, '_>,
    names: &ErasedNames,
    found: &ErasableRows,
) -> Done<u64> {
    let (old, new) = (&names.old, &names.new);
    let mut rows = tx.run(erase::RENAME_BLOCK, &values![old, tx.now()])?;
    rows += tx.run(erase::DELETE_SUBSCRIPTIONS, &values![old])?;
    for (grant, seq, key) in &found.feed {
        let key = key.as_deref().map(|key| names.key(key));
        let key = key.as_ref().map(RequestKey::as_str);
        rows += tx.run(erase::RENAME_FEED, &values![new, key, *grant, *seq, old])?;
    }
    for (seq, key) in &found.dead_letter_tickets {
        let key = names.key(key);
        rows += tx.run(erase::RENAME_DEAD_TICKET, &values![new, key.as_str(), *seq, old])?;
    }
    for (item, n, key) in &found.waitlist {
        let key = names.key(key);
        rows += tx.run(erase::RENAME_WAITLIST, &values![new, key.as_str(), *item, *n, old])?;
    }
    for seq in &found.events {
        rows += tx.run(erase::RENAME_EVENT, &values![old, new, *seq])?;
    }
    for ErasableVisitor { sale, item, seed, item_name } in &found.visitors {
        let seed = DrawSeed::new(*seed);
        let lot = |buyer: &BuyerId| seed.lot(item_name.as_deref(), buyer.as_str());
        let (old_lot, lot) = (lot(old), lot(new));
        rows += tx.run(erase::RENAME_DRAWN, &values![new, lot.bytes(), sale, *item, old])?;
        let called = values![lot.bytes(), sale, *item, old_lot.bytes()];
        rows += tx.run(erase::RENAME_CALLED_LOT, &called)?;
        rows += tx.run(erase::RENAME_VISITOR, &values![new, sale, *item, old])?;
    }
    for (sale, hash) in &found.codes {
        rows += tx.run(erase::RENAME_CODE, &values![new, sale, hash.as_slice(), old])?;
    }
    for item in &found.quotas {
        rows += tx.run(erase::DELETE_UNUSED_QUOTA, &values![old, *item])?;
    }
    Ok(rows)
}

impl Store {
    /// Returns the rows that name this buyer, and which of them can be erased now.
    pub async fn traces(&self, buyer: &BuyerId) -> StoreResult<BuyerTraces> {
        let buyer = buyer.as_str();
        let trace = |row: Row<'_>| {
            let (sale, word) = (row.get::<String>(0)?, row.get::<String>(1)?);
            Ok((sale, word, row.get::<bool>(2)?, row.number(3)?))
        };
        let mut traces = BuyerTraces::default();
        for (sale, word, is_order, rows) in
            self.all(erase::TRACES, values![buyer.to_owned()], trace).await?
        {
            let known = traces.count(sale, &word, is_order, rows);
            known.ok_or_else(|| StoreError::from(bad_row("reason to keep a row")))?;
        }
        let values = values![buyer.to_owned(), self.now()];
        traces.blocked = self.one(erase::IS_BLOCKED, values, |_| Ok(())).await?.is_some();
        Ok(traces)
    }

    async fn erasable_rows(&self, buyer: &BuyerId) -> StoreResult<ErasableRows> {
        let by: [Value<'static>; 2] = values![buyer.as_str().to_owned(), as_limit(ERASE_ROWS_MAX)];
        let feed = |row: Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let ticket = |row: Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let entry = |row: Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let visitor = |row: Row<'_>| {
            Ok(ErasableVisitor {
                sale: row.get(0)?,
                item: row.get(1)?,
                seed: row.bytes(2, "seed")?,
                item_name: row.get(3)?,
            })
        };
        let code = |row: Row<'_>| Ok((row.get(0)?, row.get(1)?));
        Ok(ErasableRows {
            feed: self.all(erase::FIND_FEED, by.clone(), feed).await?,
            dead_letter_tickets: self.all(erase::FIND_DEAD_TICKETS, by.clone(), ticket).await?,
            waitlist: self.all(erase::FIND_WAITLIST, by.clone(), entry).await?,
            events: self.all(erase::FIND_EVENTS, by.clone(), |row| row.get(0)).await?,
            visitors: self.all(erase::FIND_VISITORS, by.clone(), visitor).await?,
            codes: self.all(erase::FIND_CODES, by.clone(), code).await?,
            quotas: self.all(erase::FIND_QUOTAS, by, |row| row.get(0)).await?,
        })
    }

    /// In rows that can be erased now, replaces the buyer's id by
    /// [`doorbuster_core::IdKey::erased_buyer`], and also replaces the request keys. One call
    /// changes at most [`crate::limits::ERASE_ROWS_MAX`] rows of each table. Repeat the call until
    /// it replaces nothing.
    pub async fn erase_batch(&self, buyer: &BuyerId) -> StoreResult<Erased> {
        let names = ErasedNames::for_buyer(buyer, &self.id_key());
        let found = self.erasable_rows(buyer).await?;
        self.job(RetryUnknown::Allowed, move |tx| {
            let orders = erase_orders(tx, &names)?;
            let erased = Erased { orders, other: erase_other_rows(tx, &names, &found)? };
            // The erasure changed quota rows directly, so cached rows may be wrong.
            tx.drop_cached_rows()?;
            if erased != Erased::default() {
                tx.record(&actions::erased(&erased))?;
            }
            Ok(erased)
        })
        .await
    }
}
