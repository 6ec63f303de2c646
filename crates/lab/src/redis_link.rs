//! The connection of a strategy to Redis.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use crate::backends::parse_order;
use crate::order::Order;

const REDIS_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// The connection of a worker to Redis. If the connection fails, the next command opens a new one.
#[derive(Clone)]
pub struct RedisLink {
    pub(crate) client: redis::Client,
    pub(crate) connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    /// The connection for the consumer's blocking command, which waits for list elements. On the
    /// usual connection, this command would block all other commands.
    pub(crate) blocking: Arc<Mutex<Option<MultiplexedConnection>>>,
}

impl RedisLink {
    /// Runs one command.
    pub async fn run<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        let mut connection = self.connection().await?;
        self.checked(command.query_async(&mut connection).await).await
    }

    /// Runs several commands in one round trip.
    pub async fn run_all<T: redis::FromRedisValue>(&self, commands: &redis::Pipeline) -> Result<T> {
        let mut connection = self.connection().await?;
        self.checked(commands.query_async(&mut connection).await).await
    }

    /// Runs a script by its SHA-1 hash. If the server does not have the script, loads it first.
    pub async fn script<T: redis::FromRedisValue>(
        &self,
        call: &redis::ScriptInvocation<'_>,
    ) -> Result<T> {
        let mut connection = self.connection().await?;
        self.checked(call.invoke_async(&mut connection).await).await
    }

    /// Waits until a list has an element. Then removes and returns the oldest elements, at most
    /// `most`. Each element has the form `buyer:units`.
    pub async fn pop_orders(&self, list: &str, most: usize) -> Result<Vec<Order>> {
        let mut kept = self.blocking.lock().await;
        // The connection is put back into `kept` only if the command succeeds. After a failure, the
        // next call opens a new connection.
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => {
                let config = AsyncConnectionConfig::new().set_response_timeout(None);
                self.client.get_multiplexed_async_connection_with_config(&config).await?
            }
        };
        let mut pop = redis::cmd("BLMPOP");
        pop.arg(0).arg(1).arg(list).arg("RIGHT").arg("COUNT").arg(most);
        let (_, lines): (String, Vec<String>) = pop.query_async(&mut connection).await?;
        *kept = Some(connection);
        lines.iter().map(|line| parse_order(line)).collect()
    }

    /// Writes the item's hash: `stock` units in total, and no booked units.
    pub async fn stock_item(&self, stock: i64) -> Result<()> {
        let mut stocked = redis::cmd("HSET");
        stocked.arg("item").arg("Total").arg(stock).arg("Booked").arg(0);
        self.run(&stocked).await
    }

    async fn connection(&self) -> Result<MultiplexedConnection> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(REDIS_ANSWERS_WITHIN));
        let opened = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let opened = opened.context("cannot connect to Redis")?;
        *kept = Some(opened.clone());
        Ok(opened)
    }

    async fn checked<T>(&self, answer: redis::RedisResult<T>) -> Result<T> {
        if answer.as_ref().is_err_and(|error| error.is_io_error() || error.is_connection_dropped())
        {
            *self.connection.lock().await = None;
        }
        Ok(answer?)
    }
}
