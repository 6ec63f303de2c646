//! The answer after a panic.

use doorbuster_api::problem::Problem;

use crate::failure::FailureCause;
use crate::reply::{HandlerError, Reply};

/// Returns the response to a request whose handler panicked. Other requests are not affected. The
/// panic hook has already logged the panic.
pub(crate) fn internal_error() -> Reply {
    HandlerError {
        problem: Box::new(Problem::internal()),
        cause: Some(FailureCause::new("a handler panicked; the panic was logged before")),
    }
    .reply()
}
