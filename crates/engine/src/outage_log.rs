//! Keeps the log short while the store or Redis is unavailable. It does not log each failed call.
//! It logs the beginning and the end of an outage, and a summary every ten seconds.
//!
//! While PostgreSQL is unavailable, the store itself logs the outage. So for the store, this module
//! summarizes only calls that fail while PostgreSQL is available.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_slots::SlotError;
use doorbuster_store::StoreError;

use crate::error::EngineError;

/// The time between two log lines about a continuing outage.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);
/// If no call has failed for this long, the outage counts as ended. During an outage, jobs repeat
/// their failed calls more often than this.
const OVER_AFTER: Duration = Duration::from_secs(3);
/// The store itself notices an outage within this time after the first failed call, and then logs
/// it. So this module waits this long before it logs failed calls.
const STORE_NOTICES_WITHIN: Duration = Duration::from_secs(3);

/// The log event of a failed request.
const REQUEST: &str = "server.request_failed";

/// A system that can be unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnavailableSystem {
    /// The store.
    Store,
    /// The servers that hold slots.
    Slots,
}

/// An error that may be part of an outage.
pub trait FailedCall: std::fmt::Display {
    /// Returns the system that is unavailable. Returns `None` if the error is not part of an
    /// outage.
    fn away(&self) -> Option<UnavailableSystem>;
}

impl<E: FailedCall> FailedCall for &E {
    fn away(&self) -> Option<UnavailableSystem> {
        (**self).away()
    }
}

impl FailedCall for StoreError {
    fn away(&self) -> Option<UnavailableSystem> {
        matches!(self, Self::Unavailable { .. }).then_some(UnavailableSystem::Store)
    }
}

impl FailedCall for SlotError {
    fn away(&self) -> Option<UnavailableSystem> {
        Some(UnavailableSystem::Slots)
    }
}

impl FailedCall for EngineError {
    fn away(&self) -> Option<UnavailableSystem> {
        match self {
            Self::Store(error) => error.away(),
            Self::Slot(error) => error.away(),
            Self::Open(_) | Self::Drain | Self::TooEarly => None,
        }
    }
}

#[derive(Debug)]
struct Failures {
    began: Instant,
    newest: Instant,
    logged: Instant,
    /// For each job, the number of its failures since the last log line. The key is the job's log
    /// event.
    by_job: BTreeMap<&'static str, u64>,
    error: String,
}

impl Failures {
    /// Returns each job with the number of its failures, most failures first. Then resets the
    /// numbers.
    fn take_jobs(&mut self) -> String {
        let mut jobs: Vec<_> = std::mem::take(&mut self.by_job).into_iter().collect();
        jobs.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        jobs.iter().map(|(job, times)| format!("{job}={times}")).collect::<Vec<_>>().join(" ")
    }
}

/// The outages that this node sees.
#[derive(Debug, Default)]
pub struct OutageLog {
    store: Mutex<Option<Failures>>,
    slots: Mutex<Option<Failures>>,
}

impl OutageLog {
    fn lock(&self, away: UnavailableSystem) -> MutexGuard<'_, Option<Failures>> {
        let of = match away {
            UnavailableSystem::Store => &self.store,
            UnavailableSystem::Slots => &self.slots,
        };
        of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a failed call if its error is part of an outage, and returns `true`. Otherwise,
    /// returns `false`, and the caller must log the failure. `job` is the caller's log event.
    /// Callers must use a fixed set of events, because each one needs memory.
    pub fn count_if_outage(&self, error: &impl FailedCall, job: &'static str) -> bool {
        let Some(away) = error.away() else { return false };
        let now = Instant::now();
        let mut failures = self.lock(away);
        let is_new = failures.is_none();
        let failures = failures.get_or_insert_with(|| Failures {
            began: now,
            newest: now,
            logged: now,
            by_job: BTreeMap::new(),
            error: String::new(),
        });
        failures.newest = now;
        failures.error = error.to_string();
        *failures.by_job.entry(job).or_default() += 1;
        if is_new && away == UnavailableSystem::Slots {
            tracing::error!(
                error = failures.error,
                event = "slot.outage_began",
                "a server that holds slots is unavailable; retrying"
            );
        }
        true
    }

    /// Counts a request that failed because of an outage. If there is no outage, or if this failure
    /// is the first of an outage, returns `false`. The caller must then log the failure.
    pub fn count_request_if_outage(&self, error: &impl FailedCall) -> bool {
        let is_known = error.away().is_some_and(|away| self.lock(away).is_some());
        self.count_if_outage(error, REQUEST) && is_known
    }

    pub(crate) fn check(&self, is_store_available: bool) {
        self.check_slots();
        let mut failures = self.lock(UnavailableSystem::Store);
        let Some(now) = failures.as_mut() else { return };
        if !is_store_available {
            // The store itself logs this outage. Directly after the outage, some calls may still
            // fail. So the times start again here. Otherwise this module would log those failures
            // as a second outage.
            (now.began, now.logged) = (Instant::now(), Instant::now());
            now.by_job.clear();
        } else if now.newest.elapsed() >= OVER_AFTER && now.by_job.is_empty() {
            *failures = None;
        } else if now.began.elapsed() >= STORE_NOTICES_WITHIN
            && (now.logged == now.began || now.logged.elapsed() >= SUMMARY_INTERVAL)
            && !now.by_job.is_empty()
        {
            now.logged = Instant::now();
            let jobs = now.take_jobs();
            tracing::warn!(
                error = now.error,
                jobs,
                event = "store.calls_failed",
                "calls to the store failed; retrying"
            );
        }
    }

    fn check_slots(&self) {
        let mut failures = self.lock(UnavailableSystem::Slots);
        let Some(now) = failures.as_mut() else { return };
        if now.newest.elapsed() >= OVER_AFTER {
            let for_ms = (now.newest - now.began).as_millis();
            tracing::warn!(
                for_ms,
                event = "slot.outage_ended",
                "the servers that hold slots are available again"
            );
            *failures = None;
        } else if now.logged.elapsed() >= SUMMARY_INTERVAL {
            now.logged = Instant::now();
            let (for_secs, jobs) = (now.began.elapsed().as_secs(), now.take_jobs());
            tracing::error!(
                error = now.error,
                for_secs,
                jobs,
                event = "slot.outage_continues",
                "a server that holds slots is still unavailable; retrying"
            );
        }
    }
}

/// Logs a failure after which the caller tries again. The level is `debug` during an outage, and
/// `warn` at all other times.
#[macro_export]
macro_rules! warn_unless_away {
    ($outages:expr, $error:expr, event = $event:literal, $($line:tt)+) => {{
        let error = &$error;
        if $outages.count_if_outage(error, $event) {
            tracing::debug!(%error, event = $event, $($line)+);
        } else {
            tracing::event!(tracing::Level::WARN, %error, event = $event, $($line)+);
        }
    }};
}

pub use warn_unless_away as warn;

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> StoreError {
        StoreError::Unavailable { reason: "no route".into(), may_have_happened: false }
    }

    #[test]
    fn failures_of_an_unavailable_store_are_counted_and_others_are_not() {
        let outages = OutageLog::default();
        assert!(outages.count_if_outage(&unavailable(), "node.lease_failed"));
        assert!(outages.count_if_outage(&EngineError::from(unavailable()), "node.lease_failed"));
        assert!(outages.count_if_outage(&unavailable(), "audit.run_failed"));
        assert!(
            !outages.count_if_outage(&StoreError::Unexpected("a bug".into()), "audit.run_failed")
        );
        assert!(!outages.count_if_outage(&EngineError::Drain, "audit.run_failed"));
        let jobs = outages.lock(UnavailableSystem::Store).as_mut().expect("failures").take_jobs();
        assert_eq!(jobs, "node.lease_failed=2 audit.run_failed=1");
        assert!(outages.lock(UnavailableSystem::Slots).is_none());
    }

    #[test]
    fn failures_during_an_outage_that_the_store_logs_are_forgotten() {
        let outages = OutageLog::default();
        assert!(outages.count_if_outage(&unavailable(), "node.lease_failed"));
        outages.check(false);
        assert!(
            outages.lock(UnavailableSystem::Store).as_ref().expect("failures").by_job.is_empty()
        );
    }

    #[test]
    fn an_outage_of_slots_ends_when_no_call_fails_any_more() {
        let outages = OutageLog::default();
        let error = SlotError { reason: "no route".into(), may_have_happened: false };
        assert!(outages.count_if_outage(&error, "slot.take_failed"));
        outages.check(true);
        assert!(outages.lock(UnavailableSystem::Slots).is_some());
        let past = Instant::now().checked_sub(OVER_AFTER).expect("a time after the start");
        outages.lock(UnavailableSystem::Slots).as_mut().expect("failures").newest = past;
        outages.lock(UnavailableSystem::Slots).as_mut().expect("failures").began = past;
        outages.check(true);
        assert!(outages.lock(UnavailableSystem::Slots).is_none());
    }
}
