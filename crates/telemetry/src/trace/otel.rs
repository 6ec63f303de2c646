//! Traces of sampled purchases and settled batches, sent by OTLP over HTTP. Compiled only with the
//! feature `otel`.
//!
//! One random number decides whether a purchase is sampled, before any part of a trace exists. So
//! tracing adds no cost to purchases that are not sampled. A request with the header `traceparent`
//! is traced only if the caller's trace is sampled. `CALLERS_TRACES_PER_SECOND` limits these
//! traces.
//!
//! The usual environment variables configure traces:
//!
//! - `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector. Without it, there are no traces.
//! - `OTEL_TRACES_EXPORTER`: with `none`, there are no traces.
//! - `OTEL_SERVICE_NAME`, or `service.name` in `OTEL_RESOURCE_ATTRIBUTES`: the name of the service.
//! - `OTEL_TRACES_SAMPLER_ARG`: the share of sampled purchases, from 0 to 1.
use std::env;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Instrument, Level, Span, Subscriber, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::otlp;

/// The `tracing` target of all spans. The log does not show this target.
const TARGET: &str = "doorbuster_trace";
/// The share of sampled purchases, if the environment sets none: one purchase in a thousand.
const SHARE: f64 = 0.001;
/// The maximum number of purchases per second that are sampled because of `traceparent`. Further
/// purchases are not sampled, so that callers cannot flood the collector.
const CALLERS_TRACES_PER_SECOND: u32 = 100;
const SAMPLED: u8 = 1;
/// The environment variables that can contain the address of the collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The share of sampled purchases, multiplied by 2³², and the provider that sends the spans. Unset
/// if tracing is off.
static TRACES: OnceLock<(u64, SdkTracerProvider)> = OnceLock::new();

/// If the environment names a collector, returns the layer that sends spans.
///
/// # Errors
///
/// If a setting in the environment is invalid. The error names the setting.
pub fn layer<S>() -> Result<Option<Box<dyn Layer<S> + Send + Sync>>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if otlp::is_off("OTEL_TRACES_EXPORTER")
        || !ENDPOINTS.iter().any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        return Ok(None);
    }
    let share = share(env::var("OTEL_TRACES_SAMPLER_ARG").ok().as_deref())?;
    let exporter =
        SpanExporter::builder().with_http().build().map_err(|error| error.to_string())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource())
        .build();
    let tracer = provider.tracer("doorbuster");
    if TRACES.set((share, provider)).is_err() {
        return Ok(None);
    }
    let only_ours = Targets::new().with_target(TARGET, Level::INFO);
    Ok(Some(tracing_opentelemetry::layer().with_tracer(tracer).with_filter(only_ours).boxed()))
}

fn resource() -> Resource {
    Resource::builder()
        .with_service_name(otlp::service_name())
        .with_attribute(KeyValue::new(otlp::SERVICE_INSTANCE_ID, otlp::instance_id()))
        .build()
}

/// Parses the share of sampled purchases, and multiplies it by 2³².
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

/// The trace of one purchase. The trace ends when this value is dropped.
pub struct Trace(Option<Span>);

/// Starts a trace if the purchase is sampled. `parent` is the value of `traceparent`.
pub fn purchase(parent: Option<&[u8]>) -> Trace {
    let start = || info_span!(target: TARGET, parent: None, "purchase");
    if TRACES.get().is_none() {
        return Trace(None);
    }
    let Some(parent) = parent.and_then(parse_parent) else {
        return Trace(is_sampled().then(start));
    };
    if !parent.is_sampled() || !may_follow_caller() {
        return Trace(None);
    }
    let span = start();
    // This call fails only if the layer is missing. In that case, no trace is sent.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    Trace(Some(span))
}

/// Parses `VERSION-TRACE-SPAN-FLAGS` (W3C Trace Context).
fn parse_parent(value: &[u8]) -> Option<SpanContext> {
    let mut parts = std::str::from_utf8(value).ok()?.trim().split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_whole = version != "00" || parts.next().is_none();
    let is_known_version = is_hex(version, 2) && version != "ff" && is_whole;
    let has_ids = is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !is_known_version || !has_ids {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()? & SAMPLED;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Returns whether one more purchase may be sampled in this second because of `traceparent`.
fn may_follow_caller() -> bool {
    static USED: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let (began, count) =
        used.filter(|(began, _)| began.elapsed().as_secs() == 0).unwrap_or((now, 0));
    *used = Some((began, count + 1));
    count < CALLERS_TRACES_PER_SECOND
}

impl Trace {
    /// Runs the part of the purchase that needs only the node's memory, inside the trace.
    pub fn run_sync<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(span) => span.in_scope(work),
            None => work(),
        }
    }

    /// Runs the rest of the purchase inside the trace.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(span) => work.instrument(span.clone()).await,
            None => work.await,
        }
    }
}

/// Runs a part of a purchase, as a span of the purchase's trace if there is one.
pub async fn traced<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    match Span::current().is_none() {
        true => work.await,
        false => work.instrument(info_span!(target: TARGET, "part", otel.name = name)).await,
    }
}

/// Settles a batch, inside a trace if the batch is sampled.
pub async fn trace_batch<T>(tickets: usize, work: impl Future<Output = T>) -> T {
    // Numbers in traces are signed. An unsigned number would be sent as text.
    let tickets = i64::try_from(tickets).unwrap_or(i64::MAX);
    match is_sampled() {
        true => work.instrument(info_span!(target: TARGET, parent: None, "settle", tickets)).await,
        false => work.await,
    }
}

/// Logs nothing. A build without the feature `otel` may log a warning here.
pub fn announce() {}

/// Sends the remaining spans. Blocks at most a few seconds.
pub fn flush() {
    if let Some((_, provider)) = TRACES.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, event = "trace.unsent", "failed to send the last traces");
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_parent, share};

    #[test]
    fn only_a_well_formed_traceparent_names_a_trace() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let parsed = |text: String| parse_parent(text.as_bytes());
        let parent = parsed(format!("00-{trace}-{span}-01")).expect("a valid header");
        assert_eq!(parent.trace_id().to_string(), trace);
        assert_eq!(parent.span_id().to_string(), span);
        assert!(parent.is_sampled() && parent.is_remote());
        assert!(!parsed(format!("00-{trace}-{span}-00")).expect("valid").is_sampled());
        assert!(
            parsed(format!("01-{trace}-{span}-01-more")).is_some(),
            "a header of a later version must be accepted"
        );
        for wrong in [
            String::new(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}x-{span}-01"),
        ] {
            assert!(parsed(wrong.clone()).is_none(), "{wrong}");
        }
    }

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
