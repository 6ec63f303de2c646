//! A queue with a single consumer: one process decides all requests, so no buyer waits for a lock.
//!
//! How it works: a request goes into a Redis list. One consumer takes the oldest requests, up to 64
//! at a time. It reads the stock, deducts units, writes orders and commits. Then the consumer
//! writes each answer to Redis, where the waiting request polls for the answer.
//! Where it comes from: "serialize the hot item" articles; the single-writer principle.
//! When it holds: always. A buyer gets an answer only after the decision is committed. If a
//! consumer is killed, its last commit can end after the next consumer has started. So the consumer
//! locks the stock row, and the next consumer waits for this commit.
//! How it breaks: it does not oversell. If a request is lost between the list and the commit, the
//! buyer gets no answer and repeats the request. The speed of the one consumer limits the sale.

use redis::{cmd, pipe};

use crate::backends::{Backends, execute, insert_orders, query, query_one, retry};
use crate::contract::{Answer, Claim, Family, Strategy, StrategyEntry, StrategyKind, Task};
use crate::order::Order;

/// The strategy's entry in the list of strategies and in the lab's report.
pub const ENTRY: StrategyEntry = StrategyEntry {
    id: "single-consumer-queue",
    family: Family::Queue,
    title: "Queue with one consumer",
    claim: Claim::Safe,
    source: "the single-writer principle; 'serialize the hot item'",
    suits: "A steady load on one item, if buyers can wait a moment for the answer",
    text: include_str!("single_consumer_queue.rs"),
    lua: &[],
    kind: StrategyKind::Worker(|backends| Box::new(SingleConsumerQueue(backends.clone()))),
};

/// One transaction decides at most this many requests.
const BATCH: usize = 64;
const TABLES: &str = "
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, buyer bigint NOT NULL UNIQUE, units bigint NOT NULL);";
const LOCK: &str = "SELECT available FROM stock WHERE item = 1 FOR UPDATE";
const BOUGHT: &str = "SELECT buyer FROM orders WHERE buyer = ANY($1)";
const TAKE: &str = "UPDATE stock SET available = $1 WHERE item = 1";

struct SingleConsumerQueue(Backends);

impl SingleConsumerQueue {
    /// Decides these requests in one transaction, and then writes the answers to Redis.
    async fn decide(&self, requests: &[Order]) -> anyhow::Result<()> {
        let mut db = self.0.db().await?;
        let transaction = db.transaction().await?;
        // The last commit of a killed consumer may not have ended yet. This statement locks the
        // row, so it waits for that commit.
        let mut available: i64 = query_one(&transaction, LOCK, &[]).await?.get(0);
        let buyers: Vec<i64> = requests.iter().map(|request| request.buyer).collect();
        let known = query(&transaction, BOUGHT, &[&buyers]).await?;
        let mut bought: Vec<i64> = known.iter().map(|row| row.get(0)).collect();
        let mut orders = Vec::new();
        for request in requests {
            if !bought.contains(&request.buyer) && request.units <= available {
                available -= request.units;
                bought.push(request.buyer);
                orders.push(*request);
            }
        }
        if !orders.is_empty() {
            insert_orders(&transaction, &orders).await?;
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
    fn prepare(&self, stock: i64) -> Task<'_, ()> {
        Box::pin(self.0.prepare_stock(TABLES, stock))
    }

    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer> {
        Box::pin(async move {
            let request = format!("{buyer}:{units}");
            self.0.redis().run::<()>(cmd("LPUSH").arg("queue").arg(request)).await?;
            let mut read = cmd("GET");
            read.arg(answer_key(buyer));
            let answer = retry(|| self.0.redis().run::<Option<String>>(&read)).await?;
            Ok(match answer.as_deref() {
                Some("sold") => Answer::Sold,
                Some(_) => Answer::SoldOut,
                None => Answer::Busy,
            })
        })
    }

    fn background(&self) -> Task<'_, bool> {
        Box::pin(async move {
            let requests = self.0.redis().pop_orders("queue", BATCH).await?;
            self.decide(&requests).await?;
            Ok(true)
        })
    }
}
