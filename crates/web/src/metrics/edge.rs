//! The metrics of an edge.

use doorbuster_telemetry::metrics::MetricsText;

use crate::App;

/// Writes the metrics of an edge. On a node, they have no values.
pub(super) fn show(app: &App, text: &mut MetricsText) {
    let node = app.node.edge();
    let age = node.and_then(|node| node.feed_age_ms());
    text.gauge_if(
        "doorbuster_edge_feed_age_seconds",
        "Age of this edge's copy of the nodes' memory. Above 2 s, the edge passes all requests on.",
        age.map(|age| age as f64 / 1_000.0),
    );
    text.gauge_if(
        "doorbuster_edge_fresh",
        "1 while this edge refuses purchases by itself; 0 while it passes all requests on.",
        node.map(|node| u8::from(node.is_fresh())),
    );
    text.counter_if(
        "doorbuster_edge_refused_total",
        "Purchases that this edge refused from memory.",
        node.map(|node| node.refused.get()),
    );
    text.counter_if(
        "doorbuster_edge_passed_on_total",
        "Requests that this edge passed on to a node.",
        node.map(|node| node.passed_on.get()),
    );
    text.counter_if(
        "doorbuster_edge_pass_failures_total",
        "Requests that no node behind this edge answered.",
        node.map(|node| node.failed.get()),
    );
    text.counter_if(
        "doorbuster_edge_feed_generations_total",
        "How often this edge read the feed from its beginning.",
        node.map(|node| node.feed_generations.get()),
    );
    text.counter_if(
        "doorbuster_edge_feed_unused_reads_total",
        "Reads of the feed that failed, or that returned older data than this edge's copy.",
        node.map(|node| node.feed_failures.get()),
    );
    text.gauge_if(
        "doorbuster_edge_relay_up",
        "1 while a node sends buyers' events to this edge, else 0.",
        node.map(|node| u8::from(node.relay.is_connected())),
    );
    text.gauge_if(
        "doorbuster_edge_upstreams_up",
        "Nodes behind this edge that were ready at their last check.",
        node.map(|node| node.upstreams.ready()),
    );
}
