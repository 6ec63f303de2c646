//! A database lock with a cache in front of it: the row decides, and the cache only refuses.
//!
//! How it works: the cache in Redis says how many units are left. If too few are left, the cache
//! refuses the buyer without a lock. Before the refusal, one read in the database checks that the
//! buyer has no order yet. If enough units are left, a transaction locks the row, deducts the units
//! and writes the order. After the commit, the cache gets the new number.
//! Where it comes from: the cache-aside pattern; a common first step when the database is too slow.
//! When it holds: always. The cache can refuse a buyer, but it never sells. In this sale, the stock
//! only falls, so an outdated number in the cache is too high. If the number is
//! too high, the buyer passes the cache, and the database decides.
//! How it breaks: it does not oversell. But if the stock can rise again, two updates of the cache
//! can arrive in the wrong sequence. Then the cache refuses buyers although units are left.

use redis::cmd;

use crate::backends::{Backends, execute, is_duplicate, query_one};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "lock-and-cache",
    family: Family::Combined,
    title: "Row lock with a cache",
    claim: Claim::Safe,
    source: "cache-aside in front of SELECT … FOR UPDATE",
    suits: "Many visitors and few buyers; the cache refuses most visitors, so they take no lock",
    text: include_str!("lock_and_cache.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(LockAndCache(backends.clone()))),
};

const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const LOCK: &str = "SELECT available FROM stock WHERE item = 1 FOR UPDATE";
const TAKE: &str = "UPDATE stock SET available = $1 WHERE item = 1";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct LockAndCache(Backends);

impl Strategy for LockAndCache {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.0.prepare_stock(TABLES, stock).await?;
            self.0.redis().run(cmd("SET").arg("left").arg(stock)).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let cached = self.0.redis().run::<Option<i64>>(cmd("GET").arg("left")).await;
            if cached.is_ok_and(|left| left.is_some_and(|left| left < units)) {
                // This request may be a repetition after a purchase. Only the database knows this
                // for certain.
                let bought = self.0.has_order(buyer).await?;
                return Ok(if bought { Answer::Sold } else { Answer::SoldOut });
            }
            let mut db = self.0.db().await?;
            let transaction = db.transaction().await?;
            let available: i64 = query_one(&transaction, LOCK, &[]).await?.get(0);
            match execute(&transaction, ORDER, &[&buyer, &units]).await {
                Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
                written => written?,
            };
            if available < units {
                return Ok(Answer::SoldOut);
            }
            execute(&transaction, TAKE, &[&(available - units)]).await?;
            transaction.commit().await?;
            drop(db);
            let mut cache = cmd("SET");
            // If this write fails, the cached number stays too high. The cache then refuses fewer
            // buyers, and the database decides their requests.
            let _ = self.0.redis().run::<()>(cache.arg("left").arg(available - units)).await;
            Ok(Answer::Sold)
        })
    }
}
