//! Reads the passphrase of a backup: from a file, the environment, or a terminal. The passphrase is
//! never an argument, because other users of the machine can list the arguments of every process.

use std::io::{self, BufRead, IsTerminal, Write};

use doorbuster_config::PASSPHRASE_CHARS_MIN;
use doorbuster_node::maintenance::passphrase;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};

use crate::cli::PassphraseArgs;
use crate::exit::Failure;

const VARIABLE: &str = "DOORBUSTER_PASSPHRASE";

/// Reads the passphrase of an existing backup.
///
/// # Errors
///
/// Fails if neither the file, the environment nor the terminal gives a valid passphrase.
pub fn read(args: &PassphraseArgs) -> Result<SecretString, Failure> {
    match given(args)? {
        Some(passphrase) => Ok(passphrase),
        None => ask("Passphrase of the backup: "),
    }
}

/// Reads the passphrase of a new backup. At a terminal, the person types it twice.
///
/// # Errors
///
/// Fails if neither the file, the environment nor the terminal gives a valid passphrase. Also fails
/// if the passphrase is too short, or if the two typed passphrases differ.
pub fn read_new(args: &PassphraseArgs) -> Result<SecretString, Failure> {
    let passphrase = match given(args)? {
        Some(passphrase) => passphrase,
        None => {
            let first = ask("New passphrase of the backup: ")?;
            let second = ask("The same again: ")?;
            if first.expose_secret() != second.expose_secret() {
                return Err(Failure::Settings("the two passphrases differ".to_owned()));
            }
            first
        }
    };
    match passphrase.expose_secret().chars().count() < PASSPHRASE_CHARS_MIN {
        true => Err(Failure::Settings(format!(
            "the passphrase is too short; use at least {PASSPHRASE_CHARS_MIN} characters"
        ))),
        false => Ok(passphrase),
    }
}

/// Returns the passphrase from the file or the environment. Returns `None` if neither contains a
/// passphrase.
///
/// # Errors
///
/// Fails if the file cannot be read, or if the text is not a passphrase.
pub fn given(args: &PassphraseArgs) -> Result<Option<SecretString>, Failure> {
    let text = match &args.passphrase_file {
        Some(file) => {
            let failed = |error| {
                Failure::Settings(format!("--passphrase-file: {}: {error}", file.display()))
            };
            Some(std::fs::read_to_string(file).map_err(failed)?)
        }
        None => std::env::var(VARIABLE).ok(),
    };
    let Some(text) = text else { return Ok(None) };
    passphrase(&text).map(Some).map_err(|error| Failure::Settings(error.to_owned()))
}

/// Asks for a passphrase at the terminal, which does not show the typed characters.
fn ask(question: &str) -> Result<SecretString, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(Failure::Settings(format!(
            "a passphrase is needed: write it to a file and add --passphrase-file FILE, or set \
             {VARIABLE}"
        )));
    }
    eprint!("{question}");
    // An error of the flush is ignored: if the terminal does not work, the read below fails too.
    let _ = io::stderr().flush();
    let failed = |error: io::Error| Failure::Refused(format!("cannot read the terminal: {error}"));
    let shown = tcgetattr(&input).map_err(|error| failed(error.into()))?;
    let mut hidden = shown.clone();
    // A signal would end the process while the terminal hides typed characters. So Ctrl-C sends no
    // signal, but arrives as a character that ends the line.
    hidden.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
    let code = |index: SpecialCodeIndex| shown.special_codes[index];
    hidden.special_codes[SpecialCodeIndex::VEOL] = code(SpecialCodeIndex::VINTR);
    hidden.special_codes[SpecialCodeIndex::VEOL2] = code(SpecialCodeIndex::VQUIT);
    let stops =
        [SpecialCodeIndex::VINTR, SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP].map(code);
    tcsetattr(&input, OptionalActions::Flush, &hidden).map_err(|error| failed(error.into()))?;
    let read = read_line(input.lock(), &stops);
    let restored = tcsetattr(&input, OptionalActions::Now, &shown);
    eprintln!();
    let line = read.map_err(failed)?;
    restored.map_err(|error| failed(error.into()))?;
    let line = line.ok_or_else(|| Failure::Refused("interrupted".to_owned()))?;
    match line.trim_end_matches('\r') {
        "" => Err(Failure::Settings("the passphrase is empty".to_owned())),
        line => Ok(line.into()),
    }
}

/// Reads one line, and returns it without its line break. Returns `None` if the line contains a
/// byte of `stops`, such as Ctrl-C. A 0 in `stops` is ignored, because a terminal uses 0 for a
/// special character that is turned off.
fn read_line(input: impl BufRead, stops: &[u8]) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    for byte in input.bytes() {
        match byte? {
            b'\n' => break,
            byte if byte != 0 && stops.contains(&byte) => return Ok(None),
            byte => line.push(byte),
        }
    }
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "the text is not UTF-8");
    String::from_utf8(line).map(Some).map_err(invalid)
}
