//! Serves one connection until the connection closes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::connection::{Connection, Service};
use super::fast_path;
use super::guarded_stream::GuardedStream;
use super::limits::{CONNECTION_BUFFER_BYTES_MAX, HEAD_BYTES_MAX};

pub(crate) async fn serve(this: Arc<Connection>, stream: TcpStream) {
    // The future of the general server is large, so it is allocated only when it is needed. A
    // connection that sends only purchases never needs it, and uses less memory.
    if let Some((stream, before)) = fast_path::serve(&this, stream).await {
        Box::pin(general(this, stream, before)).await;
    }
}

/// Serves a connection with the general server. `before` contains the bytes that were already read
/// from the socket.
async fn general(this: Arc<Connection>, stream: TcpStream, before: Vec<u8>) {
    let answer = service_fn(|request| {
        let this = this.clone();
        async move { Ok::<_, Infallible>(Service::answer(this, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // This timeout also limits how long the connection may be idle, because the timeout starts
        // when the previous request ends.
        .header_read_timeout(this.idle)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .serve_connection(
            TokioIo::new(GuardedStream::new(stream, before, this.service.app.write_stall)),
            answer,
        )
        .with_upgrades();
    let mut connection = pin!(connection);
    // Each check of a cancellation token takes the token's lock. So each connection has its own
    // token, and the connections do not contend for one lock.
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
        // Clients often disconnect, so this is not logged as an error.
        tracing::trace!(%error, "connection ended with an error");
    }
}
