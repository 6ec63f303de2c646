//! The metrics of the log. With them, an alarm can react to log lines without reading the log.

use doorbuster_telemetry::log::event_counts;
use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use crate::App;

/// Writes the metrics of the log, and how often the OTLP collector did not accept metrics or logs.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_log_events_total",
        MetricKind::Counter,
        "Log lines of the levels warn and error, by event.",
    );
    for (event, count) in event_counts() {
        let level = event.level.as_str().to_ascii_lowercase();
        text.sample(&[("event", event.code), ("level", &level)], count);
    }
    text.counter(
        "doorbuster_otlp_failures_total",
        "Requests with metrics or logs that the OTLP collector did not accept.",
        app.metrics.otlp_failures.get(),
    );
}
