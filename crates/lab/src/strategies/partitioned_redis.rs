//! Stock divided among partitions: each partition has its own counter, and a request uses one of
//! them.
//!
//! How it works: in a shop, each partition would have its own Redis server. The buyer's number
//! selects the first partition. If this partition has too few units, the request tries the other
//! partitions. At the end of the sale, all partitions together can have enough units although no
//! single partition has enough. Then one script takes units from all of them.
//! Where it comes from: "hot key splitting" of large shops; sharded counters.
//! When it holds: while Redis keeps its data and a repeated request begins at the same partition.
//! How it breaks: after a restart, Redis has lost orders or sells units again. The script that
//! takes units from all partitions is atomic only if all partitions are on one server. Without this
//! script, some units stay unsold.

use redis::{Script, pipe};

use crate::backends::Backends;
use crate::contract::{Answer, Claim, Family, Order, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "partitioned-redis",
    family: Family::Redis,
    title: "Stock spread over partitions",
    claim: Claim::SafeWithoutFaults,
    source: "hot key splitting; sharded counters",
    suits: "Items too hot for one Redis, if lost orders are acceptable",
    text: include_str!("partitioned_redis.rs"),
    lua: &[include_str!("partitioned_redis.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(PartitionedRedis(backends.clone()))),
};

/// The number of partitions.
const PARTITIONS: i64 = 4;
const BOOK: &str = include_str!("partitioned_redis.lua");

struct PartitionedRedis(Backends);

fn stock_key(partition: i64) -> String {
    format!("stock:{partition}")
}

fn orders_key(partition: i64) -> String {
    format!("orders:{partition}")
}

impl PartitionedRedis {
    /// Books the units in one of these partitions, or in all of them together.
    async fn book(&self, partitions: &[i64], buyer: i64, units: i64) -> anyhow::Result<bool> {
        let script = Script::new(BOOK);
        let mut call = script.prepare_invoke();
        for &partition in partitions {
            call.key(stock_key(partition));
        }
        for &partition in partitions {
            call.key(orders_key(partition));
        }
        Ok(self.0.redis().script::<i64>(call.arg(buyer).arg(units)).await? == 1)
    }
}

impl Strategy for PartitionedRedis {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            let mut commands = pipe();
            for partition in 0..PARTITIONS {
                let part = stock / PARTITIONS + i64::from(partition < stock % PARTITIONS);
                commands.cmd("HSET").arg(stock_key(partition));
                commands.arg("Total").arg(part).arg("Booked").arg(0).ignore();
            }
            self.0.redis().run_all(&commands).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let turn: Vec<i64> = (0..PARTITIONS).map(|step| (buyer + step) % PARTITIONS).collect();
            for partition in &turn {
                if self.book(&[*partition], buyer, units).await? {
                    return Ok(Answer::Sold);
                }
            }
            let together = self.book(&turn, buyer, units).await?;
            Ok(if together { Answer::Sold } else { Answer::SoldOut })
        })
    }

    fn orders<'a>(&'a self, _: &'a Backends) -> Task<'a, Vec<Order>> {
        Box::pin(async move {
            let mut orders = Vec::new();
            for partition in 0..PARTITIONS {
                orders.extend(self.0.hashed_orders(&orders_key(partition)).await?);
            }
            Ok(orders)
        })
    }
}
