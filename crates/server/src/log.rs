//! The log. It is text on a terminal and otherwise JSON, always on standard error. Purchases write
//! no log lines.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogFormat, LogSettings};

/// Broker clients with their logs off, because they log whole returned messages with buyers' ids.
/// The server logs the clients' errors itself.
const SILENT: [&str; 2] = ["lapin", "async_nats"];

/// Starts logging. Only the first call in a process has an effect.
pub fn init(settings: &LogSettings) {
    let terminal = std::io::stderr().is_terminal();
    let text = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = if text {
        fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).boxed()
    } else {
        fmt::layer()
            .with_writer(std::io::stderr)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed()
    };
    let filter = SILENT
        .iter()
        .fold(settings.filter.clone(), |filter, part| filter.with_target(*part, LevelFilter::OFF));
    let registry = registry().with(lines.with_filter(filter));
    #[cfg(feature = "otel")]
    let registry = registry.with(crate::trace::layer().unwrap_or_else(|why| {
        eprintln!("doorbuster: tracing is off: {why}");
        None
    }));
    // This call fails only if a logger exists already, as in a test.
    let _ = registry.try_init();
}
