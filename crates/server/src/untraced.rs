//! Replaces [`trace`](crate) in a build without the feature `otel`. The functions here trace
//! nothing and cost nothing.

/// The missing trace of a purchase.
pub(crate) struct Trace;

/// Returns no trace.
pub(crate) fn purchase() -> Trace {
    Trace
}

impl Trace {
    /// Runs the check from memory unchanged.
    pub(crate) fn run_sync<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Runs the rest of the purchase unchanged.
    pub(crate) fn run<F: Future>(&self, work: F) -> F {
        work
    }
}

/// Runs a part of a purchase unchanged.
pub(crate) fn traced<F: Future>(_name: &'static str, work: F) -> F {
    work
}

/// Settles a batch unchanged.
pub(crate) fn trace_batch<F: Future>(_tickets: usize, work: F) -> F {
    work
}

/// Sends nothing.
pub(crate) fn flush() {}
