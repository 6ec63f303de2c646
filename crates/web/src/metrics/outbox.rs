//! The metrics of deliveries to endpoints.

use doorbuster_outbox::AttemptOutcome;
use doorbuster_store::EndpointKind;
use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use super::store_numbers::StoreNumbers;
use crate::App;

pub(super) fn show(app: &App, numbers: &StoreNumbers, text: &mut MetricsText) {
    let meter = app.outbox.meter();
    text.metric(
        "doorbuster_deliveries_total",
        MetricKind::Counter,
        "Delivery attempts, by outcome.",
    );
    for kind in EndpointKind::ALL {
        for sent in AttemptOutcome::ALL {
            text.sample(
                &[("kind", kind.as_str()), ("outcome", sent.as_str())],
                meter.sent[kind as usize][sent as usize].get(),
            );
        }
    }
    text.counter(
        "doorbuster_outbox_deleted_rows_total",
        "Rows deleted because they were past their retention and no longer needed.",
        meter.deleted.get(),
    );
    // If the store is unavailable, the page has no metrics of undelivered events.
    if let Some(endpoint_statuses) = &numbers.endpoint_statuses {
        let now = app.node.now();
        let of = |kind: EndpointKind| {
            endpoint_statuses.iter().filter(move |status| status.enabled && status.kind == kind)
        };
        text.metric(
            "doorbuster_outbox_lag_seconds",
            MetricKind::Gauge,
            "Age of the oldest undelivered event.",
        );
        for kind in EndpointKind::ALL {
            let oldest = of(kind).filter_map(|status| status.oldest_at).min();
            let age_ms = oldest.map_or(0, |at| (now.0 - at.0).max(0));
            text.sample(
                &[("kind", kind.as_str())],
                format_args!("{}.{:03}", age_ms / 1_000, age_ms % 1_000),
            );
        }
        text.metric("doorbuster_outbox_waiting_events", MetricKind::Gauge, "Undelivered events.");
        for kind in EndpointKind::ALL {
            let waiting: u64 = of(kind).map(|status| status.waiting + status.pending).sum();
            text.sample(&[("kind", kind.as_str())], waiting);
        }
    }
    if let Some(dead) = numbers.dead_letters {
        text.metric(
            "doorbuster_dead_letters",
            MetricKind::Gauge,
            "Unresolved dead letters; any dead letter is an alarm.",
        );
        for (kind, count) in
            [("delivery", dead.deliveries), ("refund", dead.refunds), ("ticket", dead.tickets)]
        {
            text.sample(&[("kind", kind)], count);
        }
    }
}
