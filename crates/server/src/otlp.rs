//! Sends metrics and logs to a collector, by OTLP over HTTP as JSON. Traces have their own exporter
//! in `trace`.
//!
//! The usual environment variables configure this module: `OTEL_EXPORTER_OTLP_ENDPOINT` (unset:
//! nothing is sent), `OTEL_METRICS_EXPORTER` and `OTEL_LOGS_EXPORTER` (`none`: not sent), and
//! `OTEL_METRIC_EXPORT_INTERVAL` in milliseconds.

mod logs;
mod metrics;

use std::env;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::outgoing::OutgoingClient;
use crate::web::{self, App};

pub(crate) use logs::layer;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last requests may take while the server stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// How often metrics are sent, if the environment sets no interval.
const METRICS_EVERY: Duration = Duration::from_secs(15);
/// How often log lines are sent.
const LOGS_EVERY: Duration = Duration::from_secs(1);

/// The environment variables and the URL path for one kind of data.
struct Signal {
    endpoint: &'static str,
    exporter: &'static str,
    path: &'static str,
}

const METRICS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    exporter: "OTEL_METRICS_EXPORTER",
    path: "/v1/metrics",
};
const LOGS: Signal = Signal {
    endpoint: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    exporter: "OTEL_LOGS_EXPORTER",
    path: "/v1/logs",
};

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

impl Signal {
    /// Returns the address, if the environment names a collector for this kind of data.
    fn address(&self) -> Option<String> {
        if variable(self.exporter).is_some_and(|exporter| exporter == "none") {
            return None;
        }
        variable(self.endpoint).or_else(|| {
            let all = variable("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(format!("{}{}", all.trim_end_matches('/'), self.path))
        })
    }
}

/// Returns the OTLP resource, which names the program that sends the data.
fn resource() -> Value {
    let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "doorbuster".to_owned());
    json!({"attributes": [
        attribute("service.name", &name),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
    ]})
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Formats a time for OTLP. In OTLP's JSON, 64-bit numbers are strings.
fn nanos(at_ms: i64) -> String {
    format!("{at_ms}000000")
}

/// Sends data to the collector.
struct Collector {
    metrics: Option<String>,
    logs: Option<String>,
    client: OutgoingClient,
    began_ms: i64,
}

/// Sends metrics and logs until `stop` is cancelled, and then once more.
pub(crate) async fn run(app: &App, stop: &CancellationToken) {
    let began_ms = app.engine().now().0;
    let client = OutgoingClient::new(|| reqwest::Client::builder().timeout(TIMEOUT).build());
    let (metrics, logs) = (METRICS.address(), LOGS.address());
    let collector = Collector { metrics, logs, client, began_ms };
    if collector.metrics.is_none() && collector.logs.is_none() {
        return;
    }
    let every = variable("OTEL_METRIC_EXPORT_INTERVAL").and_then(|text| text.parse().ok());
    let every = every.map_or(METRICS_EVERY, |ms: u64| Duration::from_millis(ms.max(100)));
    tokio::select! {
        () = stop.cancelled() => {}
        () = collector.send_metrics_forever(app, every) => {}
        () = collector.send_logs_forever(app) => {}
    }
    // A collector that does not answer must not delay the stop.
    let last = async {
        collector.send_metrics(app).await;
        collector.send_logs(app).await;
    };
    drop(tokio::time::timeout(LAST_TIMEOUT, last).await);
}

impl Collector {
    async fn send_metrics_forever(&self, app: &App, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.send_metrics(app).await;
        }
    }

    async fn send_logs_forever(&self, app: &App) {
        loop {
            tokio::time::sleep(LOGS_EVERY).await;
            self.send_logs(app).await;
        }
    }

    async fn send_metrics(&self, app: &App) {
        if let Some(address) = &self.metrics {
            let page = web::metrics_page(app).await;
            let body = metrics::request(&page, self.began_ms, app.engine().now().0);
            self.send(address, &body).await;
        }
    }

    async fn send_logs(&self, app: &App) {
        if let Some(address) = &self.logs
            && let Some(body) = logs::request(app.engine().now().0)
        {
            self.send(address, &body).await;
        }
    }

    /// Sends one request. Does not repeat a failed request, because the next request has newer
    /// data.
    async fn send(&self, address: &str, body: &Value) {
        let client = match self.client.get() {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%error, "failed to create an HTTP client"),
        };
        let request = client.post(address).header("content-type", "application/json");
        let sent = request.body(body.to_string()).send().await;
        if let Err(error) = sent.and_then(reqwest::Response::error_for_status) {
            // This line is not at `warn`, because a `warn` line would be sent to the same collector
            // again and again.
            tracing::debug!(%error, "failed to send metrics or logs");
        }
    }
}
