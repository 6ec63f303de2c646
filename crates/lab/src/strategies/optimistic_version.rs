//! An optimistic version: the program writes only if no other buyer has written since the program's
//! read. Otherwise the program tries again.
//!
//! How it works: the program reads the stock and its version `v`. Then `UPDATE … WHERE version = v`
//! takes the units and raises the version by one. If no row changed, another buyer was faster, and
//! the program reads again, at most a few times.
//! Where it comes from: optimistic concurrency control (Kung and Robinson, 1981); `@Version` of
//! many libraries.
//! When it holds: always.
//! How it breaks: it does not oversell. But with many buyers at the same time, nearly all attempts
//! fail. After the last attempt, the buyer gets the answer "try again" although units are left.

use crate::backends::{Backends, execute, is_duplicate, query_one};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "optimistic-version",
    family: Family::Database,
    title: "Optimistic version",
    claim: Claim::Safe,
    source: "optimistic concurrency control; the version column of many libraries",
    suits: "Few buyers at a time for each of many items",
    text: include_str!("optimistic_version.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(OptimisticVersion(backends.clone()))),
};

/// How many times one request tries to write. After the last attempt, the buyer gets the answer
/// "try again".
const ATTEMPTS: u32 = 5;
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL,
    version bigint NOT NULL DEFAULT 0);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const READ: &str = "SELECT available, version FROM stock WHERE item = 1";
const TAKE: &str = "UPDATE stock SET available = available - $1, version = version + 1
    WHERE item = 1 AND version = $2";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct OptimisticVersion(Backends);

impl Strategy for OptimisticVersion {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let mut db = self.0.db().await?;
            for _ in 0..ATTEMPTS {
                let stock = query_one(&db, READ, &[]).await?;
                let (available, version): (i64, i64) = (stock.get(0), stock.get(1));
                if available < units {
                    drop(db);
                    let bought = self.0.has_order(buyer).await?;
                    return Ok(if bought { Answer::Sold } else { Answer::SoldOut });
                }
                let transaction = db.transaction().await?;
                if execute(&transaction, TAKE, &[&units, &version]).await? == 0 {
                    transaction.rollback().await?;
                    continue;
                }
                match execute(&transaction, ORDER, &[&buyer, &units]).await {
                    Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
                    written => written?,
                };
                transaction.commit().await?;
                return Ok(Answer::Sold);
            }
            Ok(Answer::Busy)
        })
    }
}
