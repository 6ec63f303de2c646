//! The log: text on a terminal, JSON otherwise, always to standard error. No line is written for a
//! purchase.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogFormat, LogSettings};

/// Clients of brokers: they write down whole messages that came back, and with them who buys. What
/// went wrong is logged by whoever used them.
const SILENT: [&str; 2] = ["lapin", "async_nats"];

/// Begins logging. Only the first call in a process counts.
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
        eprintln!("doorbuster: nothing is traced: {why}");
        None
    }));
    // Fails only where somebody else logs already, as in a test.
    let _ = registry.try_init();
}
