//! How a command ends: what it found out, what went wrong, and the exit code for it.

use std::process::ExitCode;

/// What a command came to.
pub type Outcome = Result<CommandResult, Failure>;

/// What a command that did its work found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// All is well.
    Success,
    /// It worked, and what it found is not well; it was told already.
    Findings,
}

impl CommandResult {
    /// Fine if `ok`.
    pub fn new(ok: bool) -> Self {
        if ok { Self::Success } else { Self::Findings }
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// Settings or arguments are wrong; nothing was done.
    Settings(String),
    /// It was refused, or something failed.
    Refused(String),
    /// The same, and whoever asked was told already.
    AlreadyReported,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(format!("{error:#}"))
    }
}

/// Tells a failure on standard error and gives the exit code.
pub fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(CommandResult::Success) => ExitCode::SUCCESS,
        Ok(CommandResult::Findings) | Err(Failure::AlreadyReported) => ExitCode::from(1),
        Err(Failure::Refused(text)) => report_failure(&text, 1),
        Err(Failure::Settings(text)) => report_failure(&text, 2),
    }
}

fn report_failure(text: &str, code: u8) -> ExitCode {
    eprintln!("doorbuster: {text}");
    ExitCode::from(code)
}
