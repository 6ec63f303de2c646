//! One row for each unit: buyers take different rows, so they do not wait for each other.
//!
//! How it works: `SELECT … WHERE buyer IS NULL LIMIT n FOR UPDATE SKIP LOCKED` finds rows that no
//! other transaction has locked. The transaction writes the buyer into these rows, and inserts the
//! order.
//! Where it comes from: numbered seats of a theatre, and job queues in PostgreSQL since version
//! 9.5.
//! When it holds: always, because a row has one buyer.
//! How it breaks: it does not oversell. But if all remaining rows are locked, the buyer gets the
//! answer "try again", because these rows may become free again. A million units need a million
//! rows.

use crate::backends::{Backends, execute, is_duplicate, query, query_one};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "unit-rows",
    family: Family::Database,
    title: "One row for each unit",
    claim: Claim::Safe,
    source: "numbered seats; FOR UPDATE SKIP LOCKED of PostgreSQL 9.5",
    suits: "Numbered seats; some thousand units",
    text: include_str!("unit_rows.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(UnitRows(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE units (id bigint PRIMARY KEY, buyer bigint);
CREATE INDEX free_units ON units (id) WHERE buyer IS NULL;
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const FIND: &str =
    "SELECT id FROM units WHERE buyer IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED";
const TAKE: &str = "UPDATE units SET buyer = $1 WHERE id = ANY($2)";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";
const ENOUGH: &str =
    "SELECT count(*) >= $1 FROM (SELECT 1 FROM units WHERE buyer IS NULL LIMIT $1) AS free";

struct UnitRows(Backends);

impl Strategy for UnitRows {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.0.create_tables(TABLES).await?;
            let rows = "INSERT INTO units (id) SELECT generate_series(1, $1::bigint)";
            execute(&self.0.db().await?, rows, &[&stock]).await?;
            Ok(())
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let mut db = self.0.db().await?;
            let transaction = db.transaction().await?;
            let found = query(&transaction, FIND, &[&units]).await?;
            if (found.len() as i64) < units {
                transaction.rollback().await?;
                let is_enough: bool = query_one(&db, ENOUGH, &[&units]).await?.get(0);
                drop(db);
                return Ok(match (self.0.has_order(buyer).await?, is_enough) {
                    (true, _) => Answer::Sold,
                    // Enough rows are free, but other transactions have locked them. If such a
                    // transaction rolls back, its rows can be taken.
                    (false, true) => Answer::Busy,
                    (false, false) => Answer::SoldOut,
                });
            }
            let ids: Vec<i64> = found.iter().map(|row| row.get(0)).collect();
            match execute(&transaction, ORDER, &[&buyer, &units]).await {
                Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
                written => written?,
            };
            execute(&transaction, TAKE, &[&buyer, &ids]).await?;
            transaction.commit().await?;
            Ok(Answer::Sold)
        })
    }
}
