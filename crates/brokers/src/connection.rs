//! The one connection to a broker: made when it is needed, given up after any doubt about it.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::Error;

/// A connection as it is kept.
pub(crate) trait BrokerConnection {
    /// Whether it is over, as far as is known.
    fn is_closed(&self) -> bool;
    /// Ends it at once: whatever it still holds is not sent any more.
    fn shut_down(&self);
}

/// Keeps a connection.
pub(crate) struct SharedConnection<C> {
    state: Mutex<ConnectionState<C>>,
}

struct ConnectionState<C> {
    live: Option<Arc<C>>,
    /// When the last attempt ended in vain, and why.
    failed: Option<(Instant, Error)>,
}

impl<C: BrokerConnection> SharedConnection<C> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(ConnectionState { live: None, failed: None }) }
    }

    /// The connection; a new one where there is none. Whoever waited while an attempt failed hears
    /// why, instead of trying again.
    pub(crate) async fn get(
        &self,
        within: Duration,
        connect: impl Future<Output = Result<C, Error>>,
    ) -> Result<Arc<C>, Error> {
        let asked = Instant::now();
        // Whoever has it gives it back in bounded time, and with a connection or the reason that
        // there is none.
        let mut state = self.state.lock().await;
        if let Some(live) = &state.live {
            if !live.is_closed() {
                return Ok(live.clone());
            }
            live.shut_down();
            state.live = None;
        }
        if let Some((at, error)) = &state.failed
            && *at >= asked
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

    /// Does something over the connection, once and in bounded time. What fails in any way leaves
    /// the connection in doubt, unless it says that it does not.
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
                // Another message may have made another one already.
                if state.live.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &live)) {
                    state.live = None;
                }
                Err(error)
            }
        }
    }
}

/// Why something over a connection failed.
pub(crate) enum PublishError {
    /// The broker said no, and the connection is as good as before.
    Refused(Error),
    /// Something else: nobody knows what became of it.
    Unknown(Error),
}
