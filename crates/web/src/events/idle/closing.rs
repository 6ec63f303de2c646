//! Closes the idle connections when the server stops. The server sends a close frame and waits for
//! the client's close frame, as it does on active connections.

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_telemetry::metrics::GaugeGuard;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::IdleConnections;
use crate::connection::Connection;
use crate::events::frame::{close_frame, is_close_frame};
use crate::events::idle_connection::{IdleConnection, WebSocketReader, is_would_block};
use crate::events::websocket::{GOING_AWAY, STOPPING};
use crate::guarded_stream::GuardedStream;
use crate::limits::{CLOSE_READ_BYTES, CLOSE_TIMEOUT, IDLE_BATCH_MAX};

/// An open connection on which the server has sent its close frame.
struct ClosingConnection {
    stream: TcpStream,
    connection: Arc<Connection>,
    _present: GaugeGuard,
}

impl ClosingConnection {
    /// Keeps the socket, and drops the subscription with its waiting events.
    fn new(stream: TcpStream, reader: WebSocketReader) -> Self {
        let WebSocketReader { connection, _present, .. } = reader;
        Self { stream, connection, _present }
    }

    /// Reads input once. Returns whether the client has sent its close frame or the connection has
    /// ended. Ignores all other input.
    fn is_closed(&self) -> bool {
        let mut bytes = [0; CLOSE_READ_BYTES];
        match (&self.stream).read(&mut bytes) {
            Ok(read) => read == 0 || is_close_frame(&bytes[..read]),
            Err(error) => !is_would_block(&error),
        }
    }
}

impl IdleConnections {
    /// Sends a close frame to every connection. Then waits for the clients until [`CLOSE_TIMEOUT`]
    /// has passed or `cut` is cancelled.
    pub(super) async fn close(
        mut self,
        newcomers: &mut mpsc::Receiver<Box<IdleConnection>>,
        cut: &CancellationToken,
    ) {
        // After this call, no connection can reserve a slot. Connections that reserved a slot
        // before this call still arrive.
        newcomers.close();
        while let Some(idle) = newcomers.recv().await {
            self.register(idle);
        }
        let words = close_frame(GOING_AWAY, STOPPING);
        let mut closing = HashMap::new();
        for (at, key) in self.keys().into_iter().enumerate() {
            if at.is_multiple_of(IDLE_BATCH_MAX) {
                yield_now().await;
            }
            closing.extend(
                self.send_close(key, &words).map(|closing_connection| (key, closing_connection)),
            );
        }
        let late = Instant::now() + CLOSE_TIMEOUT;
        while !closing.is_empty() {
            tokio::select! {
                readable = self.poller.readable_keys() => match readable {
                    Ok(keys) => drop_closed(&mut closing, &keys),
                    // The poller failed, so the server cannot wait for the clients' close frames.
                    Err(_) => return,
                },
                () = sleep_until(late) => return,
                () = cut.cancelled() => return,
            }
            yield_now().await;
        }
    }

    /// Sends a close frame, and returns the connection if the caller must wait for the client.
    /// Returns `None` if the connection is gone, or if the socket accepted only a part of the
    /// frame. In the second case, a separate task sends the rest and waits for the client.
    fn send_close(&mut self, key: u64, words: &[u8]) -> Option<ClosingConnection> {
        let sent = self.connections.get(&key)?.send(words);
        match sent {
            Ok(written) if written == words.len() => {
                let idle = *self.connections.remove(&key)?;
                Some(ClosingConnection::new(idle.stream, idle.reader))
            }
            Ok(written) => {
                let (stream, reader) = self.remove_connection(key)?;
                finish_close(
                    ClosingConnection::new(stream, reader),
                    words[written..].to_vec(),
                    self.app.write_stall,
                );
                None
            }
            Err(_) => {
                drop(self.remove_connection(key));
                None
            }
        }
    }
}

fn drop_closed(closing: &mut HashMap<u64, ClosingConnection>, readable: &[u64]) {
    for key in readable {
        if closing.get(key).is_some_and(ClosingConnection::is_closed) {
            closing.remove(key);
        }
    }
}

/// In a separate task, sends the rest of a close frame, and waits for the client's close frame.
fn finish_close(closing_connection: ClosingConnection, rest: Vec<u8>, stall: Duration) {
    tokio::spawn(async move {
        let ClosingConnection { stream, connection, _present } = closing_connection;
        // If the runtime cannot poll this socket, the socket is closed at once.
        let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
        let mut socket = GuardedStream::new(stream, Vec::new(), stall);
        let leaving = async {
            if socket.write_all(&rest).await.is_err() {
                return;
            }
            let mut bytes = [0; CLOSE_READ_BYTES];
            while let Ok(read) = socket.read(&mut bytes).await {
                if read == 0 || is_close_frame(&bytes[..read]) {
                    return;
                }
            }
        };
        tokio::select! {
            () = leaving => {}
            () = sleep(CLOSE_TIMEOUT) => {}
            () = connection.cut.cancelled() => {}
        }
    });
}
