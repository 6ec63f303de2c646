//! A WebSocket that has no task of its own, and the slots of the shared tasks that accept such
//! WebSockets.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doorbuster_telemetry::metrics::GaugeGuard;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::feed::EventFeed;
use crate::connection::Connection;

pub(super) struct WebSocketReader {
    pub feed: EventFeed,
    /// The connection, which counts towards the limit of open connections.
    pub connection: Arc<Connection>,
    /// The number of pings that were sent since the client's last input.
    pub unanswered: u32,
    /// When the next ping is due.
    pub ping_at: Instant,
    pub _present: GaugeGuard,
}

pub(super) struct IdleConnection {
    pub(super) stream: TcpStream,
    pub(super) reader: WebSocketReader,
    pub(super) _idle_guard: Option<GaugeGuard>,
}

impl IdleConnection {
    /// `stream` must be in non-blocking mode.
    pub(super) fn new(stream: TcpStream, reader: WebSocketReader) -> Self {
        Self { stream, reader, _idle_guard: None }
    }

    /// Sends as many of the bytes as the socket accepts without blocking. Returns the number of
    /// sent bytes.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(error) if is_would_block(&error) => Ok(0),
            written => written,
        }
    }
}

pub(super) fn is_would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A reserved place in the channel to the idle task, for a connection that is about to become idle.
pub(in crate::events) type IdleTask = mpsc::OwnedPermit<Box<IdleConnection>>;

pub(crate) struct IdleTasks {
    pub(super) senders: Vec<mpsc::Sender<Box<IdleConnection>>>,
    pub(super) next: AtomicUsize,
}

impl IdleTasks {
    /// Reserves a slot. Chooses the tasks in turn, and returns `None` if the next task has no free
    /// slot.
    pub(in crate::events) fn reserve(&self) -> Option<IdleTask> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.senders.len())?;
        self.senders[at].clone().try_reserve_owned().ok()
    }
}
