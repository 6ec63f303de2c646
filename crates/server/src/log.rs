//! The log: text on a terminal, JSON otherwise, always to standard error. No line is written for a purchase.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogFormat, LogSettings};

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
        fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).with_current_span(false).boxed()
    };
    let registry = registry().with(lines.with_filter(settings.filter.clone()));
    #[cfg(feature = "otel")]
    let registry = registry.with(crate::trace::layer().unwrap_or_else(|why| {
        eprintln!("doorbuster: nothing is traced: {why}");
        None
    }));
    // Fails only where somebody else logs already, as in a test.
    let _ = registry.try_init();
}
