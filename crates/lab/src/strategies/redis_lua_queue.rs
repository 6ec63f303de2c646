//! Script, list and consumer: Redis decides, and a consumer writes the orders into the database.
//!
//! How it works: the script books the units and pushes the order into a Redis list, and the buyer
//! gets the answer "sold". A consumer pops up to 100 orders at a time and inserts them into
//! PostgreSQL.
//! Where it comes from: most articles about flash sales, as "a Lua script and a queue".
//! When it holds: while Redis and the consumer work.
//! How it breaks: if the consumer dies, the orders that it popped but did not insert are lost,
//! although their buyers were promised units. A Redis that restarts loses the list, or sells units
//! again.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::{Script, cmd};

use crate::backends::{Backends, insert_orders};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-lua-queue",
    family: Family::Combined,
    title: "Redis script, list and consumer",
    claim: Claim::SafeWithoutFaults,
    source: "the design that most articles about flash sales describe: a Lua script and a queue",
    suits: "Very hot items, where a few lost orders are acceptable",
    text: include_str!("redis_lua_queue.rs"),
    lua: &[include_str!("redis_lua_queue.lua")],
    kind: StrategyKind::Worker(|backends| {
        Box::new(RedisLuaQueue { backends: backends.clone(), popped: AtomicU64::new(0) })
    }),
};

const BOOK: &str = include_str!("redis_lua_queue.lua");
/// The largest number of orders that one statement inserts.
const BATCH: usize = 100;
const TABLES: &str = "
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";

struct RedisLuaQueue {
    backends: Backends,
    /// How many orders this process has popped but not yet inserted.
    popped: AtomicU64,
}

impl Strategy for RedisLuaQueue {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.backends.create_tables(TABLES).await?;
            self.backends.redis().stock_item(stock).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let script = Script::new(BOOK);
            let mut call = script.key("item");
            let call = call.key("buyers").key("queue").arg(buyer).arg(units);
            let booked: i64 = self.backends.redis().script(call).await?;
            Ok(if booked > 0 { Answer::Sold } else { Answer::SoldOut })
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move {
            let orders = self.backends.redis().pop_orders("queue", BATCH).await?;
            self.popped.store(orders.len() as u64, Ordering::Relaxed);
            insert_orders(&self.backends.db().await?, &orders).await?;
            self.popped.store(0, Ordering::Relaxed);
            Ok(true)
        })
    }

    fn waiting(&self) -> Task<'_, u64> {
        Box::pin(async move {
            let queued: u64 = self.backends.redis().run(cmd("LLEN").arg("queue")).await?;
            Ok(queued + self.popped.load(Ordering::Relaxed))
        })
    }
}
