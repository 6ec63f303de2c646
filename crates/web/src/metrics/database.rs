//! The metrics of the shared database and of the store's commits.

use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use crate::App;

/// Writes the metrics of the database and of commits. A metric has no value if nodes cannot know
/// the value in this shape of deployment.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    text.gauge(
        "doorbuster_store_up",
        "1 while the store can be used, and 0 during an outage.",
        u8::from(app.node.store().is_available()),
    );
    text.metric(
        "doorbuster_store_commit_seconds",
        MetricKind::Histogram,
        "How long the commit of a settled batch took.",
    )
    .histogram(&app.node.meter().commits());
    let database = app.node.database();
    let replication = database.replication();
    let check_took = database.commit_check.duration();
    text.gauge_if(
        "doorbuster_store_commit_check_seconds",
        "How long the newest test commit of `/readyz` took, or how long it has run so far.",
        check_took.map(|took| took.as_secs_f64()),
    );
    text.gauge_if(
        "doorbuster_store_commits_failing",
        "1 while the test commits of `/readyz` fail.",
        check_took.map(|_| u8::from(database.commit_check.is_failing())),
    );
    text.gauge_if(
        "doorbuster_store_lost_orders",
        "Acknowledged orders that the database lacks and that an operator must still handle.",
        database.lost_orders(),
    );
    text.gauge_if(
        "doorbuster_store_fence",
        "Fencing number of the database's history. It rises with each failover.",
        database.history().map(|history| history.fence),
    );
    text.gauge_if(
        "doorbuster_store_synchronous_standbys",
        "Connected standbys that confirm commits.",
        replication.as_ref().and_then(|found| found.synchronous),
    );
    text.gauge_if(
        "doorbuster_store_synchronous_standbys_required",
        "Standbys that must confirm a commit.",
        replication.as_ref().map(|found| found.required),
    );
}
