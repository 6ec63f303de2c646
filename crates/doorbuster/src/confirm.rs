//! Asks for confirmation before an operation that cannot be undone.

use std::io::{self, IsTerminal, Write};

use crate::exit::Failure;

/// Asks for confirmation, and succeeds if `--yes` was given or a person answers "y" on a terminal.
/// `consequence` is a sentence without a full stop: "spring closes and cannot be opened again".
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
    eprint!("{consequence}. Continue? [y/N] ");
    // A failed flush needs no handling: on a closed terminal, the read below fails too.
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err(Failure::Refused("nothing was done".to_owned())),
    }
}
