//! The metrics of messages to browsers. If the settings have no key for push services, all values
//! are 0.

use doorbuster_outbox::push::MessageOutcome;
use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use crate::App;

pub(super) fn show(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_push_messages_total",
        MetricKind::Counter,
        "Messages to browsers, by outcome.",
    );
    for outcome in MessageOutcome::ALL {
        let count = app.push.as_ref().map_or(0, |push| push.messages(outcome));
        text.sample(&[("outcome", outcome.as_str())], count);
    }
    text.gauge(
        "doorbuster_push_subscriptions",
        "Browsers that get messages from this node.",
        app.push.as_ref().map_or(0, |push| push.subscriptions()),
    );
}
