//! A session with the database, and the task that drives it.
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Notification, Socket};

use super::{Inner, NO_HOST};

/// The function of PostgreSQL that warns when a commit was not confirmed by its standby.
const UNCONFIRMED_COMMIT: &str = "SyncRepWaitForLSN";

/// A message to the owner of a session.
pub(in crate::postgres) enum SessionMessage {
    Notification(Notification),
    /// The session ended.
    Ended,
}

/// Receives the messages of a session.
pub(in crate::postgres) type SessionListener = Box<dyn Fn(SessionMessage) + Send + Sync>;

/// A session and its task. The task ends with the session.
pub(in crate::postgres) type Session = (Client, JoinHandle<()>);

/// Drives a session until it ends.
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
            // The standby may lack the commit, so callers must not be told that the commit
            // succeeded. This code drops the answer, and the outcome counts as unknown.
            Some(Ok(AsyncMessage::Notice(notice)))
                if notice.routine() == Some(UNCONFIRMED_COMMIT) =>
            {
                tracing::warn!(
                    event = "database.commit_unconfirmed",
                    "the synchronous standby did not confirm a commit in time; its result is unknown"
                );
                break;
            }
            Some(Ok(_)) => {}
            // At the next connection the host may be a different server, so all hosts must be
            // inspected again.
            Some(Err(_)) => break,
            None => return tell(SessionMessage::Ended),
        }
    }
    if let Some(connector) = connector.upgrade() {
        connector.current.store(NO_HOST, Ordering::Release);
    }
    tell(SessionMessage::Ended);
}
