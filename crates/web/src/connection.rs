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
    /// Weak, because the idle WebSockets have references to this `Service`. Strong references in
    /// both directions would keep the service and the WebSockets in memory forever.
    pub idle_slots: Weak<IdleTasks>,
}

impl Service {
    pub(crate) fn new(app: Arc<App>, router: Router, idle_slots: Weak<IdleTasks>) -> Self {
        Self { app, router, purchase: route_index("purchase"), idle_slots }
    }
}

/// An open connection. It counts towards the limit of connections until this value is dropped. A
/// WebSocket keeps this value until it closes.
pub(crate) struct Connection {
    pub service: Arc<Service>,
    /// The address of the peer.
    pub peer: IpAddr,
    /// Cancelled when the connection must end after the current request.
    pub stop: CancellationToken,
    /// Cancelled when the connection must end at once.
    pub cut: CancellationToken,
    /// How long the connection may be idle, and how long a request's head may take to arrive.
    pub idle: Duration,
    pub overdue: StreamDeadline,
    pub _place: (GaugeGuard, TaskTrackerToken),
}

/// Contains a future that completes when the event stream on a connection must end. If the client
/// stops reading, nothing polls the response body, so the body cannot end the stream. The
/// connection polls this future instead.
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
            // No waker is needed: a future is set only while the connection is polled, and the same
            // poll calls this method afterwards.
            None => Poll::Pending,
        }
    }
}

pub(crate) struct StreamGuard(Arc<Connection>);

impl StreamGuard {
    /// Creates a guard. If the guard still exists when `overdue` completes, the connection ends.
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
        // The stream has ended, and the connection may serve more requests.
        *self.0.overdue.lock() = None;
    }
}
