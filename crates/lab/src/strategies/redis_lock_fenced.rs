//! A Redis lock with a fencing token: the database refuses a holder whose lock has ended.
//!
//! How it works: each holder of the lock gets a number, which is higher than all earlier numbers.
//! One statement raises the number in the stock row to the holder's number and reads the stock. A
//! later statement writes the new stock, but only if the row still has this number. If another
//! holder has raised the number, the write changes nothing. One transaction contains the write and
//! the order.
//! Where it comes from: Martin Kleppmann, "How to do distributed locking" (2016).
//! When it holds: always. The number in the row decides; the lock only keeps buyers from disturbing
//! each other. The read must raise the number too. If only the write checked the number, the next
//! holder could read the stock before the earlier holder's late write. Then both holders would sell
//! the same units.
//! How it breaks: it does not oversell, but each purchase needs a lock and a transaction. If Redis
//! loses the counter of the numbers, holders are refused until the counter has passed the number in
//! the row.

use redis::Script;

use crate::backends::{Backends, execute, is_duplicate, query, query_one, retry};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-lock-fenced",
    family: Family::Redis,
    title: "Redis lock with fencing token",
    claim: Claim::Safe,
    source: "M. Kleppmann, How to do distributed locking (2016)",
    suits: "Rare, long work on one thing, where a late write must have no effect",
    text: include_str!("redis_lock_fenced.rs"),
    lua: &[include_str!("redis_lock_fenced.lua"), include_str!("redis_lock.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(RedisLockFenced(backends.clone()))),
};

/// How long the lock lasts, in milliseconds.
const LOCK_MS: u64 = 1_000;
const TAKE_LOCK: &str = include_str!("redis_lock_fenced.lua");
/// The lock's value is the holder's token, as in `redis_lock`. So the same script releases the
/// lock.
const RELEASE: &str = include_str!("redis_lock.lua");
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL,
    token bigint NOT NULL DEFAULT 0);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const PEEK: &str = "SELECT available FROM stock WHERE item = 1";
const READ: &str = "UPDATE stock SET token = $1 WHERE item = 1 AND token < $1 RETURNING available";
const WRITE: &str = "UPDATE stock SET available = $1 WHERE item = 1 AND token = $2";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct RedisLockFenced(Backends);

impl RedisLockFenced {
    /// Sells units to one buyer while this process has the lock. `token` is the lock's fencing
    /// token.
    async fn sell(&self, token: i64, buyer: i64, units: i64) -> anyhow::Result<Answer> {
        let mut db = self.0.db().await?;
        let Some(row) = query(&db, READ, &[&token]).await?.pop() else {
            self.0.journal.fenced();
            return Ok(Answer::Busy);
        };
        let available: i64 = row.get(0);
        self.0.journal.read_stock(available);
        if available < units {
            drop(db);
            let bought = self.0.has_order(buyer).await?;
            return Ok(if bought { Answer::Sold } else { Answer::SoldOut });
        }
        self.0.journal.simulate_payment_call().await;
        let transaction = db.transaction().await?;
        if execute(&transaction, WRITE, &[&(available - units), &token]).await? == 0 {
            self.0.journal.fenced();
            return Ok(Answer::Busy);
        }
        match execute(&transaction, ORDER, &[&buyer, &units]).await {
            Err(error) if is_duplicate(&error) => return Ok(Answer::Sold),
            written => written?,
        };
        transaction.commit().await?;
        self.0.journal.sold(buyer, available - units);
        Ok(Answer::Sold)
    }
}

impl Strategy for RedisLockFenced {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            // In this sale, sold units never come back. So if too few are left, the program answers
            // without the lock.
            if query_one(&self.0.db().await?, PEEK, &[]).await?.get::<_, i64>(0) < units {
                let bought = self.0.has_order(buyer).await?;
                return Ok(if bought { Answer::Sold } else { Answer::SoldOut });
            }
            let lock_ms = self.0.journal.lock_ms(LOCK_MS);
            let (script, release) = (Script::new(TAKE_LOCK), Script::new(RELEASE));
            let take = || async {
                let mut take = script.key("lock");
                let token: i64 = self.0.redis().script(take.key("token").arg(lock_ms)).await?;
                Ok((token > 0).then_some(token))
            };
            let Some(token) = retry(take).await? else { return Ok(Answer::Busy) };
            self.0.journal.locked(lock_ms);
            let answer = self.sell(token, buyer, units).await;
            let mut release = release.key("lock");
            self.0.journal.record_release_start();
            let released: i64 = self.0.redis().script(release.arg(token)).await?;
            self.0.journal.released(released == 1);
            answer
        })
    }
}
