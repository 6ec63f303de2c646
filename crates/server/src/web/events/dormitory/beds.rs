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

use super::ears::Ears;
use super::{Dormitory, Sleeper};
use crate::web::App;
use crate::web::limits::{DORMITORIES_MAX, NEWCOMERS_MAX, REOPEN_PAUSE};

/// A place in a dormitory, for one who is about to sleep.
pub(in crate::web::events) type Bed = mpsc::OwnedPermit<Box<Sleeper>>;

/// The ways into the dormitories.
pub(crate) struct Beds {
    dormitories: Vec<mpsc::Sender<Box<Sleeper>>>,
    next: AtomicUsize,
}

impl Beds {
    /// Opens dormitories, until the server stops, or `tasks` are gone: then whoever sleeps there is left. Past the `cut` nobody is waited for.
    pub(crate) fn open(app: &Arc<App>, cut: &CancellationToken, tasks: &mut JoinSet<()>) -> Self {
        let workers = Handle::current().metrics().num_workers();
        let mut dormitories = Vec::new();
        for _ in 0..workers.min(DORMITORIES_MAX) {
            let (bed, newcomers) = mpsc::channel(NEWCOMERS_MAX);
            tasks.spawn(keep(app.clone(), newcomers, cut.clone()));
            dormitories.push(bed);
        }
        Self { dormitories, next: AtomicUsize::default() }
    }

    /// A bed in one of them, in turn, if it has one and is open.
    pub(in crate::web::events) fn one(&self) -> Option<Bed> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.dormitories.len())?;
        self.dormitories[at].clone().try_reserve_owned().ok()
    }
}

/// Keeps a dormitory until the server stops. Should it break down, whoever sleeps there is gone and may come again, and another is opened in its place.
async fn keep(app: Arc<App>, mut newcomers: mpsc::Receiver<Box<Sleeper>>, cut: CancellationToken) {
    loop {
        let ears = match Ears::new() {
            Ok(ears) => ears,
            Err(error) => {
                tracing::warn!(%error, "WebSockets to which nothing happens cannot be put to sleep");
                return;
            }
        };
        let tending = Dormitory::new(app.clone(), ears).tend(&mut newcomers, &cut);
        if AssertUnwindSafe(tending).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!("sleeping WebSockets were lost by a fault, see above");
        sleep(REOPEN_PAUSE).await;
    }
}
