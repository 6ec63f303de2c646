//! A queue with a single consumer: one process decides, so nothing needs a lock.
//!
//! How it works: a request goes into a Redis list. One consumer takes up to 64 requests in order,
//! reads the stock, deducts units, writes orders and commits. Then it writes each answer to Redis,
//! where the waiting request polls for it.
//! Where it comes from: "serialize the hot item" articles; the single-writer principle.
//! When it holds: always, while there is only one consumer. A buyer only gets answers that are
//! committed.
//! How it breaks: it does not oversell. If a request is lost between the list and the commit, it
//! gets no answer, and the buyer repeats it. The sale is as fast as its consumer.

use std::time::{Duration, Instant};

use redis::{cmd, pipe};

use crate::backends::{Backends, execute, parse_order, query, query_one};
use crate::contract::{
    Answer, Claim, Family, Order, Step, Strategy, StrategyEntry, StrategyInfo, StrategySource,
};

/// The entry for the list and the report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    info: StrategyInfo {
        id: "single-consumer-queue",
        family: Family::Queue,
        title: "Queue with one consumer",
        claim: Claim::Safe,
        source: "the single-writer principle; 'serialize the hot item'",
        suits: "A steady load on one item; an answer may take a moment",
    },
    text: include_str!("single_consumer_queue.rs"),
    lua: None,
    make: StrategySource::Strategy(|backends| Box::new(SingleConsumerQueue(backends.clone()))),
};

/// How often a request polls for its answer.
const POLL_EVERY: Duration = Duration::from_millis(2);
/// How long a request polls before the buyer gets the answer "try again".
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// The number of requests that one transaction decides.
const BATCH: usize = 64;
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const READ: &str = "SELECT available FROM stock WHERE item = 1";
const BOUGHT: &str = "SELECT buyer FROM orders WHERE buyer = ANY($1)";
const ORDERS: &str = "INSERT INTO orders (buyer, units)
    SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT (buyer) DO NOTHING";
const TAKE: &str = "UPDATE stock SET available = $1 WHERE item = 1";

struct SingleConsumerQueue(Backends);

impl SingleConsumerQueue {
    /// Decides these requests in one transaction and writes the answers.
    async fn decide(&self, requests: &[Order]) -> anyhow::Result<()> {
        let mut db = self.0.db().await?;
        let transaction = db.transaction().await?;
        let buyers: Vec<i64> = requests.iter().map(|request| request.buyer).collect();
        let known = query(&transaction, BOUGHT, &[&buyers]).await?;
        let mut bought: Vec<i64> = known.iter().map(|row| row.get(0)).collect();
        let mut available: i64 = query_one(&transaction, READ, &[]).await?.get(0);
        let (mut new_buyers, mut new_units) = (Vec::new(), Vec::new());
        for request in requests {
            if !bought.contains(&request.buyer) && request.units <= available {
                available -= request.units;
                bought.push(request.buyer);
                new_buyers.push(request.buyer);
                new_units.push(request.units);
            }
        }
        if !new_buyers.is_empty() {
            execute(&transaction, ORDERS, &[&new_buyers, &new_units]).await?;
            execute(&transaction, TAKE, &[&available]).await?;
        }
        transaction.commit().await?;
        let mut answers = pipe();
        for request in requests {
            let answer = if bought.contains(&request.buyer) { "sold" } else { "sold out" };
            answers.cmd("SET").arg(answer_key(request.buyer)).arg(answer).ignore();
        }
        self.0.redis().run_all(&answers).await
    }
}

fn answer_key(buyer: i64) -> String {
    format!("answer:{buyer}")
}

impl Strategy for SingleConsumerQueue {
    fn prepare(&self, stock: i64) -> Step<'_, ()> {
        Box::pin(async move {
            self.0.create_tables(TABLES).await?;
            self.0.redis().run::<()>(&cmd("FLUSHALL")).await?;
            execute(&self.0.db().await?, "INSERT INTO stock VALUES (1, $1)", &[&stock]).await?;
            Ok(())
        })
    }

    fn take(&self, buyer: i64, units: i64) -> Step<'_, Answer> {
        Box::pin(async move {
            let request = format!("{buyer}:{units}");
            self.0.redis().run::<()>(cmd("LPUSH").arg("queue").arg(request)).await?;
            let until = Instant::now() + ANSWERED_WITHIN;
            while Instant::now() < until {
                let answer: Option<String> =
                    self.0.redis().run(cmd("GET").arg(answer_key(buyer))).await?;
                match answer.as_deref() {
                    Some("sold") => return Ok(Answer::Sold),
                    Some(_) => return Ok(Answer::SoldOut),
                    None => tokio::time::sleep(POLL_EVERY).await,
                }
            }
            Ok(Answer::Busy)
        })
    }

    fn background(&self, leads: bool) -> Step<'_, ()> {
        Box::pin(async move {
            let mut own = self.0.redis().blocking().await?;
            if !leads {
                return std::future::pending().await;
            }
            loop {
                let (_, first): (String, String) =
                    cmd("BRPOP").arg("queue").arg(0).query_async(&mut own).await?;
                let more: Option<Vec<String>> =
                    cmd("RPOP").arg("queue").arg(BATCH - 1).query_async(&mut own).await?;
                let lines = std::iter::once(first).chain(more.unwrap_or_default());
                let requests: anyhow::Result<Vec<Order>> =
                    lines.map(|line| parse_order(&line)).collect();
                self.decide(&requests?).await?;
            }
        })
    }

    fn orders(&self) -> Step<'_, Vec<Order>> {
        Box::pin(self.0.order_rows())
    }
}
