//! One connection, and the state that all connections share.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use doorbuster_telemetry::metrics::{GaugeGuard, RouteIndex, route_index};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::app::App;
use super::events::IdleTasks;

/// The state that all connections share.
pub(crate) struct Service {
    pub app: Arc<App>,
    pub router: Router,
    pub purchase: RouteIndex,
    /// The slots for idle WebSockets. This reference is weak to avoid a cycle, because a WebSocket
    /// that waits in a slot has a reference to this `Service`. In such a cycle, both would stay in
    /// memory forever.
    pub idle_slots: Weak<IdleTasks>,
}

impl Service {
    /// Creates the state before the first connection.
    pub(crate) fn new(app: Arc<App>, router: Router, idle_slots: Weak<IdleTasks>) -> Self {
        Self { app, router, purchase: route_index("purchase"), idle_slots }
    }
}

/// A connection. It counts as an open connection until this value is dropped. A WebSocket keeps
/// this value until the WebSocket ends.
pub(crate) struct Connection {
    pub service: Arc<Service>,
    /// The address of the peer.
    pub peer: IpAddr,
    /// Cancelled when the connection must end after the current request.
    pub stop: CancellationToken,
    /// Cancelled when the connection must end at once.
    pub cut: CancellationToken,
    /// How long the connection may be idle, and how long the head of a request may take to arrive.
    pub idle: Duration,
    pub overdue: StreamDeadline,
    pub _place: (GaugeGuard, TaskTrackerToken),
}

/// A future that completes when the event stream on a connection must end. While the client reads
/// nothing, the answer's body is not polled. So the connection itself polls this future.
#[derive(Default)]
pub(crate) struct StreamDeadline(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl StreamDeadline {
    fn lock(&self) -> MutexGuard<'_, Option<Pin<Box<dyn Future<Output = ()> + Send>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `Ready` if the connection must end now.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            Some(overdue) => overdue.as_mut().poll(context),
            // The future is set only during a poll of the connection, and the same poll calls this
            // method afterwards. So the method registers no waker.
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
        // The connection may serve other requests after this stream, so the future is removed.
        *self.0.overdue.lock() = None;
    }
}
