//! Script, list and consumer: Redis decides, a consumer writes the orders into the database.
//!
//! How it works: the script books and pushes the order into a Redis list, and the buyer gets the
//! answer "sold". A consumer pops up to 100 orders at a time and inserts them into PostgreSQL.
//! Where it comes from: the usual flash-sale article ("Lua plus queue").
//! When it holds: while Redis and the consumer work.
//! How it breaks: if the consumer dies, orders that it popped and did not insert are lost, although
//! their buyers were promised units. A Redis that restarts loses the list, or sells units again.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::{Script, cmd, pipe};

use crate::backends::{Backends, execute, parse_order};
use crate::contract::{
    Answer, Claim, Family, Order, Step, Strategy, StrategyEntry, StrategyInfo, StrategySource,
};

/// The entry for the list and the report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    info: StrategyInfo {
        id: "redis-lua-queue",
        family: Family::Combined,
        title: "Redis script, list and consumer",
        claim: Claim::SafeWithoutFaults,
        source: "the usual flash-sale article: Lua plus queue",
        suits: "Very hot items, where a few lost orders are acceptable",
    },
    text: include_str!("redis_lua_queue.rs"),
    lua: Some(include_str!("redis_lua_queue.lua")),
    make: StrategySource::Strategy(|backends| {
        Box::new(RedisLuaQueue { backends: backends.clone(), popped: AtomicU64::new(0) })
    }),
};

const BOOK: &str = include_str!("redis_lua_queue.lua");
/// The number of orders that one statement inserts.
const BATCH: usize = 100;
const TABLES: &str = "
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const ORDERS: &str = "INSERT INTO orders (buyer, units)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT (buyer) DO NOTHING";

struct RedisLuaQueue {
    backends: Backends,
    /// Orders that this process popped and has not inserted yet.
    popped: AtomicU64,
}

impl Strategy for RedisLuaQueue {
    fn prepare(&self, stock: i64) -> Step<'_, ()> {
        Box::pin(async move {
            self.backends.create_tables(TABLES).await?;
            let mut commands = pipe();
            commands.cmd("FLUSHALL").ignore();
            commands.cmd("HSET").arg("item").arg("Total").arg(stock).arg("Booked").arg(0).ignore();
            self.backends.redis().run_all(&commands).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Step<'_, Answer> {
        Box::pin(async move {
            let script = Script::new(BOOK);
            let mut call = script.key("item");
            let call = call.key("buyers").key("queue").arg(buyer).arg(units);
            let booked: i64 = self.backends.redis().script(call).await?;
            Ok(if booked > 0 { Answer::Sold } else { Answer::SoldOut })
        })
    }

    fn background(&self, leads: bool) -> Step<'_, ()> {
        Box::pin(async move {
            let mut own = self.backends.redis().blocking().await?;
            if !leads {
                return std::future::pending().await;
            }
            loop {
                let (_, first): (String, String) =
                    cmd("BRPOP").arg("queue").arg(0).query_async(&mut own).await?;
                self.popped.store(1, Ordering::Relaxed);
                let more: Option<Vec<String>> =
                    cmd("RPOP").arg("queue").arg(BATCH - 1).query_async(&mut own).await?;
                let lines = std::iter::once(first).chain(more.unwrap_or_default());
                let orders: anyhow::Result<Vec<Order>> =
                    lines.map(|line| parse_order(&line)).collect();
                let (buyers, units): (Vec<i64>, Vec<i64>) =
                    orders?.iter().map(|order| (order.buyer, order.units)).unzip();
                execute(&self.backends.db().await?, ORDERS, &[&buyers, &units]).await?;
                self.popped.store(0, Ordering::Relaxed);
            }
        })
    }

    fn waiting(&self) -> Step<'_, u64> {
        Box::pin(async move {
            let queued: u64 = self.backends.redis().run(cmd("LLEN").arg("queue")).await?;
            Ok(queued + self.popped.load(Ordering::Relaxed))
        })
    }

    fn orders(&self) -> Step<'_, Vec<Order>> {
        Box::pin(self.backends.order_rows())
    }
}
