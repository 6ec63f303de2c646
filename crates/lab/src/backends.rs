//! The clients of a strategy for PostgreSQL and Redis. They work like the clients of a usual
//! application server. A consumer's blocking command has its own connection to Redis, so that other
//! commands need not wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use deadpool_postgres::{GenericClient, Manager, ManagerConfig, Object, Pool, RecyclingMethod};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};

use crate::incident::Journal;
use crate::order::Order;
use crate::redis_link::RedisLink;

/// How long [`retry`] waits between two attempts. After the time `RETRY_FOR`, [`retry`] gives up.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);
const RETRY_FOR: Duration = Duration::from_secs(3);

/// The addresses of the servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Addresses {
    /// The address of PostgreSQL, or of the proxy in front of it.
    pub postgres: String,
    /// The address of Redis.
    pub redis: String,
    /// The largest number of connections to PostgreSQL.
    pub pool: usize,
}

/// The clients that a strategy uses.
#[derive(Clone)]
pub struct Backends {
    pool: Pool,
    redis: RedisLink,
    /// Records the events of the command `lab incident`. In other commands it records nothing.
    pub journal: Journal,
}

impl Backends {
    /// Returns clients that open their connections when they are first used.
    pub fn new(addresses: &Addresses) -> Result<Self> {
        let config = addresses.postgres.parse().context("the address of PostgreSQL is invalid")?;
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, NoTls, manager);
        let pool = Pool::builder(manager).max_size(addresses.pool.max(1)).build()?;
        let client = redis::Client::open(addresses.redis.as_str())?;
        let redis = RedisLink { client, connection: Arc::default(), blocking: Arc::default() };
        Ok(Self { pool, redis, journal: Journal::default() })
    }

    /// Returns a connection to PostgreSQL.
    pub async fn db(&self) -> Result<Object> {
        self.pool.get().await.context("cannot connect to PostgreSQL")
    }

    /// Removes the tables and the keys that an earlier run left.
    pub async fn clear(&self) -> Result<()> {
        let tables = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;";
        self.db().await?.batch_execute(tables).await?;
        self.redis.run(&redis::cmd("FLUSHALL")).await
    }

    /// Runs several SQL statements in one call, for example to create tables.
    pub async fn create_tables(&self, sql: &str) -> Result<()> {
        Ok(self.db().await?.batch_execute(sql).await?)
    }

    /// Creates tables, and puts `stock` units into the table `stock`.
    pub async fn prepare_stock(&self, tables: &str, stock: i64) -> Result<()> {
        self.create_tables(tables).await?;
        let insert = "INSERT INTO stock (item, available) VALUES (1, $1)";
        execute(&self.db().await?, insert, &[&stock]).await?;
        Ok(())
    }

    /// Runs a query that counts rows, and returns the count.
    pub async fn count(&self, sql: &str) -> Result<u64> {
        let count: i64 = query_one(&self.db().await?, sql, &[]).await?.get(0);
        Ok(count.unsigned_abs())
    }

    /// Returns the rows of the table `orders`.
    pub async fn order_rows(&self) -> Result<Vec<Order>> {
        let db = self.db().await?;
        let rows = query(&db, "SELECT buyer, units FROM orders ORDER BY id", &[]).await?;
        Ok(rows.iter().map(|row| Order { buyer: row.get(0), units: row.get(1) }).collect())
    }

    /// Returns whether the table `orders` has a row of this buyer.
    pub async fn has_order(&self, buyer: i64) -> Result<bool> {
        let db = self.db().await?;
        let rows = query(&db, "SELECT 1 FROM orders WHERE buyer = $1", &[&buyer]).await?;
        Ok(!rows.is_empty())
    }

    /// Returns the orders in a Redis list, from the first element to the element with the index
    /// `last`. The index -1 means the last element. Each element has the form `buyer:units`.
    pub async fn listed_orders(&self, key: &str, last: isize) -> Result<Vec<Order>> {
        let lines: Vec<String> =
            self.redis.run(redis::cmd("LRANGE").arg(key).arg(0).arg(last)).await?;
        lines.iter().map(|line| parse_order(line)).collect()
    }

    /// Returns the orders in a Redis hash, which maps each buyer to the number of the buyer's
    /// units.
    pub async fn hashed_orders(&self, key: &str) -> Result<Vec<Order>> {
        let pairs: Vec<(i64, i64)> = self.redis.run(redis::cmd("HGETALL").arg(key)).await?;
        Ok(pairs.into_iter().map(|(buyer, units)| Order { buyer, units }).collect())
    }

    /// Returns the connection to Redis.
    pub fn redis(&self) -> &RedisLink {
        &self.redis
    }
}

/// Parses `buyer:units`.
pub fn parse_order(line: &str) -> Result<Order> {
    let (buyer, units) = line.split_once(':').context("an order must have the form buyer:units")?;
    Ok(Order { buyer: buyer.parse()?, units: units.parse()? })
}

/// Inserts orders into the table `orders`. Skips orders of buyers who already have an order.
pub async fn insert_orders(db: &impl GenericClient, orders: &[Order]) -> Result<u64> {
    let insert = "INSERT INTO orders (buyer, units)
        SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT (buyer) DO NOTHING";
    let (buyers, units): (Vec<i64>, Vec<i64>) =
        orders.iter().map(|order| (order.buyer, order.units)).unzip();
    execute(db, insert, &[&buyers, &units]).await
}

/// Repeats `attempt` every 2 ms until it returns a value. Returns `None` after 3 s.
pub async fn retry<T, F>(attempt: impl Fn() -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let until = Instant::now() + RETRY_FOR;
    loop {
        let value = attempt().await?;
        if value.is_some() || Instant::now() > until {
            return Ok(value);
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Runs a prepared statement. Returns the number of rows that it changed.
pub async fn execute(
    db: &impl GenericClient,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.execute(&statement, values).await?)
}

/// Runs a prepared query.
pub async fn query(
    db: &impl GenericClient,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.query(&statement, values).await?)
}

/// Runs a prepared query for one row.
pub async fn query_one(
    db: &impl GenericClient,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Row> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.query_one(&statement, values).await?)
}

/// Returns whether a statement failed because a row with the same unique key already exists.
pub fn is_duplicate(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<tokio_postgres::Error>();
    error.and_then(|error| error.code()) == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION)
}
