//! Keeps log lines until they are sent to a collector.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;

use super::{LOGS, attribute, nanos, resource};

/// At most this many lines wait to be sent. If there are more, the oldest lines are dropped.
const WAITING_MAX: usize = 4_096;
/// A longer value in a log line is cut off after this many bytes.
const VALUE_BYTES_MAX: usize = 4_096;

struct Line {
    at: Instant,
    level: Level,
    message: String,
    fields: Vec<(&'static str, String)>,
}

/// Static, because a process has only one log.
static WAITING: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());

/// Returns the layer that keeps log lines of the level `info` and above for the collector. Skips
/// the modules in `silent`, because their lines may contain buyers' ids. Returns `None` if the
/// environment names no collector.
pub fn layer<S>(silent: &[&str]) -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    LOGS.address()?;
    let ours = Targets::new().with_default(LevelFilter::INFO);
    let ours = silent.iter().fold(ours, |ours, part| ours.with_target(*part, LevelFilter::OFF));
    Some(LineKeeper.with_filter(ours).boxed())
}

struct LineKeeper;

impl<S: Subscriber> Layer<S> for LineKeeper {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line {
            at: Instant::now(),
            level: *event.metadata().level(),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut line);
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(line);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        let end = value.floor_char_boundary(VALUE_BYTES_MAX);
        self.record_debug(field, &format_args!("{}", &value[..end]));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = format!("{value:?}");
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name, text)),
        }
    }
}

impl Line {
    fn to_json(&self, at_ms: i64) -> Value {
        let number = match self.level {
            Level::ERROR => 17,
            Level::WARN => 13,
            Level::INFO => 9,
            Level::DEBUG => 5,
            Level::TRACE => 1,
        };
        let fields: Vec<Value> =
            self.fields.iter().map(|(name, value)| attribute(name, value)).collect();
        json!({
            "timeUnixNano": nanos(at_ms), "severityNumber": number,
            "severityText": self.level.as_str(), "body": {"stringValue": self.message},
            "attributes": fields,
        })
    }
}

/// Removes the waiting lines, and returns an OTLP request with them, or `None` if no line waits.
pub(super) fn request(now_ms: i64) -> Option<Value> {
    let lines = std::mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner));
    if lines.is_empty() {
        return None;
    }
    let age_ms = |line: &Line| i64::try_from(line.at.elapsed().as_millis()).unwrap_or(0);
    let records: Vec<Value> =
        lines.iter().map(|line| line.to_json(now_ms - age_ms(line))).collect();
    Some(json!({"resourceLogs": [{
        "resource": resource(),
        "scopeLogs": [{"scope": {"name": "doorbuster"}, "logRecords": records}],
    }]}))
}
