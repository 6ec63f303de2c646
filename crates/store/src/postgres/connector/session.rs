//! A session with the database, and the task that drives it.
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Notification, Socket};

use super::{Connector, Inner, NO_HOST};

/// The function of PostgreSQL that sends a warning if the standby did not confirm a commit.
const UNCONFIRMED_COMMIT: &str = "SyncRepWaitForLSN";

pub(in crate::postgres) enum SessionMessage {
    Notification(Notification),
    Ended,
}

pub(in crate::postgres) type SessionListener = Box<dyn Fn(SessionMessage) + Send + Sync>;

/// A session and its task. The task ends with the session.
pub(in crate::postgres) type Session = (Client, JoinHandle<()>);

impl Connector {
    /// Returns whether a connection that was opened at this time may see a commit that the standby
    /// lacks.
    pub(in crate::postgres) fn may_see_unconfirmed(&self, opened: Instant) -> bool {
        let unconfirmed_at = self.0.unconfirmed_at.lock().unwrap_or_else(PoisonError::into_inner);
        unconfirmed_at.is_some_and(|at| opened <= at)
    }
}

impl Inner {
    /// Makes the store replace all sessions: it no longer uses the present connections, and it
    /// first commits a row over the next new connection.
    fn replace_sessions(&self) {
        self.current.store(NO_HOST, Ordering::Release);
        let mut unconfirmed_at = self.unconfirmed_at.lock().unwrap_or_else(PoisonError::into_inner);
        *unconfirmed_at = Some(Instant::now());
    }
}

pub(super) async fn drive<T>(
    mut connection: tokio_postgres::Connection<Socket, T>,
    listener: Option<Arc<SessionListener>>,
    connector: Weak<Inner>,
) where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let tell = |message| {
        if let Some(listener) = &listener {
            listener(message);
        }
    };
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                tell(SessionMessage::Notification(notification));
            }
            // The standby may lack the commit, so the database's answer is dropped, and the outcome
            // of the commit counts as unknown. Every other session can see the commit, so all
            // sessions are replaced. The first new session commits a row, and thereby waits until
            // the standby has all earlier commits.
            Some(Ok(AsyncMessage::Notice(notice)))
                if notice.routine() == Some(UNCONFIRMED_COMMIT) =>
            {
                tracing::warn!(
                    event = "database.commit_unconfirmed",
                    "the synchronous standby did not confirm a commit in time, so the result of \
                     the commit is unknown"
                );
                if let Some(connector) = connector.upgrade() {
                    connector.replace_sessions();
                }
                break;
            }
            Some(Ok(_)) => {}
            // At the next connection the host may be a different server, so all hosts must be
            // inspected.
            Some(Err(_)) => break,
            None => return tell(SessionMessage::Ended),
        }
    }
    if let Some(connector) = connector.upgrade() {
        connector.current.store(NO_HOST, Ordering::Release);
    }
    tell(SessionMessage::Ended);
}
