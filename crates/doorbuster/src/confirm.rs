//! Asks for confirmation before an operation that cannot be undone.

use std::io::{self, IsTerminal, Write};

use crate::exit::Failure;

/// Succeeds at once if `yes` is true. Otherwise asks a person at the terminal, and succeeds if the
/// answer is "y" or "yes". `consequence` is a sentence without a full stop, such as "spring will
/// close and cannot be opened again".
///
/// # Errors
///
/// Fails if the person gives another answer, or if standard input is not a terminal.
pub fn confirm(yes: bool, consequence: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let input = io::stdin();
    if !input.is_terminal() {
        let text = format!("{consequence}; to confirm without a terminal, add --yes");
        return Err(Failure::Settings(text));
    }
    let mut answer = String::new();
    let read = write!(io::stderr(), "{consequence}. Continue? [y/N] ")
        .and_then(|()| input.read_line(&mut answer));
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(Failure::Refused("nothing was done".to_owned())),
    }
}
