//! Writes the log to standard error. By default, the log is text on a terminal and JSON elsewhere.
//! Except for failures, purchases log nothing above the level `debug`.

mod counts;

use std::io::IsTerminal;

use doorbuster_config::{LogFormat, LogSettings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry, reload};

pub use counts::event_counts;

/// The modules whose log lines are dropped:
/// - the clients of brokers, because they log messages with buyers' ids
/// - the connection pool, because it would log many lines in an outage
///
/// The server itself logs the errors of these modules.
const SILENT: [&str; 3] = ["lapin", "async_nats", "deadpool"];

/// Changes the levels of the log while the program runs.
#[derive(Debug)]
pub struct LogLevels(reload::Handle<Targets, Registry>);

impl LogLevels {
    /// Logs at these levels from now on.
    pub fn change(&self, settings: &LogSettings) {
        // This call fails only if another logger was installed first, as in a test.
        let _ = self.0.reload(filter(settings));
    }
}

/// Starts logging. Only the first call in a process has an effect.
pub fn init(settings: &LogSettings) -> LogLevels {
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
    let (filter, handle) = reload::Layer::new(filter(settings));
    let registry = registry()
        .with(lines.with_filter(filter))
        .with(counts::EventCounter.with_filter(LevelFilter::WARN));
    #[cfg(feature = "otel")]
    let registry = registry.with(crate::trace::layer().unwrap_or_else(|why| {
        eprintln!("doorbuster: tracing is off: {why}");
        None
    }));
    #[cfg(feature = "otel")]
    let registry = registry.with(crate::otlp::layer(&SILENT));
    // This call fails only if a logger exists already, as in a test.
    let _ = registry.try_init();
    LogLevels(handle)
}

fn filter(settings: &LogSettings) -> Targets {
    SILENT
        .iter()
        .fold(settings.filter.clone(), |filter, part| filter.with_target(*part, LevelFilter::OFF))
}
