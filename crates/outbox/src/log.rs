//! The log lines about the delivery of events to an endpoint.

use std::time::{Duration, Instant};

use doorbuster_engine::outage_log::{self, OutageLog};
use doorbuster_store::StoreError;

/// The shortest time between two log lines about events that an endpoint refuses although it
/// accepts other events.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Limits the number of log lines about one endpoint.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    logged_at: Option<Instant>,
}

impl RefusalLog {
    /// Logs when the endpoint begins to fail, and when it accepts events again. While the endpoint
    /// as a whole does not fail, logs refused events too, at most one event in each
    /// [`REFUSAL_LOG_INTERVAL`].
    pub(super) fn note(
        &mut self,
        endpoint: &str,
        (is_changed, failed_before): (bool, bool),
        error: Option<&str>,
    ) {
        if is_changed {
            endpoint_changed(endpoint, failed_before, error.unwrap_or_default());
        } else if let Some(error) = error
            && !failed_before
            && self.logged_at.is_none_or(|at| at.elapsed() >= REFUSAL_LOG_INTERVAL)
        {
            self.logged_at = Some(Instant::now());
            tracing::warn!(
                endpoint,
                error,
                event = "webhook.endpoint_failing",
                "an endpoint does not accept an event"
            );
        }
    }
}

fn endpoint_changed(endpoint: &str, failed_before: bool, error: &str) {
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

pub(super) fn delivery_failed(outages: &OutageLog, endpoint: &str, error: &StoreError) {
    outage_log::warn!(
        outages,
        error,
        event = "webhook.delivery_failed",
        endpoint,
        "failed to deliver events to an endpoint; will retry"
    );
}

pub(super) fn dead_letter(endpoint: &str, event_id: &str, error: Option<&str>) {
    tracing::error!(
        endpoint,
        event_id,
        error,
        event = "webhook.dead_letter",
        "an event could not be delivered and is a dead letter; retry or discard it"
    );
}

pub(super) fn endpoint_gone(endpoint: &str) {
    tracing::error!(
        endpoint,
        event = "webhook.endpoint_gone",
        "an endpoint answered 410 Gone and is disabled; enable it again or delete it"
    );
}

pub(super) fn other_node_delivered(endpoint: &str) {
    tracing::info!(
        endpoint,
        event = "webhook.other_node_delivered",
        "another node delivered events to this endpoint"
    );
}
