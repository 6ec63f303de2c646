//! A pessimistic row lock: `SELECT … FOR UPDATE` lets one buyer at a time read the stock.
//!
//! How it works: the transaction reads and locks the stock row in one statement, decides, updates
//! the row, writes the order and commits. Other buyers wait at the `SELECT`.
//! Where it comes from: database textbooks; `PESSIMISTIC_WRITE` of many libraries.
//! When it holds: always. The lock ends with the transaction, even when the program dies.
//! How it breaks: it does not oversell, but it is slow: every buyer, even one who gets no units,
//! waits for all earlier buyers. Each buyer who gets units needs four round trips and a commit.

use crate::backends::{Backends, execute, is_duplicate, query_one};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "pessimistic-lock",
    family: Family::Database,
    title: "Pessimistic row lock",
    claim: Claim::Safe,
    source: "database textbooks: SELECT … FOR UPDATE",
    suits: "Few buyers at a time; several rows that must change together",
    text: include_str!("pessimistic_lock.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(PessimisticLock(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const LOCK: &str = "SELECT available FROM stock WHERE item = 1 FOR UPDATE";
const TAKE: &str = "UPDATE stock SET available = available - $1 WHERE item = 1";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct PessimisticLock(Backends);

impl Strategy for PessimisticLock {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let mut db = self.0.db().await?;
            let transaction = db.transaction().await?;
            let available: i64 = query_one(&transaction, LOCK, &[]).await?.get(0);
            if available < units {
                transaction.rollback().await?;
                drop(db);
                let bought = self.0.has_order(buyer).await?;
                return Ok(if bought { Answer::Sold } else { Answer::SoldOut });
            }
            // The order is written before the stock. If the buyer already has an order, this write
            // fails, and no units are taken.
            match execute(&transaction, ORDER, &[&buyer, &units]).await {
                Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
                written => written?,
            };
            execute(&transaction, TAKE, &[&units]).await?;
            transaction.commit().await?;
            Ok(Answer::Sold)
        })
    }
}
