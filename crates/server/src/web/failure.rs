//! Failures of ours as problems: what happened goes to the log under the request's id, not to the
//! client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::problem::Problem;
use doorbuster_store::StoreError;

use super::limits::RETRY_SECS;
use super::reply::Refused;
use crate::engine::EngineError;

/// Lines about failed requests in any one second; further ones are not written.
const LINES_PER_SECOND_MAX: u64 = 50;

/// Why a request failed; travels in an answer's extensions to where it is logged.
#[derive(Clone, Debug)]
pub(crate) struct FailureCause(pub Arc<str>);

/// The problem that a failure of the engine is told as.
pub(crate) fn failed(error: impl Into<EngineError>) -> Refused {
    let error = error.into();
    let problem = match &error {
        EngineError::Store(StoreError::Unexpected(_)) | EngineError::Open(_) => Problem::internal(),
        EngineError::Drain => Problem::unavailable(
            "what is in flight has not settled yet; send the same request again",
            RETRY_SECS,
        ),
        EngineError::TooEarly => Problem::unavailable(
            "what it is about is not known or not decided yet; send the same message again",
            RETRY_SECS,
        ),
        EngineError::Store(_) => {
            Problem::unavailable("the store is away; send the same request again", RETRY_SECS)
        }
        EngineError::Slot(_) => {
            Problem::unavailable("the slots are away; send the same request again", RETRY_SECS)
        }
    };
    Refused { problem: Box::new(problem), cause: Some(FailureCause(error.to_string().into())) }
}

/// Bounds the lines about failures, so that a store that is away does not fill the disk as well.
#[derive(Debug, Default)]
pub(crate) struct FailureLogLimiter {
    second: AtomicU64,
    written: AtomicU64,
}

impl FailureLogLimiter {
    /// Whether one more line may be written in this second.
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
    fn what_is_away_is_told_by_its_name() {
        let told = |error: EngineError| failed(error).problem.detail().to_owned();
        let slots = SlotError { reason: "no route".into(), may_have_happened: false };
        assert!(told(slots.into()).starts_with("the slots are away"));
        let store = StoreError::Unavailable { reason: "no route".into(), may_have_happened: false };
        assert!(told(store.into()).starts_with("the store is away"));
    }

    #[test]
    fn lines_are_bounded_in_each_second() {
        let lines = FailureLogLimiter::default();
        let written = |second| (0..200).filter(|_| lines.may_write(second)).count() as u64;
        assert_eq!(written(7), LINES_PER_SECOND_MAX);
        assert_eq!(written(8), LINES_PER_SECOND_MAX);
    }
}
