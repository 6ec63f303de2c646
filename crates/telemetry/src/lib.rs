//! What the server reports about itself: log lines, metrics and traces, and their export by OTLP.

pub mod answer_counts;
pub mod log;
pub mod metrics;
#[cfg(feature = "otel")]
pub mod otlp;
pub mod trace;
