//! Starts the tasks that serve idle connections. Each task has a number of slots for connections.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::idle_connection::{IdleConnection, IdleTasks};
use super::IdleConnections;
use super::poller::Poller;
use crate::App;
use crate::limits::{IDLE_ARRIVALS_MAX, IDLE_RESTART_PAUSE, IDLE_TASKS_MAX};

impl IdleTasks {
    /// Starts the tasks in `tasks`. When the server stops, the tasks close their connections. Then
    /// the tasks wait for the clients' close frames, at most until `cut` is cancelled. If `tasks`
    /// is dropped, the tasks end at once.
    pub(crate) fn open(app: &Arc<App>, cut: &CancellationToken, tasks: &mut JoinSet<()>) -> Self {
        let workers = Handle::current().metrics().num_workers();
        let mut senders = Vec::new();
        for _ in 0..workers.min(IDLE_TASKS_MAX) {
            let (sender, newcomers) = mpsc::channel(IDLE_ARRIVALS_MAX);
            tasks.spawn(run_idle_task(app.clone(), newcomers, cut.clone()));
            senders.push(sender);
        }
        Self { senders, next: AtomicUsize::default() }
    }
}

/// Serves idle connections until the server stops or the poller fails. A panic closes all of these
/// connections, and then the loop starts again.
async fn run_idle_task(
    app: Arc<App>,
    mut newcomers: mpsc::Receiver<Box<IdleConnection>>,
    cut: CancellationToken,
) {
    loop {
        let poller = match Poller::new() {
            Ok(poller) => poller,
            Err(error) => {
                tracing::warn!(
                    %error,
                    event = "stream.poller_failed",
                    "failed to create a poller, so each idle WebSocket keeps a task of its own"
                );
                return;
            }
        };
        let reconciling = IdleConnections::new(app.clone(), poller).run(&mut newcomers, &cut);
        if AssertUnwindSafe(reconciling).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(
            event = "stream.lost",
            "idle WebSockets were lost because their task panicked"
        );
        sleep(IDLE_RESTART_PAUSE).await;
    }
}
