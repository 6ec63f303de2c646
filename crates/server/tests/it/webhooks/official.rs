//! The official libraries of Standard Webhooks, which lie beside the tests, for whoever runs a program that needs them.
//!
//! Where its language is missing, what needs it is not run, and the test says so.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where they lie.
const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendor/standardwebhooks");

/// A language, and a directory in which its programs find the library; it goes when its test ends.
pub(crate) struct Official {
    dir: PathBuf,
    language: &'static str,
}

impl Official {
    /// `None`: the language is missing here.
    pub(crate) fn of(language: &'static str) -> Option<Self> {
        let version = Command::new(language).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            eprintln!("not run: {language} is missing (scripts/setup installs it)");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a random name is free");
        // Where Node looks for it.
        symlink(Path::new(LIBRARIES).join("node_modules"), dir.join("node_modules")).expect("a new directory");
        Some(Self { dir, language })
    }

    /// Where its programs run.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// A program in this language.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.language);
        command.current_dir(&self.dir).env("PYTHONPATH", Path::new(LIBRARIES).join("python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        // What cannot be removed stays in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
