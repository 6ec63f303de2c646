//! How a command ends: what it found out, what went wrong, and the exit code for it.

use std::process::ExitCode;

/// What a command came to.
pub type Outcome = Result<Verdict, Failure>;

/// What a command that did its work found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Fine,
    /// It worked, and what it found is not well; it was told already.
    Findings,
}

impl Verdict {
    /// Fine if `ok`.
    pub fn of(ok: bool) -> Self {
        if ok { Self::Fine } else { Self::Findings }
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
    Told,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Refused(format!("{error:#}"))
    }
}

/// Tells a failure on standard error and gives the exit code.
pub fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) | Err(Failure::Told) => ExitCode::from(1),
        Err(Failure::Refused(text)) => tell(&text, 1),
        Err(Failure::Settings(text)) => tell(&text, 2),
    }
}

fn tell(text: &str, code: u8) -> ExitCode {
    eprintln!("doorbuster: {text}");
    ExitCode::from(code)
}
