//! Redis, INCRBY with undo: the program deducts the units first, and adds them again if too few
//! were left.
//!
//! How it works: `DECRBY stock n` is atomic and returns the new value. If this value is zero or
//! more, the units are sold. A negative value means that there were too few units, and `INCRBY`
//! undoes the deduction.
//! Where it comes from: counters and rate limits; the shortest "atomic" answer in forums.
//! When it holds: it never oversells while Redis keeps its data.
//! How it breaks: a process loses the units if it dies after the deduction, but before it writes
//! the order or undoes the deduction. A repeated request takes units twice. Suppose that one unit
//! is left and a buyer requests ten: until this deduction is undone, a request for one unit is
//! refused. A Redis that restarts loses orders.

use redis::cmd;

use crate::backends::Backends;
use crate::contract::{Answer, Claim, Family, Order, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-incrby",
    family: Family::Redis,
    title: "Redis: INCRBY with undo",
    claim: Claim::SafeWithoutFaults,
    source: "atomic counters; many forums recommend this",
    suits: "Counters, if a lost unit does not matter",
    text: include_str!("redis_incrby.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(RedisIncrby(backends.clone()))),
};

struct RedisIncrby(Backends);

impl Strategy for RedisIncrby {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move { self.0.redis().run(cmd("SET").arg("stock").arg(stock)).await })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let redis = self.0.redis();
            let left: i64 = redis.run(cmd("DECRBY").arg("stock").arg(units)).await?;
            if left < 0 {
                redis.run::<()>(cmd("INCRBY").arg("stock").arg(units)).await?;
                return Ok(Answer::SoldOut);
            }
            let order = format!("{buyer}:{units}");
            redis.run::<()>(cmd("RPUSH").arg("orders").arg(order)).await?;
            Ok(Answer::Sold)
        })
    }

    fn orders<'a>(&'a self, _: &'a Backends) -> Task<'a, Vec<Order>> {
        Box::pin(self.0.listed_orders("orders", -1))
    }
}
