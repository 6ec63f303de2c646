//! The metrics of an edge.

use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use crate::App;

/// Writes the metrics of an edge. On a node with a store, these metrics have no values.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    let node = app.node.edge();
    let age = node.and_then(|node| node.feed_age_ms());
    text.metric(
        "doorbuster_edge_feed_age_seconds",
        MetricKind::Gauge,
        "Age of this edge's copy of the nodes' memory. Above 2 s, the edge refuses no requests.",
    );
    if let Some(age) = age {
        text.sample(&[], age as f64 / 1_000.0);
    }
    let counters = [
        (
            "doorbuster_edge_refused_total",
            "Purchases that this edge refused from memory.",
            node.map(|node| node.refused.get()),
        ),
        (
            "doorbuster_edge_passed_on_total",
            "Requests that this edge passed on to a node.",
            node.map(|node| node.passed_on.get()),
        ),
        (
            "doorbuster_edge_pass_failures_total",
            "Requests that no node behind this edge answered.",
            node.map(|node| node.failed.get()),
        ),
        (
            "doorbuster_edge_feed_generations_total",
            "How often this edge read the feed from its beginning.",
            node.map(|node| node.feed.generations.get()),
        ),
        (
            "doorbuster_edge_feed_unused_reads_total",
            "Reads of the feed that failed, or returned data older than the copy.",
            node.map(|node| node.feed.failed.get()),
        ),
    ];
    for (name, help, value) in counters {
        text.metric(name, MetricKind::Counter, help);
        if let Some(value) = value {
            text.sample(&[], value);
        }
    }
    text.metric(
        "doorbuster_edge_relay_up",
        MetricKind::Gauge,
        "1 while a node sends buyers' events to this edge, else 0.",
    );
    if let Some(node) = node {
        text.sample(&[], u8::from(node.relay.is_connected()));
    }
    text.metric(
        "doorbuster_edge_upstreams_up",
        MetricKind::Gauge,
        "Nodes behind this edge that were ready at their last check.",
    );
    if let Some(node) = node {
        text.sample(&[], node.upstreams.ready());
    }
}
