//! The combination that many articles recommend at their end: cache, lock, version check and queue.
//!
//! How it works: if a cached number in Redis says that no units are left, the buyer is refused. A
//! Redis lock keeps most buyers from disturbing each other. Under the lock, one transaction updates
//! the stock row with a version check and writes a row for the intended order. A queue worker turns
//! these rows into orders.
//! Where it comes from: the last section of many flash-sale articles.
//! When it holds: always. The version check decides, so a failed lock or cache breaks no promise.
//! How it breaks: it does not oversell, but it is slow and has many parts: every purchase needs the
//! lock, the transaction and the queue.

use deadpool_postgres::Object;
use redis::{Script, cmd};

use crate::backends::{Backends, execute, is_duplicate, query_one, retry};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "combined",
    family: Family::Combined,
    title: "Cache, lock, version and queue",
    claim: Claim::Safe,
    source: "the strategy that many articles recommend at their end",
    suits: "Few purchases and many visitors, in a shop that needs all these parts anyway",
    text: include_str!("combined.rs"),
    lua: &[include_str!("redis_lock.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(Combined(backends.clone()))),
};

/// How long the lock lasts, in milliseconds.
const LOCK_MS: u64 = 1_000;
const RELEASE: &str = include_str!("redis_lock.lua");
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL,
    version bigint NOT NULL DEFAULT 0);
CREATE TABLE intents (buyer bigint PRIMARY KEY, units bigint NOT NULL,
    ordered boolean NOT NULL DEFAULT false);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const READ: &str = "SELECT available, version FROM stock WHERE item = 1";
const TAKE: &str = "UPDATE stock SET available = available - $1, version = version + 1
    WHERE item = 1 AND version = $2";
const INTEND: &str = "INSERT INTO intents (buyer, units) VALUES ($1, $2)";
const INTENDED: &str = "SELECT EXISTS (SELECT 1 FROM intents WHERE buyer = $1)";
const ORDER: &str = "
WITH batch AS (UPDATE intents SET ordered = true WHERE NOT ordered RETURNING buyer, units)
INSERT INTO orders (buyer, units) SELECT buyer, units FROM batch";

struct Combined(Backends);

impl Combined {
    /// Runs the transaction in the database. This transaction decides whether the buyer gets the
    /// units; the cache and the lock do not decide it.
    async fn sell(&self, buyer: i64, units: i64) -> anyhow::Result<Answer> {
        let mut db = self.0.db().await?;
        let stock = query_one(&db, READ, &[]).await?;
        let (available, version): (i64, i64) = (stock.get(0), stock.get(1));
        if available < units {
            return sold_out_unless_intended(&db, buyer).await;
        }
        let transaction = db.transaction().await?;
        match execute(&transaction, INTEND, &[&buyer, &units]).await {
            Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
            written => written?,
        };
        if execute(&transaction, TAKE, &[&units, &version]).await? == 0 {
            return Ok(Answer::Busy);
        }
        transaction.commit().await?;
        let mut cache = cmd("SET");
        // If this write fails, the cached number stays too high. This does no harm, because the
        // database decides.
        let _ = self.0.redis().run::<()>(cache.arg("left").arg(available - units)).await;
        Ok(Answer::Sold)
    }
}

async fn sold_out_unless_intended(db: &Object, buyer: i64) -> anyhow::Result<Answer> {
    let intended: bool = query_one(db, INTENDED, &[&buyer]).await?.get(0);
    Ok(if intended { Answer::Sold } else { Answer::SoldOut })
}

impl Strategy for Combined {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.0.prepare_stock(TABLES, stock).await?;
            self.0.redis().run(cmd("SET").arg("left").arg(stock)).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let cached: Option<i64> = self.0.redis().run(cmd("GET").arg("left")).await?;
            if cached.is_some_and(|left| left < units) {
                return sold_out_unless_intended(&self.0.db().await?, buyer).await;
            }
            let token = format!("{:032x}", rand::random::<u128>());
            let mut lock = cmd("SET");
            lock.arg("lock").arg(&token).arg("NX").arg("PX").arg(LOCK_MS);
            if retry(|| self.0.redis().run::<Option<String>>(&lock)).await?.is_none() {
                return Ok(Answer::Busy);
            }
            let answer = self.sell(buyer, units).await;
            let script = Script::new(RELEASE);
            let mut release = script.key("lock");
            self.0.redis().script::<i64>(release.arg(&token)).await?;
            answer
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move { Ok(execute(&self.0.db().await?, ORDER, &[]).await? > 0) })
    }

    fn waiting(&self) -> Task<'_, u64> {
        Box::pin(self.0.count("SELECT count(*) FROM intents WHERE NOT ordered"))
    }
}
