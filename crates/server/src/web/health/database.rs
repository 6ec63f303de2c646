//! The metrics of the shared database and of the store's commits.

use crate::metrics::{MetricKind, MetricsText};
use crate::web::App;

/// Writes these metrics. A value is missing if this node does not know it, or if its shape does not
/// have it.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    let database = app.engine.database();
    let replication = database.replication();
    let rows = [
        (
            "doorbuster_store_commit_check_seconds",
            "How long the newest check commit of `/readyz` took.",
            database.commit_check.duration().map(|took| took.as_secs_f64().to_string()),
        ),
        (
            "doorbuster_store_fence",
            "Fencing number of the database's history. It rises with each failover.",
            database.history().map(|history| history.fence.to_string()),
        ),
        (
            "doorbuster_store_synchronous_standbys",
            "Connected standbys that confirm commits.",
            replication.as_ref().and_then(|found| Some(found.synchronous?.to_string())),
        ),
        (
            "doorbuster_store_synchronous_standbys_required",
            "Standbys that must confirm a commit.",
            replication.as_ref().map(|found| found.required.to_string()),
        ),
    ];
    for (name, help, value) in rows {
        text.metric(name, MetricKind::Gauge, help);
        if let Some(value) = value {
            text.sample(&[], value);
        }
    }
}
