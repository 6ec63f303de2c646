//! A staging table: a request only inserts a row, and one worker decides many rows at a time.
//!
//! How it works: each request inserts a row into `staging`. The inserts do not disturb each other.
//! One worker reads undecided rows in order of arrival and decides them in memory. It writes stock,
//! orders and decisions in one transaction. The buyer polls for the decision.
//! Where it comes from: batch posting in accounting; "temporary table, then merge" articles.
//! When it holds: always, because one worker decides and each buyer has one row.
//! How it breaks: it does not oversell. But each buyer waits for the next batch, and no buyer gets
//! an answer while the worker is down. A second worker would be safe too, because each batch locks
//! the stock row.

use crate::backends::{Backends, execute, query, query_one, retry};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "staging-table",
    family: Family::Queue,
    title: "Staging table, one worker",
    claim: Claim::Safe,
    source: "batch posting; temporary table and merge",
    suits: "A steady load, if buyers can wait a moment for the answer",
    text: include_str!("staging_table.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(StagingTable(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);
CREATE TABLE staging (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE,
    units bigint NOT NULL, sold boolean);
CREATE INDEX undecided ON staging (id) WHERE sold IS NULL;";
const REQUEST: &str =
    "INSERT INTO staging (buyer, units) VALUES ($1, $2) ON CONFLICT (buyer) DO NOTHING";
const DECISION: &str = "SELECT sold FROM staging WHERE buyer = $1";
const LOCK: &str = "SELECT available FROM stock WHERE item = 1 FOR UPDATE";
const UNDECIDED: &str =
    "SELECT id, buyer, units FROM staging WHERE sold IS NULL ORDER BY id LIMIT 500";
const DECIDE: &str = "UPDATE staging SET sold = d.sold
    FROM unnest($1::bigint[], $2::boolean[]) AS d (id, sold) WHERE staging.id = d.id";
const ORDERS: &str = "INSERT INTO orders (buyer, units)
    SELECT buyer, units FROM staging WHERE id = ANY($1) AND sold ORDER BY id";
const TAKE: &str = "UPDATE stock SET available = $1 WHERE item = 1";

struct StagingTable(Backends);

impl StagingTable {
    /// Decides one batch of requests. Returns the number of requests in the batch.
    async fn apply_batch(&self) -> anyhow::Result<usize> {
        let mut db = self.0.db().await?;
        let transaction = db.transaction().await?;
        let mut available: i64 = query_one(&transaction, LOCK, &[]).await?.get(0);
        let (mut ids, mut decisions) = (Vec::new(), Vec::new());
        for request in query(&transaction, UNDECIDED, &[]).await? {
            let units: i64 = request.get(2);
            let sold = units <= available;
            available -= if sold { units } else { 0 };
            ids.push(request.get::<_, i64>(0));
            decisions.push(sold);
        }
        if !ids.is_empty() {
            execute(&transaction, DECIDE, &[&ids, &decisions]).await?;
            execute(&transaction, ORDERS, &[&ids]).await?;
            execute(&transaction, TAKE, &[&available]).await?;
        }
        transaction.commit().await?;
        Ok(ids.len())
    }
}

impl Strategy for StagingTable {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            execute(&self.0.db().await?, REQUEST, &[&buyer, &units]).await?;
            let decision = || async {
                let row = query_one(&self.0.db().await?, DECISION, &[&buyer]).await?;
                Ok(row.get::<_, Option<bool>>(0))
            };
            Ok(match retry(decision).await? {
                Some(true) => Answer::Sold,
                Some(false) => Answer::SoldOut,
                None => Answer::Busy,
            })
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move { Ok(self.apply_batch().await? > 0) })
    }
}
