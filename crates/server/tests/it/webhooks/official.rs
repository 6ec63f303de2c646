//! Runs programs that use the official libraries of Standard Webhooks. The libraries are stored
//! with the tests.
//!
//! If a library's language is missing, the test fails; `scripts/setup` installs the languages.
//! `DOORBUSTER_WITHOUT` names languages to do without. Then the test reports that it did not run.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory of the libraries.
const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendor/standardwebhooks");

/// If this variable is `1`, all languages are installed, and a skipped check fails.
const REQUIRE: &str = "DOORBUSTER_REQUIRE_LIBRARIES";

/// Reports a skipped check on the terminal, because the test itself passes.
///
/// # Panics
/// If the environment says that all languages are installed.
pub(crate) fn not_checked(what: &str) {
    let asked = std::env::var(REQUIRE);
    assert!(!asked.is_ok_and(|asked| asked == "1"), "not checked: {what}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // The output of macros is hidden when tests pass. So this code writes to the terminal itself. A
    // failed write does not fail the test.
    let _ = std::io::stderr().write_all(format!("\nnot checked by {test}: {what}\n").as_bytes());
}

/// A comma-separated list of languages that may be missing.
const WITHOUT: &str = "DOORBUSTER_WITHOUT";

/// A language, and a directory in which its programs find the library. The directory is removed
/// when the test ends.
pub(crate) struct Official {
    dir: PathBuf,
    language: &'static str,
}

impl Official {
    /// Returns the language. `None`: it is missing, and the environment allows that.
    pub(crate) fn of(language: &'static str) -> Option<Self> {
        let version = Command::new(language)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        if !version.is_ok_and(|status| status.success()) {
            let allowed = std::env::var(WITHOUT).unwrap_or_default();
            let may_lack = may_lack(&allowed, language);
            assert!(
                may_lack,
                "{language} is missing: scripts/setup installs it; {WITHOUT}={language} goes \
                 without"
            );
            not_checked(&format!(
                "the official library of Standard Webhooks in {language}, which is missing"
            ));
            return None;
        }
        let dir =
            std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a random name is free");
        // Node looks for the library here.
        symlink(Path::new(LIBRARIES).join("node_modules"), dir.join("node_modules"))
            .expect("a new directory");
        Some(Self { dir, language })
    }

    /// Returns the directory in which the programs run.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns a command that runs a program in this language.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.language);
        command.current_dir(&self.dir).env("PYTHONPATH", Path::new(LIBRARIES).join("python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        // A directory that cannot be removed stays in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Returns whether this list names the language.
fn may_lack(list: &str, language: &str) -> bool {
    list.split(',').any(|named| named.trim() == language)
}

#[test]
fn only_a_language_that_is_named_may_be_missing() {
    assert!(may_lack("python3", "python3") && may_lack("node, python3", "python3"));
    assert!(
        !may_lack("", "python3") && !may_lack("node", "python3") && !may_lack("python", "python3")
    );
    let none = std::panic::catch_unwind(|| Official::of("no-language-that-anybody-has").is_none());
    assert!(none.is_err(), "a missing language fails the test");
}
