//! A store in memory, for tests that compare its rows with a [`Model`].
use rusqlite::{Connection, params};

use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::{Item, ItemId, Millis, Phase, Stock};

use crate::contract::StoreError;
use crate::contract::StoreResult;
use crate::dump::TABLES;
use crate::failure::Failure;
use crate::limits::STATEMENTS_MAX;
use crate::sql::to_i64;

use super::ledger::SqliteLedger;
use super::open;
use super::statement_cache::Statements;
use super::txn::Txn;

/// A ledger for the functions of `doorbuster-core`, over a SQLite database in memory. The tables,
/// statements and row caches are the same as for a database on disk.
pub struct InMemory(Connection);

impl InMemory {
    /// Returns an empty store.
    pub fn open() -> StoreResult<Self> {
        let mut conn = Connection::open_in_memory().map_err(Failure::from)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        open::migrate(&mut conn).map_err(|e| StoreError::Unexpected(e.to_string()))?;
        Ok(Self(conn))
    }

    /// Inserts an item with its number and its counts, and a sale that has only this item.
    pub fn insert_item(&mut self, item: &Item) -> StoreResult<()> {
        let total = match item.total {
            Stock::Counted(units) => Some(to_i64(units)),
            Stock::Unlimited => None,
        };
        let mut sql = Statements::new(&self.0);
        sql.run(
            "INSERT INTO sale (id, title, phase, front_door, version, created_at) VALUES (?1, '', \
             'open', '{}', 1, 0)",
            params![item.id.0.to_string()],
        )?;
        sql.run(
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

    /// Sets the price of one unit of the item; the default is 0 CNY.
    pub fn set_price(&mut self, item: ItemId, price: &Money) -> StoreResult<()> {
        let text = "UPDATE item SET price_minor = ?2, currency = ?3 WHERE id = ?1";
        Statements::new(&self.0).run(text, params![item.0, price.minor, price.currency])?;
        Ok(())
    }

    /// Sets the phase of the item's sale; the default is open. The item's grants do not change.
    pub fn set_phase(&mut self, item: ItemId, phase: Phase) -> StoreResult<()> {
        let text = "UPDATE sale SET phase = ?2 WHERE id = ?1";
        Statements::new(&self.0).run(text, params![item.0.to_string(), phase.as_str()])?;
        Ok(())
    }

    /// Runs `work` as one transaction at `now`. A failure undoes the whole transaction.
    pub fn run<T>(
        &mut self,
        now: Millis,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Result<T, Failure>,
    ) -> StoreResult<T> {
        let mut txn = Txn::new(Statements::new(&self.0));
        txn.begin()?;
        txn.set_now(now);
        let outcome = txn.attempt(work);
        txn.commit()?;
        Ok(outcome?)
    }

    /// Returns every row of the tables that `doorbuster-core` uses.
    pub fn dump(&mut self) -> StoreResult<Model> {
        let mut sql = Statements::new(&self.0);
        let mut model = Model::default();
        for table in TABLES {
            sql.all(table.sql, [], |row| (table.add)(&mut model, row))?;
        }
        Ok(model)
    }
}
