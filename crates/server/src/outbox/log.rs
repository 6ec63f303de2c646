//! The log lines about the delivery of events to an endpoint.

/// Logs that an endpoint began to fail, or that it accepts events again.
pub(super) fn endpoint_changed(endpoint: &str, failed_before: bool, error: &str) {
    if failed_before {
        tracing::info!(
            endpoint,
            event = "webhook.endpoint_recovered",
            "an endpoint accepts events again"
        );
    } else {
        tracing::warn!(
            endpoint,
            error,
            event = "webhook.endpoint_failing",
            "an endpoint does not accept events; trying one event at a time"
        );
    }
}

/// Logs that an event became a dead letter.
pub(super) fn dead_letter(endpoint: &str, event_id: &str, error: Option<&str>) {
    tracing::error!(
        endpoint,
        event_id,
        error,
        event = "webhook.dead_letter",
        "an event could not be delivered and is a dead letter"
    );
}

/// Logs that an endpoint asked for no more events.
pub(super) fn endpoint_gone(endpoint: &str) {
    tracing::error!(
        endpoint,
        event = "webhook.endpoint_gone",
        "an endpoint answered 410 Gone and is disabled; an operator must act"
    );
}

/// Logs that another node has the lease of this endpoint.
pub(super) fn other_node_delivered(endpoint: &str) {
    tracing::info!(
        endpoint,
        event = "webhook.other_node_delivered",
        "another node delivered events to this endpoint"
    );
}
