//! Sends metrics and logs to a collector, by OTLP over HTTP as JSON. `trace` sends the traces.
//!
//! The standard environment variables of OpenTelemetry configure this module:
//!
//! - `OTEL_EXPORTER_OTLP_ENDPOINT` is the collector's address. Without an address, nothing is sent.
//! - With the value `none`, `OTEL_METRICS_EXPORTER` turns off metrics, and `OTEL_LOGS_EXPORTER`
//!   turns off logs.
//! - `OTEL_EXPORTER_OTLP_HEADERS` contains headers for each request.
//! - `OTEL_RESOURCE_ATTRIBUTES` contains attributes of this program.
//! - `OTEL_METRIC_EXPORT_INTERVAL` is the time between two requests with metrics, in milliseconds.
//!
//! Some variables are for metrics alone or for logs alone, such as
//! `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`. Such variables have priority over the general variables.

mod logs;
mod metrics;
mod pairs;

use std::env;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_base::outgoing::OutgoingClient;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::metrics::Counter;

pub use logs::layer;

const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last requests may delay the stop of the server.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// How often metrics are sent, if the environment sets no interval.
const METRICS_INTERVAL: Duration = Duration::from_secs(15);
const LOGS_INTERVAL: Duration = Duration::from_secs(1);

/// The environment variables and the URL path for metrics or for logs.
struct Signal {
    endpoint: &'static str,
    headers: &'static str,
    exporter: &'static str,
    path: &'static str,
}

const METRICS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    headers: "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    exporter: "OTEL_METRICS_EXPORTER",
    path: "/v1/metrics",
};
const LOGS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    headers: "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    exporter: "OTEL_LOGS_EXPORTER",
    path: "/v1/logs",
};

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns whether the environment turns off one signal (traces, metrics or logs) or all three.
/// `exporter` is the variable for this signal, such as `OTEL_LOGS_EXPORTER`.
pub fn is_off(exporter: &str) -> bool {
    let is = |name, off: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case(off));
    is("OTEL_SDK_DISABLED", "true") || is(exporter, "none")
}

/// Parses an environment variable whose value is a list `name=value,…`. Logs a warning about
/// invalid entries.
fn entries(name: &'static str) -> Vec<(String, String)> {
    let (entries, invalid) = pairs::parse(&variable(name).unwrap_or_default());
    if invalid > 0 {
        warn_of_invalid(name);
    }
    entries
}

/// Logs a warning with the variable's name. The variable's value may be a secret, so the log does
/// not contain it.
fn warn_of_invalid(variable: &'static str) {
    tracing::warn!(
        variable,
        event = "otlp.invalid",
        "ignored an invalid entry of an environment variable; correct the entry"
    );
}

impl Signal {
    /// Returns the collector to which this signal is sent, or `None` if the environment names no
    /// collector for it.
    fn sink(&self) -> Option<Sink> {
        let mut headers = HeaderMap::new();
        let address = self.address()?;
        for name in ["OTEL_EXPORTER_OTLP_HEADERS", self.headers] {
            for (key, value) in entries(name) {
                match (key.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                    (Ok(key), Ok(mut value)) => {
                        value.set_sensitive(true);
                        headers.insert(key, value);
                    }
                    _ => warn_of_invalid(name),
                }
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(Sink { address, headers, path: self.path, is_failing: AtomicBool::new(false) })
    }

    fn address(&self) -> Option<String> {
        if is_off(self.exporter) {
            return None;
        }
        variable(self.endpoint).or_else(|| {
            let all = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}{}", all.trim_end_matches('/'), self.path))
        })
    }
}

const SERVICE_NAME: &str = "service.name";
/// The resource attribute for the id of this process. A collector distinguishes the nodes by this
/// id.
pub(crate) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// The id of this process, if the environment gives no id.
static RANDOM_INSTANCE_ID: LazyLock<String> =
    LazyLock::new(|| format!("{:032x}", rand::random::<u128>()));

fn given_attributes() -> Vec<(String, String)> {
    pairs::parse(&variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default()).0
}

pub(crate) fn service_name() -> String {
    choose_name(variable("OTEL_SERVICE_NAME"), given_attributes())
}

/// Prefers `own` (the value of `OTEL_SERVICE_NAME`) to a name in `given` (the attributes of
/// `OTEL_RESOURCE_ATTRIBUTES`).
fn choose_name(own: Option<String>, given: Vec<(String, String)>) -> String {
    let name = own.or_else(|| value_of(SERVICE_NAME, given));
    name.unwrap_or_else(|| "doorbuster".to_owned())
}

pub(crate) fn instance_id() -> String {
    choose_instance_id(given_attributes())
}

/// Returns the instance id in `given` (the attributes of `OTEL_RESOURCE_ATTRIBUTES`), or a random
/// id if there is none.
fn choose_instance_id(given: Vec<(String, String)>) -> String {
    value_of(SERVICE_INSTANCE_ID, given).unwrap_or_else(|| RANDOM_INSTANCE_ID.clone())
}

fn value_of(name: &str, given: Vec<(String, String)>) -> Option<String> {
    given.into_iter().find_map(|(key, value)| (key == name).then_some(value))
}

/// Returns the OTLP resource, which names the program that sends the data.
fn resource() -> Value {
    let given = given_attributes();
    let own = [
        (SERVICE_NAME, service_name()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        (SERVICE_INSTANCE_ID, instance_id()),
    ];
    let others = given.iter().filter(|(key, _)| own.iter().all(|(name, _)| name != key));
    let others = others.map(|(key, value)| attribute(key, value));
    let own = own.iter().map(|(key, value)| attribute(key, value));
    json!({"attributes": own.chain(others).collect::<Value>()})
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Converts milliseconds to nanoseconds. The result is a string, because OTLP's JSON has 64-bit
/// numbers as strings.
fn nanos(at_ms: i64) -> String {
    format!("{at_ms}000000")
}

struct Sink {
    address: String,
    headers: HeaderMap,
    path: &'static str,
    is_failing: AtomicBool,
}

/// The functions that give the exporter its data, and the counter of failed requests.
pub struct Source<'a> {
    /// Returns the time by the wall clock, in milliseconds since the Unix epoch.
    pub now_ms: &'a (dyn Fn() -> i64 + Sync),
    /// Renders the page of metrics.
    pub page: &'a (dyn Fn() -> BoxFuture<'a, String> + Sync),
    /// Counts failed requests.
    pub failures: &'a Counter,
}

struct Collector<'a> {
    source: Source<'a>,
    metrics: Option<Sink>,
    logs: Option<Sink>,
    client: OutgoingClient,
    began_ms: i64,
}

/// Sends metrics and logs until `stop` is cancelled. Then sends metrics and logs one last time.
pub async fn run(source: Source<'_>, stop: &CancellationToken) {
    let began_ms = (source.now_ms)();
    let client = OutgoingClient::new(|| reqwest::Client::builder().timeout(TIMEOUT).build());
    let (metrics, logs) = (METRICS.sink(), LOGS.sink());
    let collector = Collector { source, metrics, logs, client, began_ms };
    if collector.metrics.is_none() && collector.logs.is_none() {
        return;
    }
    let every = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.parse().ok());
    let every = every.map_or(METRICS_INTERVAL, |ms: u64| Duration::from_millis(ms.max(100)));
    tokio::select! {
        () = stop.cancelled() => {}
        () = collector.send_metrics_forever(every) => {}
        () = collector.send_logs_forever() => {}
    }
    let last = async {
        collector.send_metrics().await;
        collector.send_logs().await;
    };
    drop(tokio::time::timeout(LAST_TIMEOUT, last).await);
}

impl Collector<'_> {
    async fn send_metrics_forever(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.send_metrics().await;
        }
    }

    async fn send_logs_forever(&self) {
        loop {
            tokio::time::sleep(LOGS_INTERVAL).await;
            self.send_logs().await;
        }
    }

    async fn send_metrics(&self) {
        if let Some(sink) = &self.metrics {
            let page = (self.source.page)().await;
            let body = metrics::request(&page, self.began_ms, (self.source.now_ms)());
            self.send(sink, &body).await;
        }
    }

    async fn send_logs(&self) {
        if let Some(sink) = &self.logs
            && let Some(body) = logs::request((self.source.now_ms)())
        {
            self.send(sink, &body).await;
        }
    }

    /// Sends one request. Does not repeat a failed request, because the next request has newer
    /// data. Logs only the first of several failures in a row, because each log line is itself sent
    /// to this collector.
    async fn send(&self, sink: &Sink, body: &Value) {
        let sent = self.try_send(sink, body).await;
        let was_failing = sink.is_failing.swap(sent.is_err(), Ordering::AcqRel);
        let path = sink.path;
        match sent {
            Ok(()) if was_failing => {
                tracing::info!(path, event = "otlp.recovered", "the collector accepts data again");
            }
            Ok(()) => {}
            Err(error) => {
                self.source.failures.add_one();
                if !was_failing {
                    tracing::warn!(
                        path,
                        %error,
                        event = "otlp.failed",
                        "failed to send data to the collector; the data is dropped"
                    );
                }
            }
        }
    }

    async fn try_send(&self, sink: &Sink, body: &Value) -> reqwest::Result<()> {
        let request = self.client.get()?.post(&sink.address).headers(sink.headers.clone());
        // The address may contain a secret, so the address is removed from the error.
        let sent = request.body(body.to_string()).send().await;
        let sent = sent.and_then(reqwest::Response::error_for_status);
        sent.map(drop).map_err(reqwest::Error::without_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_service_has_priority_over_a_name_in_the_attributes() {
        let given = || pairs::parse("a=b,service.name=shop").0;
        assert_eq!(choose_name(Some("spring".to_owned()), given()), "spring");
        assert_eq!(choose_name(None, given()), "shop");
        assert_eq!(choose_name(None, Vec::new()), "doorbuster");
    }
    #[test]
    fn an_instance_id_in_the_attributes_has_priority_over_the_random_id() {
        let given = pairs::parse("a=b,service.instance.id=node-1").0;
        assert_eq!(choose_instance_id(given), "node-1");
        let random = choose_instance_id(Vec::new());
        assert_eq!(random.len(), 32);
        assert_eq!(random, choose_instance_id(Vec::new()), "the process keeps its id");
    }
}
