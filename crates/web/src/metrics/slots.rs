//! The metrics of the servers that hold slots.

use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use crate::App;

/// Writes whether each Redis server answers, and how many of them have settings with which a node
/// refuses to start. If the slots are in the nodes' memory, there are no Redis servers.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    let evidence = app.stock.slots().evidence();
    text.metric(
        "doorbuster_slot_server_up",
        MetricKind::Gauge,
        "1 while a Redis server that holds slots answers.",
    );
    for server in &evidence.servers {
        text.sample(&[("server", &server.address)], u8::from(server.is_up));
    }
    text.gauge(
        "doorbuster_slot_servers_refused",
        "Redis servers that hold slots, but evict keys, are too old, or are replicas.",
        evidence.refusals.len(),
    );
}
