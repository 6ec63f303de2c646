//! Checks that the store commits in time. A node is ready only if commits return. All callers share
//! one check, and a check begins at most once a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorbuster_store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long the result of a check is reused.
const EVERY: Duration = Duration::from_secs(1);
/// A commit counts as stalled if it has not returned after this time.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The newest check of a node.
#[derive(Debug, Default)]
pub(crate) struct CommitCheck(Mutex<Option<Check>>);

/// One check.
#[derive(Clone, Debug)]
struct Check {
    began: Instant,
    /// How long the commit took. Empty until the commit returns. A failed commit also counts as
    /// returned, because the store's health reports the failure.
    took: watch::Receiver<Option<Duration>>,
}

impl CommitCheck {
    /// Returns whether the newest commit has not returned in time. Begins a new check if the newest
    /// check is old.
    pub(crate) async fn is_stalled(&self, store: &Store) -> bool {
        let Check { began, mut took } = self.begin(store);
        let returned = took.wait_for(Option::is_some);
        !matches!(timeout_at(began + STALLED_AFTER, returned).await, Ok(Ok(_)))
    }

    /// Begins a check if the newest check is old. Each check also records a new position in the
    /// database's log, so that the node recognizes an older copy of the database.
    pub(crate) fn begin_if_due(&self, store: &Store) {
        drop(self.begin(store));
    }

    /// Returns how long the newest finished commit took.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().and_then(|check| *check.took.borrow())
    }

    /// Returns the newest check, or a new one. While a commit has not returned, no new check
    /// begins.
    fn begin(&self, store: &Store) -> Check {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(check) = &*newest {
            let is_running = check.took.borrow().is_none() && check.took.has_changed().is_ok();
            if is_running || check.began.elapsed() < EVERY {
                return check.clone();
            }
        }
        let began = Instant::now();
        let (returned, took) = watch::channel(None);
        let store = store.clone();
        // The check continues if its caller stops waiting.
        tokio::spawn(async move {
            if let Err(error) = store.commit_check().await {
                tracing::debug!(%error, "failed to commit the check of the store");
            }
            returned.send_replace(Some(began.elapsed()));
        });
        let check = Check { began, took };
        *newest = Some(check.clone());
        check
    }
}

/// The reason in `/readyz` when commits do not return.
pub(crate) const STORE_STALLED: &str = "store_stalled";
/// The warning in `/readyz` when a standby is missing.
pub(crate) const SYNCHRONOUS_STANDBY_MISSING: &str = "synchronous_standby_missing";
