//! Writes to standard output and standard error. A closed pipe is not an error: in
//! `doorbuster sale list | head`, the program `head` closes the pipe early.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::exit::{CommandResult, Outcome};

/// Prints a text unchanged, and adds no line break.
pub fn text(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")?
        }
        _ => Ok(CommandResult::Success),
    }
}

/// Prints one piece of a long output. Returns false if the pipe is closed.
pub fn chunk(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Prints one line.
pub fn line(line: &str) -> Outcome {
    text(&format!("{line}\n"))
}

/// Writes one line to standard error. An error is ignored, so that a command does not stop early if
/// standard error is closed or full.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints one JSON value on one line.
pub fn json(value: &impl Serialize) -> Outcome {
    line(&serde_json::to_string(value).context("cannot write JSON")?)
}

/// Prints a report as JSON or as text.
pub fn report(as_json: bool, report: &impl Serialize, human: impl FnOnce() -> String) -> Outcome {
    if as_json { json(report) } else { text(&human()) }
}
