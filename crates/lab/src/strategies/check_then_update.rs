//! Check, then update: the program reads the stock, decides, and then takes the units.
//!
//! How it works: `SELECT available` reads the stock. If enough units are left, `UPDATE … SET
//! available = available - n` takes the units, and the order is written. The check and the update
//! are two statements.
//! Where it comes from: the usual way to write an `if` in a service. Even inside a transaction,
//! PostgreSQL's default isolation level lets another buyer read the stock between the two
//! statements.
//! When it holds: with one buyer at a time.
//! How it breaks: two buyers read the same last unit, and both take it. With more buyers at the
//! same time, more units are sold twice.

use crate::backends::{Backends, execute, query_one};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "check-then-update",
    family: Family::Database,
    title: "Check, then update",
    claim: Claim::Unsafe,
    source: "the usual service code; known as a lost update or check-then-act race",
    suits: "Nothing: two buyers can read the same stock",
    text: include_str!("check_then_update.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(CheckThenUpdate(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL, units bigint NOT NULL);";
const READ: &str = "SELECT available FROM stock WHERE item = 1";
const TAKE: &str = "UPDATE stock SET available = available - $1 WHERE item = 1";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct CheckThenUpdate(Backends);

impl Strategy for CheckThenUpdate {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let mut db = self.0.db().await?;
            let transaction = db.transaction().await?;
            let available: i64 = query_one(&transaction, READ, &[]).await?.get(0);
            if available < units {
                return Ok(Answer::SoldOut);
            }
            execute(&transaction, TAKE, &[&units]).await?;
            execute(&transaction, ORDER, &[&buyer, &units]).await?;
            transaction.commit().await?;
            Ok(Answer::Sold)
        })
    }
}
