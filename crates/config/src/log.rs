//! The settings of the log: which lines the server writes, and in which format.

use super::check::SettingsReader;

/// The settings of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format.
    pub format: LogFormat,
    /// The log level of each module.
    pub filter: tracing_subscriber::filter::Targets,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text if the output is a terminal, and otherwise JSON.
    Auto,
    /// Lines of text for people.
    Text,
    /// JSON, one object per line.
    Json,
}

pub(super) fn log(read: &mut SettingsReader<'_>) -> Option<LogSettings> {
    let format = match read.text("log.format").as_deref() {
        Some("auto") => Some(LogFormat::Auto),
        Some("text") => Some(LogFormat::Text),
        Some("json") => Some(LogFormat::Json),
        Some(_) => {
            read.fault("log.format", "is not a log format; write auto, text or json");
            None
        }
        None => None,
    };
    let filter = read.parsed(
        "log.filter",
        "is not a filter; write a level, or levels by module: info,doorbuster=debug",
    );
    Some(LogSettings { format: format?, filter: filter? })
}
