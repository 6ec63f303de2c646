//! Checks that the store commits in time. Without commits a node can sell nothing, so a node
//! without commits is not ready. All callers share one check, and a check begins at most once a
//! second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorbuster_store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

const RESULT_MAX_AGE: Duration = Duration::from_secs(1);
/// If a commit has not returned after this time, the store counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// A node is not ready after this many consecutive failed checks. A single failure may only mean
/// that a connection was lost.
const FAILURES_MIN: u32 = 2;

/// The newest check of whether the store commits in time.
#[derive(Debug, Default)]
pub struct CommitCheck(Mutex<Option<Check>>);

#[derive(Clone, Debug)]
struct Check {
    began: Instant,
    /// Empty until the commit returns.
    result: watch::Receiver<Option<CheckResult>>,
    /// The number of consecutive failed checks directly before this check.
    failed_before: u32,
    /// How long the previous check took.
    took_before: Duration,
}

#[derive(Clone, Debug)]
struct CheckResult {
    took: Duration,
    /// The reason of a failure.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitProgress {
    /// The commit has been running for this long.
    Running(Duration),
    /// The commit succeeded and took this long.
    Succeeded(Duration),
    /// The commit failed, perhaps after a long time.
    Failed,
}

impl Check {
    /// Returns the number of consecutive failed checks up to this check. If this check is still
    /// running, it does not count.
    fn failed(&self) -> u32 {
        match &*self.result.borrow() {
            None => self.failed_before,
            Some(CheckResult { error: None, .. }) => 0,
            Some(CheckResult { error: Some(_), .. }) => self.failed_before.saturating_add(1),
        }
    }

    /// Returns how long the commit took. While the commit runs, returns how long it has run, but at
    /// least the duration of the previous check. Without this minimum, the alarm for slow commits
    /// would stop whenever a new check begins.
    fn duration(&self) -> Duration {
        match &*self.result.borrow() {
            Some(result) => result.took,
            None if self.is_running() => self.took_before.max(self.began.elapsed()),
            None => self.took_before,
        }
    }

    fn is_running(&self) -> bool {
        // An error of `has_changed` means that the commit's task has ended without a result.
        self.result.has_changed().is_ok() && self.result.borrow().is_none()
    }

    /// Returns the check's error. Returns `None` if fewer than [`FAILURES_MIN`] consecutive checks
    /// failed.
    fn failure(&self) -> Option<String> {
        let error = self.result.borrow().as_ref()?.error.clone()?;
        (self.failed() >= FAILURES_MIN).then_some(error)
    }
}

impl CommitCheck {
    /// Returns why commits fail, or [`STORE_STALLED`] if the newest commit does not return in time.
    /// Returns `None` if the commit returned and fewer than [`FAILURES_MIN`] consecutive checks
    /// failed. Begins a check if the newest check has ended and is older than [`RESULT_MAX_AGE`].
    pub async fn failure(&self, store: &Store) -> Option<String> {
        Self::wait(self.begin(store)).await
    }

    /// Waits for the check's commit. Returns why commits fail, or [`STORE_STALLED`] if this commit
    /// does not return in time. Returns `None` if the commit returned and fewer than
    /// [`FAILURES_MIN`] consecutive checks failed.
    async fn wait(mut check: Check) -> Option<String> {
        let until = check.began + STALLED_AFTER;
        let has_returned =
            matches!(timeout_at(until, check.result.wait_for(Option::is_some)).await, Ok(Ok(_)));
        if has_returned { check.failure() } else { Some(STORE_STALLED.to_owned()) }
    }

    /// Begins a check if the newest check has ended and is older than [`RESULT_MAX_AGE`]. Each
    /// check also records a new position in the database's log. With this position, the node can
    /// recognize a database that is an older copy.
    pub(crate) fn begin_if_due(&self, store: &Store) {
        drop(self.begin(store));
    }

    /// Returns how long the newest commit took. While the commit runs, returns how long it has run,
    /// but at least the duration of the previous check. `None` before the first check.
    pub fn duration(&self) -> Option<Duration> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map(Check::duration)
    }

    /// Returns the state of the newest check's commit: running, succeeded or failed. `None` before
    /// the first check.
    pub(super) fn progress(&self) -> Option<CommitProgress> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().map(|check| match check.failed() {
            _ if check.is_running() => CommitProgress::Running(check.began.elapsed()),
            0 => CommitProgress::Succeeded(check.duration()),
            1.. => CommitProgress::Failed,
        })
    }

    /// Returns whether at least [`FAILURES_MIN`] consecutive checks failed.
    pub fn is_failing(&self) -> bool {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().is_some_and(|check| check.failed() >= FAILURES_MIN)
    }

    fn begin(&self, store: &Store) -> Check {
        let store = store.clone();
        self.begin_with(
            async move { store.commit_check().await.map_err(|error| error.to_string()) },
        )
    }

    /// Returns the newest check if it is recent or still running. Otherwise begins a new check,
    /// which runs `commit`, and returns the new check.
    fn begin_with(
        &self,
        commit: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> Check {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut failed_before, mut took_before) = (0, Duration::ZERO);
        if let Some(check) = &*newest {
            if check.is_running() || check.began.elapsed() < RESULT_MAX_AGE {
                return check.clone();
            }
            (failed_before, took_before) = (check.failed(), check.duration());
        }
        let began = Instant::now();
        let (returned, result) = watch::channel(None);
        // The commit runs in its own task, so it continues even if its caller stops waiting.
        tokio::spawn(async move {
            let error = commit.await.err();
            if let Some(error) = &error {
                tracing::debug!(error, "failed to commit to the store in the commit check");
            }
            returned.send_replace(Some(CheckResult { took: began.elapsed(), error }));
        });
        let check = Check { began, result, failed_before, took_before };
        *newest = Some(check.clone());
        check
    }
}

/// The reason that `/readyz` shows when commits do not return.
const STORE_STALLED: &str = "store_stalled";
/// The warning that `/readyz` shows when a standby is missing.
pub const SYNCHRONOUS_STANDBY_MISSING: &str = "synchronous_standby_missing";
/// The warning that `/readyz` shows when this node's database user lacks the privilege to see the
/// standbys.
pub const SYNCHRONOUS_STANDBYS_HIDDEN: &str = "synchronous_standbys_hidden";

#[cfg(test)]
mod tests;
