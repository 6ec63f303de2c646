//! The connections to one server: a shared connection for short calls, and separate connections for
//! other uses.
//!
//! A connection never sends a command twice. If no answer arrives, the connection is dropped, and
//! the caller learns that the call may have taken effect.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::failure::{RedisFailure, check_reply};
use super::limits::{CONNECT_MAX, RECONNECT_PAUSE, RESPONSE_MAX};
use super::script::Scripts;

#[derive(Debug)]
pub(super) struct ServerConnections {
    pub(super) address: String,
    client: Client,
    pub(super) scripts: Arc<Scripts>,
    control: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    /// The time until which the server counts as unreachable.
    down_until: Mutex<Option<Instant>>,
    /// Notified when a connection breaks.
    broken: Arc<Notify>,
}

impl ServerConnections {
    pub(super) fn new(client: Client, scripts: Arc<Scripts>, broken: Arc<Notify>) -> Self {
        let address = client.get_connection_info().addr().to_string();
        Self {
            address,
            client,
            scripts,
            control: tokio::sync::Mutex::default(),
            down_until: Mutex::default(),
            broken,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a separate connection. If `response_max` is `None`, answers have no time limit.
    /// Commands that wait on the server need such a connection.
    pub(super) async fn connect(
        &self,
        response_max: Option<Duration>,
    ) -> Result<MultiplexedConnection, RedisFailure> {
        let until = *self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| Instant::now() < until) {
            return Err(RedisFailure::WrongServer(format!("{} cannot be reached", self.address)));
        }
        let made = connect(&self.client, CONNECT_MAX, response_max).await;
        let down_until = made.as_ref().err().map(|_| Instant::now() + RECONNECT_PAUSE);
        *self.down_until.lock().unwrap_or_else(PoisonError::into_inner) = down_until;
        if made.is_err() {
            self.broken.notify_one();
        }
        made
    }

    pub(super) async fn ask(&self, call: &Cmd) -> Result<Value, RedisFailure> {
        let mut connection = {
            let mut control = self.control.lock().await;
            match &*control {
                Some(connection) => connection.clone(),
                None => control.insert(self.connect(Some(RESPONSE_MAX)).await?).clone(),
            }
        };
        let reply =
            self.send(&mut connection, call).await.map_err(|fail| fail.with_address(&self.address));
        if reply.as_ref().is_err_and(RedisFailure::breaks_connection) {
            *self.control.lock().await = None;
            self.broken.notify_one();
        }
        reply
    }

    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        call: &Cmd,
    ) -> Result<Value, RedisFailure> {
        let reply = connection.send_packed_command(call).await;
        reply.map_err(|e| RedisFailure::of(&e)).and_then(check_reply)
    }

    /// Reports a broken connection, so that the watch task checks the servers at once.
    pub(super) fn report_broken(&self) {
        self.broken.notify_one();
    }
}

/// Connects to a server within the time `connect_max`. If this fails, no call was sent.
/// `response_max` is the longest wait for an answer. `None` means that answers have no time limit.
pub(crate) async fn connect(
    client: &Client,
    connect_max: Duration,
    response_max: Option<Duration>,
) -> Result<MultiplexedConnection, RedisFailure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_max))
        .set_response_timeout(response_max);
    let made = tokio::time::timeout(
        connect_max,
        client.get_multiplexed_async_connection_with_config(&config),
    )
    .await;
    let address = || client.get_connection_info().addr().to_string();
    match made {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if error.kind() == redis::ErrorKind::AuthenticationFailed => {
            Err(RedisFailure::Refused(format!("{}: {error}", address())))
        }
        // A server that runs a long script of another program refuses `SELECT`, the command that
        // chooses the URL's database. The client library keeps only the text of this refusal, so
        // the text is searched.
        Ok(Err(error))
            if error.detail().is_some_and(|reply| reply.contains("is busy running a script")) =>
        {
            Err(RedisFailure::Busy(format!("{}: {error}", address())))
        }
        Ok(Err(error)) => Err(RedisFailure::WrongServer(format!("{}: {error}", address()))),
        Err(_) => Err(RedisFailure::WrongServer(format!(
            "{} did not accept a connection in time",
            address()
        ))),
    }
}
