//! Erases a buyer, in SQLite. A reader finds the rows that have no index by buyer, and the writer
//! replaces them.
use std::collections::BTreeMap;

use rusqlite::{Row, params};

use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::{BuyerId, Millis, RequestKey};

use crate::actions;
use crate::contract::{BuyerTraces, Erased};
use crate::erase::{self, ErasableOrder, ErasableRows, ErasedNames};
use crate::limits::ERASE_ROWS_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::{Reader, as_limit};

type Done<T> = Result<T, Failure>;

fn traces(sql: &mut Reader<'_>, buyer: &BuyerId, now: Millis) -> Done<BuyerTraces> {
    let mut traces = BuyerTraces::default();
    sql.all(erase::TRACES, params![buyer.as_str()], |row| {
        let (parse_text, rows): (String, i64) = (row.get(1)?, row.get(3)?);
        let counted = traces.count(row.get(0)?, &parse_text, row.get(2)?, rows.unsigned_abs());
        counted.ok_or_else(|| Failure::Row(format!("unknown reason to keep a row {parse_text:?}")))
    })?;
    let is_blocked =
        sql.one(erase::IS_BLOCKED, params![buyer.as_str(), now.0], |_| Ok(()))?.is_some();
    Ok(BuyerTraces { blocked: is_blocked, ..traces })
}

fn find(sql: &mut Reader<'_>, buyer: &BuyerId) -> Done<ErasableRows> {
    let by = params![buyer.as_str(), as_limit(ERASE_ROWS_MAX)];
    Ok(ErasableRows {
        feed: sql.all(erase::FIND_FEED, by, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?,
        dead_letter_tickets: sql
            .all(erase::FIND_DEAD_TICKETS, by, |row| Ok((row.get(0)?, row.get(1)?)))?,
        waitlist: sql
            .all(erase::FIND_WAITLIST, by, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?,
        events: sql.all(erase::FIND_EVENTS, by, |row| Ok(row.get(0)?))?,
        visitors: sql.all(erase::FIND_VISITORS, by, |row| Ok((row.get(0)?, row.get(1)?)))?,
        codes: sql.all(erase::FIND_CODES, by, |row| Ok((row.get(0)?, row.get(1)?)))?,
    })
}

fn order(row: &Row<'_>) -> Done<ErasableOrder> {
    let (grant, n, key) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(ErasableOrder { grant, n, key, item: row.get(3)?, held: row.get(4)? })
}

/// Replaces the buyer's id in orders, and moves the quotas.
fn erase_orders(ledger: &mut SqliteLedger<'_>, names: &ErasedNames) -> Done<usize> {
    let sql = &mut ledger.sql;
    let (old, new) = (names.old.as_str(), names.new.as_str());
    let found = sql.all(erase::FIND_ORDERS, params![old, as_limit(ERASE_ROWS_MAX)], order)?;
    let mut shares: BTreeMap<i64, i64> = BTreeMap::new();
    for order in &found {
        sql.run(
            erase::RENAME_ORDER,
            params![new, names.key(&order.key).as_str(), order.grant, order.n, old],
        )?;
        *shares.entry(order.item).or_default() += order.held;
    }
    for (item, held) in shares {
        sql.run(erase::DECREASE_QUOTA, params![held, old, item])?;
        sql.run(erase::INCREASE_QUOTA, params![new, item, held])?;
        sql.run(erase::DELETE_QUOTA, params![old, item])?;
    }
    Ok(found.len())
}

/// Replaces the buyer's id in all other rows.
fn erase_other_rows(
    ledger: &mut SqliteLedger<'_>,
    names: &ErasedNames,
    found: &ErasableRows,
) -> Done<usize> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let (old, new) = (names.old.as_str(), names.new.as_str());
    let mut rows = sql.run(erase::RENAME_BLOCK, params![old, now.0])?;
    for (grant, seq, key) in &found.feed {
        let key = key.as_deref().map(|key| names.key(key));
        rows += sql.run(
            erase::RENAME_FEED,
            params![new, key.as_ref().map(RequestKey::as_str), grant, seq, old],
        )?;
    }
    for (seq, key) in &found.dead_letter_tickets {
        rows +=
            sql.run(erase::RENAME_DEAD_TICKET, params![new, names.key(key).as_str(), seq, old])?;
    }
    for (item, n, key) in &found.waitlist {
        rows +=
            sql.run(erase::RENAME_WAITLIST, params![new, names.key(key).as_str(), item, n, old])?;
    }
    for seq in &found.events {
        rows += sql.run(erase::RENAME_EVENT, params![old, new, seq])?;
    }
    for (sale, seed) in &found.visitors {
        let lot = DrawSeed::new(*seed).lot(new);
        rows += sql.run(erase::RENAME_DRAWN, params![new, lot.bytes(), sale, old])?;
        rows += sql.run(erase::RENAME_VISITOR, params![new, sale, old])?;
    }
    for (sale, hash) in &found.codes {
        rows += sql.run(erase::RENAME_CODE, params![new, sale, hash, old])?;
    }
    Ok(rows)
}

impl Sqlite {
    pub(crate) async fn traces(&self, buyer: &BuyerId) -> StoreResult<BuyerTraces> {
        let (buyer, now) = (buyer.clone(), self.now());
        self.read(move |sql| traces(sql, &buyer, now)).await
    }

    pub(crate) async fn erase_batch(&self, buyer: &BuyerId) -> StoreResult<Erased> {
        let names = ErasedNames::for_buyer(buyer, &self.0.shared.id_key);
        let buyer = buyer.clone();
        let found = self.read(move |sql| find(sql, &buyer)).await?;
        self.job(move |ledger| {
            let erased = Erased {
                orders: erase_orders(ledger, &names)? as u64,
                other: erase_other_rows(ledger, &names, &found)? as u64,
            };
            // The erasure changed quota rows directly, so all cached rows are written and then
            // dropped.
            ledger.flush()?;
            ledger.reset();
            if erased != Erased::default() {
                ledger.record(&actions::erased(&erased))?;
            }
            Ok(erased)
        })
        .await
    }
}
