//! The metrics of the continuous backup.

use doorbuster_telemetry::metrics::MetricsText;

use crate::App;

/// Writes the metrics of the continuous backup. They have no values if no such backup is
/// configured.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    let progress = app.node.store().commit_copy().map(doorbuster_store::CommitBuffer::progress);
    let now = app.node.store().now();
    let age = |since: doorbuster_core::Millis| (now.0 - since.0).max(0) as f64 / 1_000.0;
    text.gauge_if(
        "doorbuster_backup_waiting_seconds",
        "Age of the oldest commit that the continuous backup lacks; 0 if the backup has all commits.",
        progress.map(|progress| progress.waiting_since.map_or(0.0, age)),
    );
    text.gauge_if(
        "doorbuster_backup_newest_commit_age_seconds",
        "Age of the newest commit in the continuous backup.",
        progress.and_then(|progress| progress.copied_at).map(age),
    );
    text.gauge_if(
        "doorbuster_backup_base_due_seconds",
        "How long the backup has needed a new full copy of the store; 0 if it needs none.",
        progress.map(|progress| progress.base_due_since.map_or(0.0, age)),
    );
    text.counter_if(
        "doorbuster_backup_failures_total",
        "Failed writes to the continuous backup, and failed full copies of the store.",
        progress.map(|progress| progress.failures),
    );
}
