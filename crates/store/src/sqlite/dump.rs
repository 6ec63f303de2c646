//! Reads whole tables into a [`Model`]. Tests compare the result with a `Model` that the functions
//! of `doorbuster-core` changed in memory.
use rusqlite::{Connection, params};

use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::{Item, ItemId, Millis, Phase, Stock};

use crate::contract::StoreError;
use crate::contract::StoreResult;
use crate::dump::TABLES;
use crate::failure::{Done, Failure};
use crate::limits::STATEMENTS_MAX;
use crate::sql::to_i64;

use super::ledger::SqliteLedger;
use super::open;
use super::read::Reader;
use super::statement_cache::Statements;
use super::txn::Txn;

/// Reads every row.
fn dump(sql: &mut Reader<'_>) -> Done<Model> {
    let mut model = Model::default();
    for table in TABLES {
        sql.all(table.sql, [], |row| (table.add)(&mut model, row))?;
    }
    Ok(model)
}

/// A store in memory, without threads.
pub struct Memory(Connection);

impl Memory {
    pub(crate) fn open() -> StoreResult<Self> {
        let mut conn = Connection::open_in_memory().map_err(Failure::from)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        open::migrate(&mut conn).map_err(|e| StoreError::Unexpected(e.to_string()))?;
        Ok(Self(conn))
    }

    pub(crate) fn insert_item(&mut self, item: &Item) -> Done<()> {
        let total = match item.total {
            Stock::Counted(units) => Some(to_i64(units)),
            Stock::Unlimited => None,
        };
        self.0.execute(
            "INSERT INTO sale (id, title, phase, front_door, version, created_at) VALUES (?1, '', \
             'open', '{}', 1, 0)",
            params![item.id.0.to_string()],
        )?;
        self.0.execute(
            "INSERT INTO item (id, sale_id, name, title, description, price_minor, currency,
             limit_per_buyer, hold_ms, initial_total,
                               total, pool, ended, paid)
             VALUES (?1, ?1, ?1, '', '', 0, 'CNY', ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
            params![
                item.id.0,
                item.limit,
                item.hold_ms,
                total,
                to_i64(item.pool),
                to_i64(item.ended),
                to_i64(item.paid)
            ],
        )?;
        Ok(())
    }

    pub(crate) fn set_price(&mut self, item: ItemId, price: &Money) -> Done<()> {
        let text = "UPDATE item SET price_minor = ?2, currency = ?3 WHERE id = ?1";
        self.0.execute(text, params![item.0, price.minor, price.currency])?;
        Ok(())
    }

    pub(crate) fn set_phase(&mut self, item: ItemId, phase: Phase) -> Done<()> {
        self.0.execute(
            "UPDATE sale SET phase = ?2 WHERE id = ?1",
            params![item.0.to_string(), phase.as_str()],
        )?;
        Ok(())
    }

    pub(crate) fn run<T>(
        &mut self,
        now: Millis,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Done<T>,
    ) -> Done<T> {
        let mut txn = Txn::new(Statements::new(&self.0));
        txn.begin()?;
        txn.set_now(now);
        let outcome = txn.attempt(work);
        txn.commit()?;
        outcome
    }

    pub(crate) fn dump(&mut self) -> Done<Model> {
        dump(&mut Statements::new(&self.0))
    }
}
