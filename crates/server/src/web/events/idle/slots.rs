//! The ways into the dormitories, and who keeps these open.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::poller::Poller;
use super::{IdleConnection, IdleConnections};
use crate::web::App;
use crate::web::limits::{IDLE_ARRIVALS_MAX, IDLE_RESTART_PAUSE, IDLE_TASKS_MAX};

/// A place in a dormitory, for one who is about to sleep.
pub(in crate::web::events) type IdleSlot = mpsc::OwnedPermit<Box<IdleConnection>>;

/// The ways into the dormitories.
pub(crate) struct IdleSlots {
    senders: Vec<mpsc::Sender<Box<IdleConnection>>>,
    next: AtomicUsize,
}

impl IdleSlots {
    /// Opens dormitories, until the server stops, or `tasks` are gone: then whoever sleeps there is
    /// left. Past the `cut` nobody is waited for.
    pub(crate) fn open(app: &Arc<App>, cut: &CancellationToken, tasks: &mut JoinSet<()>) -> Self {
        let workers = Handle::current().metrics().num_workers();
        let mut senders = Vec::new();
        for _ in 0..workers.min(IDLE_TASKS_MAX) {
            let (bed, newcomers) = mpsc::channel(IDLE_ARRIVALS_MAX);
            tasks.spawn(run_idle_task(app.clone(), newcomers, cut.clone()));
            senders.push(bed);
        }
        Self { senders, next: AtomicUsize::default() }
    }

    /// A bed in one of them, in turn, if it has one and is open.
    pub(in crate::web::events) fn reserve(&self) -> Option<IdleSlot> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.senders.len())?;
        self.senders[at].clone().try_reserve_owned().ok()
    }
}

/// Keeps a dormitory until the server stops. Should it break down, whoever sleeps there is gone and
/// may come again, and another is opened in its place.
async fn run_idle_task(
    app: Arc<App>,
    mut newcomers: mpsc::Receiver<Box<IdleConnection>>,
    cut: CancellationToken,
) {
    loop {
        let poller = match Poller::new() {
            Ok(poller) => poller,
            Err(error) => {
                tracing::warn!(%error, "WebSockets to which nothing happens cannot be put to sleep");
                return;
            }
        };
        let reconciling = IdleConnections::new(app.clone(), poller).run(&mut newcomers, &cut);
        if AssertUnwindSafe(reconciling).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!("sleeping WebSockets were lost by a fault, see above");
        sleep(IDLE_RESTART_PAUSE).await;
    }
}
