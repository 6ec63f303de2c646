//! Serves one connection until the connection closes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use doorbuster_telemetry::metrics::GaugeGuard;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::dispatch::Service;
use super::fast_path;
use super::guarded_stream::GuardedStream;
use super::limits::{CONNECTION_BUFFER_BYTES_MAX, HEAD_BYTES_MAX};

/// A connection. This value counts as one open connection until it is dropped. A WebSocket keeps
/// this value until the WebSocket ends.
pub(crate) struct Connection {
    pub service: Arc<Service>,
    /// The address of the peer.
    pub peer: IpAddr,
    /// Cancelled when the connection must end after the current request.
    pub stop: CancellationToken,
    /// Cancelled when the connection must end at once.
    pub cut: CancellationToken,
    /// How long the connection may be idle, or may take to send the head of a request.
    pub idle: Duration,
    pub overdue: Overdue,
    pub _place: (GaugeGuard, TaskTrackerToken),
}

/// A future that completes when the event stream on a connection must end. The connection polls
/// this future directly, because the answer's body is not polled while the client reads nothing.
#[derive(Default)]
pub(crate) struct Overdue(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Overdue {
    fn lock(&self) -> MutexGuard<'_, Option<Pin<Box<dyn Future<Output = ()> + Send>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            Some(overdue) => overdue.as_mut().poll(context),
            // No waker is needed. A request sets the future while the connection is polled, and
            // this method runs after that.
            None => Poll::Pending,
        }
    }
}

/// Represents an event stream on a connection until the stream's answer ends.
pub(crate) struct StreamGuard(Arc<Connection>);

impl StreamGuard {
    /// Ends the connection when `overdue` completes.
    pub(crate) fn new(
        connection: Arc<Connection>,
        overdue: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        *connection.overdue.lock() = Some(Box::pin(overdue));
        Self(connection)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        // A later request on this connection must not end with this stream.
        *self.0.overdue.lock() = None;
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(this: Arc<Connection>, stream: TcpStream) {
    // The future of the general server is allocated only when a request needs that server. So a
    // connection that sends only purchases uses less memory.
    if let Some((stream, before)) = fast_path::serve(&this, stream).await {
        Box::pin(general(this, stream, before)).await;
    }
}

/// Serves any request. `before` has the bytes that were already read from the socket.
async fn general(this: Arc<Connection>, stream: TcpStream, before: Vec<u8>) {
    let answer = service_fn(|request| {
        let this = this.clone();
        async move { Ok::<_, Infallible>(Service::answer(this, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // This timeout also bounds idle time. It runs from the end of one request to the end of the
        // next head.
        .header_read_timeout(this.idle)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .serve_connection(
            TokioIo::new(GuardedStream::new(stream, before, this.service.app.write_stall)),
            answer,
        )
        .with_upgrades();
    let mut connection = pin!(connection);
    // A child token avoids contention. All connections check the token very often, and each check
    // of a shared token locks that token.
    let stop = this.stop.child_token();
    let finished = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = poll_fn(|context| this.overdue.poll(context)) => Ok(()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = this.cut.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = finished {
        // Clients often disconnect, so the server does not report this as an error.
        tracing::trace!(%error, "connection ended with an error");
    }
}
