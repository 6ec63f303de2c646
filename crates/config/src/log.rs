//! The settings of the log: which lines the server writes, and in which format.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::check::SettingsReader;

/// The settings of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format.
    pub format: LogFormat,
    /// The log level of each module.
    pub filter: Targets,
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
        Some(_) => read.refuse("log.format", "is not a log format; write auto, text or json"),
        None => None,
    };
    let filter = read.parsed::<LogFilter>(
        "log.filter",
        "is not a filter; write a level, or levels by module: info,doorbuster=debug",
    );
    Some(LogSettings { format: format?, filter: filter?.0 })
}

/// A filter in which each word without a module is a level. `Targets` alone reads an unknown word
/// as a module, so a misspelt level would turn off the log.
#[derive(Debug)]
struct LogFilter(Targets);

impl FromStr for LogFilter {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_valid = |part: &str| match part.split_once('=') {
            Some((module, level)) => !module.is_empty() && !module.contains(' ') && is_level(level),
            None => is_level(part),
        };
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        match parts.iter().all(|part| is_valid(part)) {
            true => parts.join(",").parse::<Targets>().map(Self).map_err(drop),
            false => Err(()),
        }
    }
}

/// Returns whether the text is a level. `LevelFilter` alone would read an empty text as `error`.
fn is_level(text: &str) -> bool {
    !text.is_empty() && text.parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::LogFilter;

    #[test]
    fn a_word_that_is_not_a_level_is_refused() {
        for valid in ["info", "OFF", "warn,doorbuster=debug", "info, x=warn"] {
            assert!(valid.parse::<LogFilter>().is_ok(), "{valid}");
        }
        for wrong in
            ["", "warning", "verbose", "inof", "info,", "doorbuster", "x=", "=info", "x y=warn"]
        {
            assert!(wrong.parse::<LogFilter>().is_err(), "{wrong:?}");
        }
    }
}
