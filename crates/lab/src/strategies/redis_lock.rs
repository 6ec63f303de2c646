//! A correct Redis lock: SET NX PX takes the lock for one owner, and a script releases the lock.
//!
//! How it works: `SET lock <token> NX PX` takes the lock and sets its time in one command. A script
//! deletes the lock only if the lock still has this token. The stock is read and written under the
//! lock.
//! Where it comes from: the Redis documentation, "Distributed Locks with Redis".
//! When it holds: while no work takes longer than the lock's time. Even after longer work, no
//! holder releases another holder's lock.
//! How it breaks: the lock can still end during the work, because of a slow database, a paused
//! process or a slow network. Then two holders write the same stock. A timer that renews the lock
//! makes this rarer, but a paused process renews nothing. A Redis that restarts loses the lock
//! while its holder still works.

use redis::{Script, cmd};

use crate::backends::{Backends, execute, query_one, retry};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-lock",
    family: Family::Redis,
    title: "Redis lock: owner and script",
    claim: Claim::SafeWithoutFaults,
    source: "the Redis documentation: Distributed Locks with Redis",
    suits: "Rare, long work on one thing, where a second run does no harm",
    text: include_str!("redis_lock.rs"),
    lua: &[include_str!("redis_lock.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(RedisLock(backends.clone()))),
};

/// How long the lock lasts, in milliseconds.
const LOCK_MS: u64 = 1_000;
/// The script that releases the lock if the lock still has this holder's token.
const RELEASE: &str = include_str!("redis_lock.lua");
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const READ: &str = "SELECT available FROM stock WHERE item = 1";
const WRITE: &str = "UPDATE stock SET available = $1 WHERE item = 1";
const ORDER: &str = "INSERT INTO orders (buyer, units) VALUES ($1, $2)";

struct RedisLock(Backends);

impl RedisLock {
    /// Does the work under the lock.
    async fn sell(&self, buyer: i64, units: i64) -> anyhow::Result<Answer> {
        if self.0.has_order(buyer).await? {
            return Ok(Answer::Sold);
        }
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

impl Strategy for RedisLock {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            // In this sale, sold units never come back. So if too few are left, the program answers
            // without the lock.
            if query_one(&self.0.db().await?, READ, &[]).await?.get::<_, i64>(0) < units {
                let bought = self.0.has_order(buyer).await?;
                return Ok(if bought { Answer::Sold } else { Answer::SoldOut });
            }
            let token = format!("{:032x}", rand::random::<u128>());
            let lock_ms = self.0.journal.lock_ms(LOCK_MS);
            let mut take = cmd("SET");
            take.arg("lock").arg(&token).arg("NX").arg("PX").arg(lock_ms);
            if retry(|| self.0.redis().run::<Option<String>>(&take)).await?.is_none() {
                return Ok(Answer::Busy);
            }
            self.0.journal.locked(lock_ms);
            let renewal = self.0.journal.renewal(self.0.redis(), "lock", &token, lock_ms);
            let answer = self.sell(buyer, units).await;
            drop(renewal);
            let script = Script::new(RELEASE);
            let mut release = script.key("lock");
            self.0.journal.record_release_start();
            let released: i64 = self.0.redis().script(release.arg(&token)).await?;
            self.0.journal.released(released == 1);
            answer
        })
    }
}
