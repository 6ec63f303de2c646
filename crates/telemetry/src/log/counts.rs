//! Counts, for each event, the log lines of the levels `warn` and `error`. Alarms can use these
//! counts instead of the log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::log_event::{LOG_EVENTS, LogEvent, LogLevel};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const FIELD: &str = "event";

/// How often each event of [`LOG_EVENTS`] was logged at the level `warn` or `error`. Static,
/// because a process has only one log.
static COUNTS: LazyLock<Vec<AtomicU64>> =
    LazyLock::new(|| LOG_EVENTS.iter().map(|_| AtomicU64::new(0)).collect());

pub(super) struct EventCounter;

impl<S: Subscriber> Layer<S> for EventCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut CodeVisitor);
    }
}

struct CodeVisitor;

impl Visit for CodeVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == FIELD
            && let Ok(at) = LOG_EVENTS.binary_search_by_key(&value, |event| event.code)
        {
            COUNTS[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Returns the events of the levels `warn` and `error`, and how often each was logged.
pub fn event_counts() -> impl Iterator<Item = (&'static LogEvent, u64)> {
    let counted = LOG_EVENTS.iter().zip(COUNTS.iter());
    counted
        .filter(|(event, _)| event.level != LogLevel::Info)
        .map(|(event, count)| (event, count.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_line_is_counted_by_its_event() {
        let count = |code: &str| {
            event_counts().find(|(event, _)| event.code == code).map(|(_, count)| count)
        };
        let before = count("audit.fault").expect("an event of the table");
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(EventCounter),
            || {
                let rule = "stock";
                tracing::error!(rule, event = "audit.fault", "the audit found a fault");
                tracing::debug!(rule, "a line without an event");
            },
        );
        assert_eq!(count("audit.fault"), Some(before + 1));
        assert_eq!(count("server.started"), None, "lines of the level info must not be counted");
    }
}
