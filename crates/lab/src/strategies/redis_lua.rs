//! The classic script: one Lua script checks the stock and books the units, and Redis runs the
//! script as one step.
//!
//! How it works: the hash has `Total` and `Booked`. If `Booked + n <= Total`, the script books `n`
//! units and records the order. The script returns the number of units that are left, or one of the
//! usual codes: -1 for unlimited stock, -2 if too few units are left, -3 for an unknown item. The
//! script is loaded once and called by its SHA-1 hash.
//! Where it comes from: the Redis manual on EVAL; nearly every article about flash sales.
//! When it holds: while Redis keeps its data. If a process dies, the script has made either all its
//! changes or none.
//! How it breaks: Redis has the only record of the orders. After a restart from a snapshot, Redis
//! sells again the units that it sold after the snapshot. If Redis restarts empty, all promised
//! orders are lost.

use redis::{Script, cmd};

use crate::backends::Backends;
use crate::contract::{Answer, Claim, Family, Order, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-lua",
    family: Family::Redis,
    title: "Redis Lua script",
    claim: Claim::SafeWithoutFaults,
    source: "the Redis manual on EVAL; nearly every article about flash sales",
    suits: "Very hot items, if it is acceptable to lose the orders of the last second",
    text: include_str!("redis_lua.rs"),
    lua: &[include_str!("redis_lua.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(RedisLua(backends.clone()))),
};

const BOOK: &str = include_str!("redis_lua.lua");

struct RedisLua(Backends);

impl Strategy for RedisLua {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.0.redis().stock_item(stock).await?;
            self.0.redis().run::<()>(cmd("SCRIPT").arg("LOAD").arg(BOOK)).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let script = Script::new(BOOK);
            let mut call = script.key("item");
            let call = call.key("orders").arg(buyer).arg(units);
            Ok(match self.0.redis().script::<i64>(call).await? {
                -1.. => Answer::Sold,
                // Too few units are left (-2), or Redis has lost its data and does not know the
                // item (-3).
                _ => Answer::SoldOut,
            })
        })
    }

    fn orders<'a>(&'a self, _: &'a Backends) -> Task<'a, Vec<Order>> {
        Box::pin(self.0.hashed_orders("orders"))
    }
}
