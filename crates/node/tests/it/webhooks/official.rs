//! Runs programs that use the official libraries of Standard Webhooks. The libraries are stored
//! with the tests.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use doorbuster_testkit::tool::program;

const LIBRARIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendor/standardwebhooks");

/// A language, and a directory in which its programs find the library. The directory is removed
/// when the test ends.
pub(crate) struct Official {
    dir: PathBuf,
    language: PathBuf,
}

impl Official {
    /// Prepares a directory for programs in this language: `python3` or `node`.
    pub(crate) fn of(language: &str) -> Self {
        let language = program(language);
        let dir =
            std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a random name is free");
        // Node looks for a library in the directory `node_modules`.
        symlink(Path::new(LIBRARIES).join("node_modules"), dir.join("node_modules"))
            .expect("a new directory");
        Self { dir, language }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.language);
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
