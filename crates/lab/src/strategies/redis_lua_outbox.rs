//! A script and a table of intents: each purchase writes a row into the database before it books
//! units in Redis, so that no booking is lost.
//!
//! How it works: the program writes a row in the state `pending` into the table `sends`. Then the
//! script books the units, at most once for each buyer. Then the row becomes `sent`, and the buyer
//! gets the answer "sold". A background task repeats the script for rows that stay `pending`. A
//! consumer makes one order of each `sent` row.
//! Where it comes from: transactional messages of message queues; the outbox pattern.
//! When it holds: while Redis keeps its data, even if processes die at any step.
//! How it breaks: Redis still decides. After a restart from a snapshot, Redis has lost bookings and
//! sells the same units again. After a restart without data, Redis refuses every buyer. A purchase
//! needs two writes to the database before the answer, and one more for the order.

use deadpool_postgres::Object;
use redis::{Script, pipe};

use crate::backends::{Backends, execute, query, query_one};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "redis-lua-outbox",
    family: Family::Combined,
    title: "Redis script and send table",
    claim: Claim::SafeWithoutFaults,
    source: "transactional messages; the outbox pattern",
    suits: "Hot items with orders that must not be lost; Redis must be durable",
    text: include_str!("redis_lua_outbox.rs"),
    lua: &[include_str!("redis_then_database.lua")],
    kind: StrategyKind::Worker(|backends| Box::new(RedisLuaOutbox(backends.clone()))),
};

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

struct RedisLuaOutbox(Backends);

impl RedisLuaOutbox {
    /// Books units in Redis, unless the buyer has booked before. Then updates the buyer's row in
    /// `sends`.
    async fn book(&self, db: &Object, buyer: i64, units: i64) -> anyhow::Result<Answer> {
        let script = Script::new(include_str!("redis_then_database.lua"));
        let mut call = script.key("item");
        let call = call.key("buyers").arg(buyer).arg(units);
        let booked: i64 = self.0.redis().script(call).await?;
        let state = if booked > 0 { "sent" } else { "cancelled" };
        execute(db, SETTLE, &[&buyer, &state]).await?;
        Ok(if booked > 0 { Answer::Sold } else { Answer::SoldOut })
    }

    /// Returns whether Redis would refuse the request. If so, the caller writes no row for the
    /// request.
    async fn is_sold_out(&self, buyer: i64, units: i64) -> anyhow::Result<bool> {
        let mut look = pipe();
        look.cmd("HMGET").arg("item").arg("Total").arg("Booked");
        look.cmd("SISMEMBER").arg("buyers").arg(buyer);
        let ((total, booked), bought): ((Option<i64>, Option<i64>), bool) =
            self.0.redis().run_all(&look).await?;
        Ok(!bought && total.unwrap_or(0) - booked.unwrap_or(0) < units)
    }
}

impl Strategy for RedisLuaOutbox {
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(async move {
            self.0.create_tables(TABLES).await?;
            self.0.redis().stock_item(stock).await
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            if self.is_sold_out(buyer, units).await? {
                return Ok(Answer::SoldOut);
            }
            let db = self.0.db().await?;
            if execute(&db, INTEND, &[&buyer, &units]).await? == 0 {
                match query_one(&db, STATE, &[&buyer]).await?.get(0) {
                    "sent" | "done" => return Ok(Answer::Sold),
                    "cancelled" => return Ok(Answer::SoldOut),
                    _ => {}
                }
            }
            self.book(&db, buyer, units).await
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move {
            let db = self.0.db().await?;
            let stale = query(&db, STALE, &[]).await?;
            let delivered = execute(&db, DELIVER, &[]).await?;
            for row in &stale {
                self.book(&db, row.get(0), row.get(1)).await?;
            }
            Ok(delivered > 0)
        })
    }

    fn waiting(&self) -> Task<'_, u64> {
        Box::pin(self.0.count("SELECT count(*) FROM sends WHERE state IN ('pending', 'sent')"))
    }
}
