//! The events that the server logs. Each log line of the levels `error`, `warn` and `info` has a
//! code in the field `event`. A code never changes its meaning.

mod table;

use serde::Serialize;

pub use table::LOG_EVENTS;

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is broken, and usually a person must act.
    Error,
    /// Something failed, and the server goes on or tries again.
    Warn,
    /// Something happened as planned.
    Info,
}

impl LogLevel {
    /// The word for the level in JSON log lines: `ERROR`, `WARN` or `INFO`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
        }
    }
}

/// An event in the log.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LogEvent {
    /// The value of the field `event`.
    pub code: &'static str,
    /// The level of the event's log lines.
    pub level: LogLevel,
    /// What happened, and what follows.
    pub meaning: &'static str,
}

const fn error(code: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { code, level: LogLevel::Error, meaning }
}

const fn warn(code: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { code, level: LogLevel::Warn, meaning }
}

const fn info(code: &'static str, meaning: &'static str) -> LogEvent {
    LogEvent { code, level: LogLevel::Info, meaning }
}

const INTRODUCTION: &str = "\
# Log events

Each log line of the levels `ERROR`, `WARN` and `INFO` has the field `event`. Its value is one of
the codes below. A code never changes its meaning. The text of a message may change, so programs
read `event`.

```text
2026-11-20T10:00:00.004Z  INFO a sale's phase changed sale=\"spring\" event=\"sale.phase_changed\"
```

`doorbuster logs events` prints this list, and `--json` makes it JSON. The setting `log.format`
determines the format of the log lines. `cargo xtask logs` generates this page from the code.

Alarms use metrics, not log lines: see [operating.md](operating.md#alarms).
";

/// The text of `docs/logs.md`.
#[must_use]
pub fn document() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut part = "";
    for event in LOG_EVENTS {
        let prefix = event.code.split('.').next().unwrap_or_default();
        if prefix != part {
            part = prefix;
            page.push_str(&format!("\n## {part}\n\n| event | level | meaning |\n|---|---|---|\n"));
        }
        page.push_str(&format!(
            "| `{}` | {} | {} |\n",
            event.code,
            event.level.as_str(),
            event.meaning
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_unique() {
        for pair in LOG_EVENTS.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} and {}", pair[0].code, pair[1].code);
        }
    }

    #[test]
    fn the_document_of_log_events_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/logs.md");
        let written = std::fs::read_to_string(path).expect("docs/logs.md must exist");
        assert!(
            written == document(),
            "docs/logs.md differs from the code: run `cargo xtask logs`"
        );
    }
}
