//! A Redis lock with SETNX and EXPIRE, released by DEL: the lock that fails in `lab incident`.
//!
//! How it works: `SETNX lock 1` and then `EXPIRE lock` take the lock. The program reads the stock,
//! works, and writes the new stock and the order. Then `DEL lock` releases the lock. The writes
//! check nothing, because the program relies on the lock.
//! Where it comes from: the beginning of many tutorials on distributed locks.
//! When it holds: while no work takes longer than the lock's time and no process dies.
//! How it breaks: if the work takes longer than the lock's time, the next holder starts before the
//! work ends. Then the late holder deletes the next holder's lock, and a third holder starts. From
//! then on, every release deletes another holder's lock. A process that dies between `SETNX` and
//! `EXPIRE` leaves a lock that never ends.

use redis::cmd;

use crate::backends::{Backends, execute, query_one, retry};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-lock-unsafe",
    family: Family::Redis,
    title: "Redis lock: SETNX + EXPIRE",
    claim: Claim::Unsafe,
    source: "early tutorials on distributed locks",
    suits: "Nothing: the lock can end before the work is done",
    text: include_str!("redis_lock_unsafe.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(RedisLockUnsafe(backends.clone()))),
};

/// How long the lock lasts, in milliseconds.
const LOCK_MS: u64 = 1_000;
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL, units bigint NOT NULL);";
const READ: &str = "SELECT available FROM stock WHERE item = 1";
const WRITE: &str = "UPDATE stock SET available = $1 WHERE item = 1";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct RedisLockUnsafe(Backends);

impl RedisLockUnsafe {
    /// Does the work under the lock.
    async fn sell(&self, buyer: i64, units: i64) -> anyhow::Result<Answer> {
        let db = self.0.db().await?;
        let available: i64 = query_one(&db, READ, &[]).await?.get(0);
        self.0.journal.read_stock(available);
        if available < units {
            return Ok(Answer::SoldOut);
        }
        self.0.journal.simulate_payment_call().await;
        execute(&db, WRITE, &[&(available - units)]).await?;
        execute(&db, ORDER, &[&buyer, &units]).await?;
        self.0.journal.sold(buyer, available - units);
        Ok(Answer::Sold)
    }
}

impl Strategy for RedisLockUnsafe {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            // In this sale, sold units never come back. So if too few are left, the program answers
            // without the lock.
            if query_one(&self.0.db().await?, READ, &[]).await?.get::<_, i64>(0) < units {
                return Ok(Answer::SoldOut);
            }
            let take = || async {
                let taken: bool = self.0.redis().run(cmd("SETNX").arg("lock").arg(1)).await?;
                Ok(taken.then_some(()))
            };
            if retry(take).await?.is_none() {
                return Ok(Answer::Busy);
            }
            let lock_ms = self.0.journal.lock_ms(LOCK_MS);
            self.0.redis().run::<()>(cmd("PEXPIRE").arg("lock").arg(lock_ms)).await?;
            self.0.journal.locked(lock_ms);
            let answer = self.sell(buyer, units).await;
            self.0.journal.record_lock_deletion();
            self.0.redis().run::<()>(cmd("DEL").arg("lock")).await?;
            answer
        })
    }
}
