//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::dispatch::Service;
use super::fast_path;
use super::guarded_stream::GuardedStream;
use super::limits::{CONNECTION_BUFFER_BYTES_MAX, HEAD_BYTES_MAX};
use crate::metrics::GaugeGuard;

/// A connection's place among those allowed, kept until nothing of it is left: a WebSocket takes it
/// over.
pub(crate) struct Connection {
    pub service: Arc<Service>,
    /// Who is at the other end.
    pub peer: IpAddr,
    /// From here on the request in progress is the last.
    pub stop: CancellationToken,
    /// From here on nothing more is waited for.
    pub cut: CancellationToken,
    /// How long it may be idle, or take for a request head.
    pub idle: Duration,
    pub _place: (OwnedSemaphorePermit, GaugeGuard, TaskTrackerToken),
}

/// Serves a connection to its end.
pub(crate) async fn serve(this: Arc<Connection>, stream: TcpStream) {
    // Boxed where it is needed: a connection that only buys never takes the general server's room.
    if let Some((stream, before)) = fast_path::serve(&this, stream).await {
        Box::pin(general(this, stream, before)).await;
    }
}

/// Serves whatever comes, after what came `before`.
async fn general(this: Arc<Connection>, stream: TcpStream, before: Vec<u8>) {
    let answer = service_fn(|request| {
        let this = this.clone();
        async move { Ok::<_, Infallible>(Service::answer(this, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the time that a connection may be idle: it runs from the end of one request to the
        // end of the next head.
        .header_read_timeout(this.idle)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .serve_connection(
            TokioIo::new(GuardedStream::new(stream, before, this.service.app.write_stall)),
            answer,
        )
        .with_upgrades();
    let mut connection = pin!(connection);
    // A token of its own: the shared one is locked by whoever looks at it, which would be
    // everybody, all the time.
    let stop = this.stop.child_token();
    let finished = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = this.cut.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = finished {
        // Clients break off all the time; that is theirs to know.
        tracing::trace!(%error, "a connection broke off");
    }
}
