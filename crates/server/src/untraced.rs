//! What stands for [`trace`](crate) in a build without the feature `otel`: nothing, at no cost.

/// No trace of a purchase.
pub(crate) struct Trace;

/// There is none.
pub(crate) fn purchase() -> Trace {
    Trace
}

impl Trace {
    /// The look at a purchase as it is.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// The rest of it as it is.
    pub(crate) fn run<F: Future>(&self, work: F) -> F {
        work
    }
}

/// A part of a purchase as it is.
pub(crate) fn part<F: Future>(_name: &'static str, work: F) -> F {
    work
}

/// A batch as it is.
pub(crate) fn batch<F: Future>(_tickets: usize, work: F) -> F {
    work
}

/// There is nothing to send.
pub(crate) fn flush() {}
