//! Redis, get then set: the program reads the counter, decides, and writes the new value.
//!
//! How it works: `GET stock` reads the stock. If enough units are left, `SET stock` writes the
//! value minus the units, and the order goes into a list.
//! Where it comes from: shops whose cache became the place of the stock; code that uses Redis like
//! a variable.
//! When it holds: with one buyer at a time.
//! How it breaks: Redis runs one command at a time, but this strategy needs two commands. Two
//! buyers can both read 7 units and both write 6. Redis serves more buyers per second than a
//! database, so more of them read the same value between one buyer's two commands.

use redis::{cmd, pipe};

use crate::backends::Backends;
use crate::contract::{Answer, Claim, Family, Order, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-check-then-set",
    family: Family::Redis,
    title: "Redis: get, then set",
    claim: Claim::Unsafe,
    source: "a cache in the place of the stock",
    suits: "Nothing: check and set are two steps",
    text: include_str!("redis_check_then_set.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(RedisCheckThenSet(backends.clone()))),
};

struct RedisCheckThenSet(Backends);

impl Strategy for RedisCheckThenSet {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move { self.0.redis().run(cmd("SET").arg("stock").arg(stock)).await })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let redis = self.0.redis();
            let available: Option<i64> = redis.run(cmd("GET").arg("stock")).await?;
            let available = available.unwrap_or(0);
            if available < units {
                return Ok(Answer::SoldOut);
            }
            let mut sell = pipe();
            sell.cmd("SET").arg("stock").arg(available - units).ignore();
            sell.cmd("RPUSH").arg("orders").arg(format!("{buyer}:{units}")).ignore();
            redis.run_all::<()>(&sell).await?;
            Ok(Answer::Sold)
        })
    }

    fn orders<'a>(&'a self, _: &'a Backends) -> Task<'a, Vec<Order>> {
        Box::pin(self.0.listed_orders("orders", -1))
    }
}
