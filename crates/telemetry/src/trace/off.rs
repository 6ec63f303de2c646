//! Replaces [`trace`](crate) in a build without the feature `otel`. Nothing is traced.

/// An empty value in place of the trace of a purchase.
pub struct Trace;

/// Returns no trace.
pub fn purchase(_parent: Option<&[u8]>) -> Trace {
    Trace
}

impl Trace {
    /// Runs the part of the purchase that needs only the node's memory. This part is not traced.
    pub fn run_sync<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Runs the rest of the purchase without a trace.
    pub fn run<F: Future>(&self, work: F) -> F {
        work
    }
}

/// Runs a part of a purchase without a trace.
pub fn traced<F: Future>(_name: &'static str, work: F) -> F {
    work
}

/// Settles a batch without a trace.
pub fn trace_batch<F: Future>(_tickets: usize, work: F) -> F {
    work
}

/// The environment variables that can contain the address of a collector.
const ENDPOINTS: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
];

/// Logs a warning if the environment names a collector, because this build sends nothing to it.
pub fn announce() {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(variable) = ENDPOINTS.into_iter().find(|name| is_set(name)) {
        tracing::warn!(
            variable,
            event = "trace.not_built",
            "the environment names a collector, but this program was built without the feature \
             otel; build it with --features otel to send traces, metrics and logs"
        );
    }
}

/// Sends nothing.
pub fn flush() {}
