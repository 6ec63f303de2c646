//! Redis, INCRBY with undo: deduct first, look at the result, and give back what was too much.
//!
//! How it works: `DECRBY stock n` is atomic and returns the new value. Zero or more means sold.
//! Less means that the units were not there, and `INCRBY` gives them back.
//! Where it comes from: counters and rate limits; the shortest "atomic" answer in forums.
//! When it holds: it never sells too much while Redis keeps its data.
//! How it breaks: a process that dies between the deduction and the order, or between the
//! deduction and the undo, loses the units. A buyer who asks again pays twice. While a request of
//! ten is being undone, a request of one is refused although a unit is left. Redis that restarts
//! forgets sales.

use redis::cmd;

use crate::backends::Backends;
use crate::contract::{Answer, Claim, Entry, Family, Info, Make, Order, Step, Strategy};

/// What the list and the report say.
pub const ENTRY: Entry = Entry {
    info: Info {
        id: "redis-incrby",
        family: Family::Redis,
        title: "Redis: INCRBY with undo",
        claim: Claim::SafeWithoutFaults,
        source: "atomic counters; the common forum answer",
        suits: "Counting where a lost unit does not matter",
    },
    text: include_str!("redis_incrby.rs"),
    lua: None,
    make: Make::Strategy(|backends| Box::new(RedisIncrby(backends.clone()))),
};

struct RedisIncrby(Backends);

impl Strategy for RedisIncrby {
    fn prepare(&self, stock: i64) -> Step<'_, ()> {
        Box::pin(async move {
            let redis = self.0.redis();
            redis.run_all(redis::pipe().cmd("FLUSHALL").cmd("SET").arg("stock").arg(stock)).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Step<'_, Answer> {
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

    fn orders(&self) -> Step<'_, Vec<Order>> {
        Box::pin(self.0.listed_orders("orders"))
    }
}
