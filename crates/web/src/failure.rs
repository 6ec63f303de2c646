//! Turns internal failures into problems. A problem does not contain the cause of the failure. The
//! cause is only in the log, with the request's id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::problem::Problem;
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log::{FailedCall, UnavailableSystem};
use doorbuster_store::StoreError;

use super::limits::RETRY_SECS;
use super::reply::HandlerError;

/// In each second, the log gets at most this many lines about failed requests. Further lines are
/// dropped.
const LINES_PER_SECOND_MAX: u64 = 50;

/// The cause of a failed request. The cause is put into the response's extensions, where `dispatch`
/// finds and logs the cause.
#[derive(Clone, Debug)]
pub(crate) struct FailureCause {
    text: Arc<str>,
    /// The system whose outage made the request fail, or `None` for another cause.
    away: Option<UnavailableSystem>,
}

impl FailureCause {
    /// Creates a cause that is not an outage.
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), away: None }
    }
}

impl std::fmt::Display for FailureCause {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)
    }
}

impl FailedCall for FailureCause {
    fn away(&self) -> Option<UnavailableSystem> {
        self.away
    }
}

impl From<EngineError> for HandlerError {
    fn from(error: EngineError) -> Self {
        let problem = match &error {
            EngineError::Store(StoreError::Unexpected(_)) | EngineError::Open(_) => {
                Problem::internal()
            }
            EngineError::Drain => Problem::unavailable(
                "the tickets in flight are not settled yet; send the same request again",
                RETRY_SECS,
            ),
            EngineError::TooEarly => Problem::unavailable(
                "the message's payment is not recorded yet, or its order is not decided yet; send \
                 the same message again",
                RETRY_SECS,
            ),
            EngineError::Store(_) => Problem::unavailable(
                "the store is unavailable; send the same request again",
                RETRY_SECS,
            ),
            EngineError::Slot(_) => Problem::unavailable(
                "the slots are unavailable; send the same request again",
                RETRY_SECS,
            ),
        };
        let cause = FailureCause { text: error.to_string().into(), away: error.away() };
        Self { problem: Box::new(problem), cause: Some(cause) }
    }
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        EngineError::from(error).into()
    }
}

/// Limits the number of log lines about failed requests, so that an outage of the store does not
/// fill the disk.
#[derive(Debug, Default)]
pub(crate) struct FailureLogLimiter {
    second: AtomicU64,
    written: AtomicU64,
}

impl FailureLogLimiter {
    pub(crate) fn may_write(&self, second: u64) -> bool {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.written.store(0, Ordering::Relaxed);
        }
        self.written.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND_MAX
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_slots::SlotError;

    use super::*;

    #[test]
    fn a_problem_names_the_unavailable_part() {
        let detail = |error: EngineError| HandlerError::from(error).problem.detail().to_owned();
        let slots = SlotError { reason: "no route".into(), may_have_happened: false };
        assert!(detail(slots.into()).starts_with("the slots are unavailable"));
        let store = StoreError::Unavailable { reason: "no route".into(), may_have_happened: false };
        assert!(detail(store.into()).starts_with("the store is unavailable"));
    }

    #[test]
    fn the_lines_in_each_second_are_bounded() {
        let lines = FailureLogLimiter::default();
        let written = |second| (0..200).filter(|_| lines.may_write(second)).count() as u64;
        assert_eq!(written(7), LINES_PER_SECOND_MAX);
        assert_eq!(written(8), LINES_PER_SECOND_MAX);
    }
}
