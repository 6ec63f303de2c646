//! Traces of sampled purchases and settled batches, sent by OTLP over HTTP. This code is compiled
//! only with the feature `otel`.
//!
//! One random number decides whether a purchase is sampled, before any part of a trace exists.
//! Other purchases cost nothing more. The usual environment variables configure traces:
//!
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector. Without it, there are no traces.
//! - `OTEL_SERVICE_NAME`: the name of the service.
//! - `OTEL_TRACES_SAMPLER_ARG`: the share of sampled purchases, from 0 to 1.
use std::env;
use std::sync::OnceLock;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Instrument, Level, Span, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// The target of the spans. The log hides this target.
const TARGET: &str = "doorbuster_trace";
/// The default share: one purchase in a thousand.
const SHARE: f64 = 0.001;
/// The variables that can name the collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How many of the 2³² random numbers are sampled, and the provider that sends the spans. If it is
/// unset, tracing is off.
static TRACES: OnceLock<(u64, SdkTracerProvider)> = OnceLock::new();

/// Returns the layer that sends spans, if the environment names a collector.
///
/// # Errors
///
/// The invalid setting in the environment.
pub(crate) fn layer<S>() -> Result<Option<Box<dyn Layer<S> + Send + Sync>>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if !ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
        return Ok(None);
    }
    let share = share(env::var("OTEL_TRACES_SAMPLER_ARG").ok().as_deref())?;
    let exporter =
        SpanExporter::builder().with_http().build().map_err(|error| error.to_string())?;
    let name = env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "doorbuster".to_owned());
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(Resource::builder().with_service_name(name).build())
        .build();
    let tracer = provider.tracer("doorbuster");
    if TRACES.set((share, provider)).is_err() {
        return Ok(None);
    }
    let only_ours = Targets::new().with_target(TARGET, Level::INFO);
    Ok(Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(only_ours).boxed()))
}

/// Converts a share to a number out of 2³².
fn share(text: Option<&str>) -> Result<u64, String> {
    let share = text.map_or(Ok(SHARE), str::parse::<f64>);
    match share {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok((share * (1u64 << 32) as f64) as u64),
        _ => Err("OTEL_TRACES_SAMPLER_ARG must be a share from 0 to 1".to_owned()),
    }
}

fn is_sampled() -> bool {
    TRACES.get().is_some_and(|(share, _)| u64::from(rand::random::<u32>()) < *share)
}

/// The trace of one purchase. It ends when it is dropped.
pub(crate) struct Trace(Option<Span>);

/// Starts a trace of a purchase if it is sampled.
pub(crate) fn purchase() -> Trace {
    Trace(is_sampled().then(|| info_span!(target: TARGET, parent: None, "purchase")))
}

impl Trace {
    /// Runs the check from memory inside the trace.
    pub(crate) fn run_sync<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(span) => span.in_scope(work),
            None => work(),
        }
    }

    /// Runs the rest of the purchase inside the trace.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(span) => work.instrument(span.clone()).await,
            None => work.await,
        }
    }
}

/// Runs a part of a purchase, as a span if the purchase is traced.
pub(crate) async fn traced<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    match Span::current().is_none() {
        true => work.await,
        false => work.instrument(info_span!(target: TARGET, "part", otel.name = name)).await,
    }
}

/// Settles a batch, in a trace if it is sampled.
pub(crate) async fn trace_batch<T>(tickets: usize, work: impl Future<Output = T>) -> T {
    // Traces have signed numbers. An unsigned number would be sent as text.
    let tickets = i64::try_from(tickets).unwrap_or(i64::MAX);
    match is_sampled() {
        true => work.instrument(info_span!(target: TARGET, parent: None, "settle", tickets)).await,
        false => work.await,
    }
}

/// Sends the remaining spans. Blocks while the collector takes them, at most a few seconds.
pub(crate) fn flush() {
    if let Some((_, provider)) = TRACES.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, event = "trace.unsent", "failed to send the last traces");
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn a_sampling_share_is_parsed_or_refused() {
        assert_eq!(share(Some("1")), Ok(1 << 32));
        assert_eq!(share(Some("0")), Ok(0));
        assert_eq!(share(Some("0.25")), Ok(1 << 30));
        assert!(share(None).is_ok());
        assert!(
            [Some("2"), Some("-1"), Some("NaN"), Some("all")]
                .into_iter()
                .all(|text| share(text).is_err())
        );
    }
}
