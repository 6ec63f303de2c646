//! Redis first, the database later: the process keeps orders in memory and writes them in batches.
//!
//! How it works: the script books the units in Redis, and the buyer gets the answer "sold". The
//! order goes into the process's memory. Every 100 ms, one statement writes all orders in this
//! memory into PostgreSQL.
//! Where it comes from: write-behind caches; articles about "asynchronous persistence".
//! When it holds: while Redis and all processes keep running.
//! How it breaks: if a process dies, the orders in its memory are lost. Redis has deducted their
//! units and the database has no orders, so no buyer can get these units any more. A restart of
//! Redis loses bookings.

use std::time::Duration;

use redis::Script;
use tokio::sync::{Mutex, mpsc};

use crate::backends::{Backends, insert_orders};
use crate::contract::{Answer, Claim, Family, Order, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-then-database",
    family: Family::Combined,
    title: "Redis first, database later",
    claim: Claim::SafeWithoutFaults,
    source: "write-behind caches; asynchronous persistence",
    suits: "Votes and likes, if it is acceptable to lose the newest ones",
    text: include_str!("redis_then_database.rs"),
    lua: &[include_str!("redis_then_database.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(RedisThenDatabase::new(backends))),
};

const BOOK: &str = include_str!("redis_then_database.lua");
/// The time between two flushes of orders into the database.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// The largest number of orders in memory. If the memory has this many orders, further buyers wait
/// for the next flush.
const BUFFER: usize = 10_000;
const TABLES: &str = "
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";

struct RedisThenDatabase {
    backends: Backends,
    sold: mpsc::Sender<Order>,
    unwritten: Mutex<mpsc::Receiver<Order>>,
}

impl RedisThenDatabase {
    fn new(backends: &Backends) -> Self {
        let (sold, unwritten) = mpsc::channel(BUFFER);
        Self { backends: backends.clone(), sold, unwritten: Mutex::new(unwritten) }
    }

    /// Moves the orders from memory into the database.
    async fn flush(&self) -> anyhow::Result<()> {
        let mut unwritten = self.unwritten.lock().await;
        let mut orders = Vec::new();
        while let Ok(order) = unwritten.try_recv() {
            orders.push(order);
        }
        if !orders.is_empty() {
            insert_orders(&self.backends.db().await?, &orders).await?;
        }
        Ok(())
    }
}

impl Strategy for RedisThenDatabase {
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
            let call = call.key("buyers").arg(buyer).arg(units);
            let booked: i64 = self.backends.redis().script(call).await?;
            if booked <= 0 {
                return Ok(Answer::SoldOut);
            }
            self.sold.send(Order { buyer, units }).await?;
            Ok(Answer::Sold)
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move {
            tokio::time::sleep(FLUSH_INTERVAL).await;
            self.flush().await?;
            Ok(true)
        })
    }

    fn works_everywhere(&self) -> bool {
        true
    }

    fn waiting(&self) -> Task<'_, u64> {
        // A flush holds this lock until its orders are in the database, so the count never misses
        // an order.
        Box::pin(async move { Ok(self.unwritten.lock().await.len() as u64) })
    }
}
