//! Erases a buyer, in PostgreSQL. It finds orders, locks their grants, and reads the orders again.
//! Every change of an order, its checkout or its payments needs the lock on the order's grant. Then
//! it locks the buyer's quotas, in lock order.
use std::collections::BTreeMap;

use tokio_postgres::Row;

use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::{BuyerId, GrantId, RequestKey};

use crate::actions;
use crate::contract::{BuyerTraces, Erased};
use crate::erase::{self, ErasableOrder, ErasableRows, ErasedNames};
use crate::limits::ERASE_ROWS_MAX;
use crate::store::StoreResult;

use super::failure::Failure;
use super::read::as_limit;
use super::transaction::RetryUnknown;
use super::{Postgres, PostgresLedger, rows};

type Done<T> = Result<T, Failure>;

const LOCK_QUOTAS: &str = "SELECT FROM quota WHERE buyer IN ($1, $2) AND item_id = ANY($3)
                           ORDER BY buyer, item_id FOR NO KEY UPDATE";

fn order(row: &Row) -> Done<ErasableOrder> {
    let (grant, n, key) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(ErasableOrder { grant, n, key, item: row.try_get(3)?, held: row.try_get(4)? })
}

/// Replaces the buyer's id in orders, and moves the quotas.
fn erase_orders(ledger: &mut PostgresLedger<'_>, names: &ErasedNames) -> Done<u64> {
    let (old, new) = (names.old.as_str(), names.new.as_str());
    let limit = as_limit(ERASE_ROWS_MAX);
    let mut grants: Vec<i64> =
        ledger.all(erase::FIND_ORDERS, &[&old, &limit], |row| Ok(row.try_get(0)?))?;
    grants.sort_unstable();
    grants.dedup();
    if grants.is_empty() {
        return Ok(0);
    }
    let ids: Vec<GrantId> = grants.iter().map(|id| GrantId(id.cast_unsigned())).collect();
    ledger.lock_grants(&ids)?;
    let mut found = ledger.all(erase::FIND_ORDERS, &[&old, &limit], order)?;
    // If an order changed meanwhile, its grant may not be locked. The next transaction erases that
    // order.
    found.retain(|order| grants.binary_search(&order.grant).is_ok());
    let mut shares: BTreeMap<i64, i64> = BTreeMap::new();
    for order in &found {
        *shares.entry(order.item).or_default() += order.held;
    }
    let items: Vec<i64> = shares.keys().copied().collect();
    ledger.all(LOCK_QUOTAS, &[&old, &new, &items], |_| Ok(()))?;
    for order in &found {
        let key = names.key(&order.key);
        ledger.run(erase::RENAME_ORDER, &[&new, &key.as_str(), &order.grant, &order.n, &old])?;
    }
    for (item, held) in shares {
        ledger.run(erase::DECREASE_QUOTA, &[&held, &old, &item])?;
        ledger.run(erase::INCREASE_QUOTA, &[&new, &item, &held])?;
        ledger.run(erase::DELETE_QUOTA, &[&old, &item])?;
    }
    Ok(found.len() as u64)
}

/// Replaces the buyer's id in all other rows.
fn erase_other_rows(
    ledger: &PostgresLedger<'_>,
    names: &ErasedNames,
    found: &ErasableRows,
) -> Done<u64> {
    let (old, new) = (names.old.as_str(), names.new.as_str());
    let mut rows = ledger.run(erase::RENAME_BLOCK, &[&old, &ledger.now.0])?;
    for (grant, seq, key) in &found.feed {
        let key = key.as_deref().map(|key| names.key(key));
        rows += ledger.run(
            erase::RENAME_FEED,
            &[&new, &key.as_ref().map(RequestKey::as_str), grant, seq, &old],
        )?;
    }
    for (seq, key) in &found.dead_letter_tickets {
        rows +=
            ledger.run(erase::RENAME_DEAD_TICKET, &[&new, &names.key(key).as_str(), seq, &old])?;
    }
    for (item, n, key) in &found.waitlist {
        rows +=
            ledger.run(erase::RENAME_WAITLIST, &[&new, &names.key(key).as_str(), item, n, &old])?;
    }
    for seq in &found.events {
        rows += ledger.run(erase::RENAME_EVENT, &[&old, &new, seq])?;
    }
    for (sale, seed) in &found.visitors {
        let lot = DrawSeed::new(*seed).lot(new);
        rows += ledger.run(erase::RENAME_DRAWN, &[&new, &lot.bytes().as_slice(), sale, &old])?;
        rows += ledger.run(erase::RENAME_VISITOR, &[&new, sale, &old])?;
    }
    for (sale, hash) in &found.codes {
        rows += ledger.run(erase::RENAME_CODE, &[&new, sale, hash, &old])?;
    }
    Ok(rows)
}

impl Postgres {
    pub(crate) async fn traces(&self, buyer: &BuyerId) -> StoreResult<BuyerTraces> {
        let buyer = buyer.as_str();
        let counted = self
            .all(erase::TRACES, &[&buyer], |row| {
                let (sale, parse_text, is_order, rows): (String, String, i32, i64) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
                Ok((sale, parse_text, is_order != 0, rows.unsigned_abs()))
            })
            .await?;
        let mut traces = BuyerTraces::default();
        for (sale, parse_text, is_order, rows) in counted {
            let known = traces.count(sale, &parse_text, is_order, rows);
            known.ok_or_else(|| {
                self.shared().store_error(rows::bad_row("reason to hold a row back"))
            })?;
        }
        traces.blocked =
            self.one(erase::IS_BLOCKED, &[&buyer, &self.now().0], |_| Ok(())).await?.is_some();
        Ok(traces)
    }

    async fn find(&self, buyer: &str) -> StoreResult<ErasableRows> {
        let limit = as_limit(ERASE_ROWS_MAX);
        let seed = |row: &Row| {
            let seed: &[u8] = row.try_get(1)?;
            Ok((row.try_get(0)?, seed.try_into().map_err(|_| rows::bad_row("seed"))?))
        };
        let by: super::ledger::Params<'_> = &[&buyer, &limit];
        Ok(ErasableRows {
            feed: self
                .all(erase::FIND_FEED, by, |row| {
                    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
                })
                .await?,
            dead_letter_tickets: self
                .all(erase::FIND_DEAD_TICKETS, by, |row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .await?,
            waitlist: self
                .all(erase::FIND_WAITLIST, by, |row| {
                    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
                })
                .await?,
            events: self.all(erase::FIND_EVENTS, by, |row| Ok(row.try_get(0)?)).await?,
            visitors: self.all(erase::FIND_VISITORS, by, seed).await?,
            codes: self
                .all(erase::FIND_CODES, by, |row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .await?,
        })
    }

    pub(crate) async fn erase_batch(&self, buyer: &BuyerId) -> StoreResult<Erased> {
        let names = ErasedNames::for_buyer(buyer, &self.shared().id_key);
        let found = self.find(buyer.as_str()).await?;
        let erase = move |ledger: &mut PostgresLedger<'_>| {
            let erased = Erased {
                orders: erase_orders(ledger, &names)?,
                other: erase_other_rows(ledger, &names, &found)?,
            };
            if erased != Erased::default() {
                ledger.record(&actions::erased(&erased))?;
            }
            Ok(erased)
        };
        self.job(RetryUnknown::Allowed, erase).await
    }
}
