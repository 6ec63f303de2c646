//! The result of a command, its failure, and the exit code.

use std::process::ExitCode;

use crate::print;

/// The result of a command.
pub type Outcome = Result<CommandResult, Failure>;

/// The result of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// The command found no problem.
    Success,
    /// The command ran, found problems and printed them.
    Findings,
}

impl CommandResult {
    /// Returns `Success` if `ok` is true. Otherwise returns `Findings`.
    pub fn new(ok: bool) -> Self {
        if ok { Self::Success } else { Self::Findings }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The settings or the arguments are wrong; the command did nothing.
    Settings(String),
    /// The server refused the request, or an operation failed.
    Refused(String),
    /// The server refused the request, and the command has `--json`. The text is the server's
    /// problem document.
    Problem(String),
    /// The command failed and has printed the reason.
    AlreadyReported,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(format!("{error:#}"))
    }
}

/// Prints a failure on standard error and returns the exit code.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(CommandResult::Success) => ExitCode::SUCCESS,
        Ok(CommandResult::Findings) | Err(Failure::AlreadyReported) => ExitCode::from(1),
        Err(Failure::Problem(document)) => {
            // An error is ignored: if standard output is closed, no program reads the document.
            drop(print::line(document.trim_end()));
            ExitCode::from(1)
        }
        Err(Failure::Refused(text)) => report_failure(&text, 1),
        Err(Failure::Settings(text)) => report_failure(&text, 2),
    }
}

fn report_failure(text: &str, code: u8) -> ExitCode {
    // If standard error cannot be written, only the exit code reports the failure.
    print::note(&format!("doorbuster: {text}"));
    ExitCode::from(code)
}
