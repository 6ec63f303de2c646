//! A script and a table of intents: a row is written before Redis books, so a lost step is found.
//!
//! How it works: a row `pending` is written into the table `sends`. Then the script books, once for
//! each buyer. Then the row becomes `sent`, and the buyer gets the answer "sold". A checker repeats
//! the script for rows that stay `pending`. A consumer makes one order of each `sent` row.
//! Where it comes from: transactional messages of message queues; the outbox pattern.
//! When it holds: even when processes die at any step, while Redis keeps its data.
//! How it breaks: Redis still decides. After a restart from a snapshot it has lost bookings and
//! sells the same units again; an empty Redis refuses every buyer. Each sold unit costs three
//! database writes.

use std::time::Duration;

use redis::{Script, pipe};

use crate::backends::{Backends, execute, query, query_one};
use crate::contract::{
    Answer, Claim, Family, Order, Step, Strategy, StrategyEntry, StrategyInfo, StrategySource,
};

/// The entry for the list and the report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    info: StrategyInfo {
        id: "redis-lua-outbox",
        family: Family::Combined,
        title: "Redis script and send table",
        claim: Claim::SafeWithoutFaults,
        source: "transactional messages; the outbox pattern",
        suits: "Hot items with orders that must not be lost; Redis must be durable",
    },
    text: include_str!("redis_lua_outbox.rs"),
    lua: Some(include_str!("redis_lua_outbox.lua")),
    make: StrategySource::Strategy(|backends| {
        Box::new(RedisLuaOutbox { backends: backends.clone() })
    }),
};

const BOOK: &str = include_str!("redis_lua_outbox.lua");
/// The pause of the background work when no row waits.
const POLL_EVERY: Duration = Duration::from_millis(10);
const TABLES: &str = "
CREATE TABLE sends (buyer bigint PRIMARY KEY, units bigint NOT NULL,
    state text NOT NULL DEFAULT 'pending', at timestamptz NOT NULL DEFAULT now());
CREATE INDEX unfinished ON sends (state) WHERE state IN ('pending', 'sent');
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const INTEND: &str =
    "INSERT INTO sends (buyer, units) VALUES ($1, $2) ON CONFLICT (buyer) DO NOTHING";
const STATE: &str = "SELECT state FROM sends WHERE buyer = $1";
const SETTLE: &str = "UPDATE sends SET state = $2 WHERE buyer = $1 AND state = 'pending'";
const STALE: &str =
    "SELECT buyer, units FROM sends WHERE state = 'pending' AND at < now() - interval '1 s'";
const DELIVER: &str = "
WITH batch AS (
    UPDATE sends SET state = 'done' WHERE buyer IN
        (SELECT buyer FROM sends WHERE state = 'sent' LIMIT 200) RETURNING buyer, units
)
INSERT INTO orders (buyer, units) SELECT buyer, units FROM batch ON CONFLICT (buyer) DO NOTHING";
const UNFINISHED: &str = "SELECT count(*) FROM sends WHERE state IN ('pending', 'sent')";

struct RedisLuaOutbox {
    backends: Backends,
}

impl RedisLuaOutbox {
    /// Books units, or finds the earlier booking, and updates the row.
    async fn book(&self, buyer: i64, units: i64) -> anyhow::Result<Answer> {
        let script = Script::new(BOOK);
        let mut call = script.key("item");
        let call = call.key("buyers").arg(buyer).arg(units);
        let booked: i64 = self.backends.redis().script(call).await?;
        let state = if booked > 0 { "sent" } else { "cancelled" };
        execute(&self.backends.db().await?, SETTLE, &[&buyer, &state]).await?;
        Ok(if booked > 0 { Answer::Sold } else { Answer::SoldOut })
    }

    /// Returns whether Redis would refuse the request. Then no row is written.
    async fn is_sold_out(&self, buyer: i64, units: i64) -> anyhow::Result<bool> {
        let mut look = pipe();
        look.cmd("HMGET").arg("item").arg("Total").arg("Booked");
        look.cmd("SISMEMBER").arg("buyers").arg(buyer);
        let ((total, booked), bought): ((Option<i64>, Option<i64>), bool) =
            self.backends.redis().run_all(&look).await?;
        Ok(!bought && total.unwrap_or(0) - booked.unwrap_or(0) < units)
    }
}

impl Strategy for RedisLuaOutbox {
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
            if self.is_sold_out(buyer, units).await? {
                return Ok(Answer::SoldOut);
            }
            let db = self.backends.db().await?;
            if execute(&db, INTEND, &[&buyer, &units]).await? == 0 {
                let state: String = query_one(&db, STATE, &[&buyer]).await?.get(0);
                match state.as_str() {
                    "sent" | "done" => return Ok(Answer::Sold),
                    "cancelled" => return Ok(Answer::SoldOut),
                    _ => {}
                }
            }
            drop(db);
            self.book(buyer, units).await
        })
    }

    fn background(&self, leads: bool) -> Step<'_, ()> {
        Box::pin(async move {
            if !leads {
                return std::future::pending().await;
            }
            loop {
                let db = self.backends.db().await?;
                let stale = query(&db, STALE, &[]).await?;
                let delivered = execute(&db, DELIVER, &[]).await?;
                drop(db);
                for row in &stale {
                    self.book(row.get(0), row.get(1)).await?;
                }
                if delivered == 0 {
                    tokio::time::sleep(POLL_EVERY).await;
                }
            }
        })
    }

    fn waiting(&self) -> Step<'_, u64> {
        Box::pin(async move {
            let count: i64 = query_one(&self.backends.db().await?, UNFINISHED, &[]).await?.get(0);
            Ok(count.unsigned_abs())
        })
    }

    fn orders(&self) -> Step<'_, Vec<Order>> {
        Box::pin(self.backends.order_rows())
    }
}
