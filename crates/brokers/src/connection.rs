//! Keeps one connection to a broker for all messages. If there is no connection, the next message
//! opens one. If the broker refuses a message, the connection stays open. After any other failure
//! to publish a message, this module closes the connection.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::Error;

pub(crate) trait BrokerConnection {
    /// Returns whether the connection is known to be closed. A broken connection may not be noticed
    /// yet.
    fn is_closed(&self) -> bool;
    /// Closes the connection at once. Unsent data is lost.
    fn shut_down(&self);
}

pub(crate) struct SharedConnection<C> {
    state: Mutex<ConnectionState<C>>,
}

struct ConnectionState<C> {
    live: Option<Arc<C>>,
    /// The last failed attempt to connect.
    failed: Option<(Instant, Error)>,
}

impl<C: BrokerConnection> SharedConnection<C> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(ConnectionState { live: None, failed: None }) }
    }

    /// Returns the open connection, or opens one. If several callers need a connection, only one of
    /// them tries to open one. If this attempt fails, all waiting callers get the error of the
    /// attempt.
    pub(crate) async fn get(
        &self,
        within: Duration,
        connect: impl Future<Output = Result<C, Error>>,
    ) -> Result<Arc<C>, Error> {
        let called_at = Instant::now();
        // The wait for the lock is bounded: its holder makes one attempt to connect, which has a
        // timeout.
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            if !live.is_closed() {
                return Ok(live.clone());
            }
            live.shut_down();
            state.live = None;
        }
        if let Some((at, error)) = &state.failed
            && *at >= called_at
        {
            return Err(error.clone());
        }
        let made = tokio::time::timeout(within, connect).await;
        match made.unwrap_or_else(|_| Err(Error::new("no connection in time"))) {
            Ok(made) => {
                let live = Arc::new(made);
                *state = ConnectionState { live: Some(live.clone()), failed: None };
                Ok(live)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Publishes a message: runs `work` once, and stops it at `until`. If it is unknown whether the
    /// broker has the message, closes the connection.
    pub(crate) async fn run_on(
        &self,
        live: Arc<C>,
        until: Instant,
        work: impl Future<Output = Result<(), PublishError>>,
    ) -> Result<(), Error> {
        let done = tokio::time::timeout_at(until, work).await;
        match done.unwrap_or_else(|_| {
            Err(PublishError::Unknown(Error::new("the broker did not confirm in time")))
        }) {
            Ok(()) => Ok(()),
            Err(PublishError::Refused(error)) => Err(error),
            Err(PublishError::Unknown(error)) => {
                live.shut_down();
                let mut state = self.state.lock().await;
                // Meanwhile, another caller may have opened a new connection. That connection must
                // stay open.
                if state.live.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &live)) {
                    state.live = None;
                }
                Err(error)
            }
        }
    }
}

pub(crate) enum PublishError {
    /// The broker refused the message. The connection still works.
    Refused(Error),
    /// Publishing failed in another way. It is unknown whether the broker has the message.
    Unknown(Error),
}
