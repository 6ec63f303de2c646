//! Small libraries in C that a server process loads before the standard C library. Each library
//! simulates one fault. The harness controls this fault by a number in a file, which the library
//! reads.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::cluster_dir::{ClusterDir, write_private};
use super::error::{ClusterError, ClusterErrorContext};
use super::process::{find, run};

/// Compiles a library from its C source. Fails if this machine has no C compiler.
pub(super) fn compile(
    cluster_dir: &ClusterDir,
    name: &str,
    source: &str,
) -> Result<PathBuf, ClusterError> {
    let source = cluster_dir.write_private(&format!("log/{name}.c"), source)?;
    let library = source.with_extension("so");
    let cc = find("cc")?.display().to_string();
    let (from, to) = (source.display().to_string(), library.display().to_string());
    run(&[&cc, "-shared", "-fPIC", "-O1", "-o", &to, &from, "-ldl"].map(str::to_owned), &[])?;
    Ok(library)
}

/// A file with a number. A library in the server reads the number, which controls the library's
/// fault.
#[derive(Debug)]
pub(super) struct FaultControl(File);

impl FaultControl {
    /// Creates the file, and writes the number 0. Returns a handle that changes the number, and the
    /// environment variables that make a server load the library and find the file.
    pub fn create(
        library: &Path,
        variable: &str,
        file: &Path,
    ) -> Result<(Self, [(String, String); 2]), ClusterError> {
        write_private(file, "")?;
        let opened = File::options().write(true).open(file);
        let number = Self(opened.with_operation(|| format!("creating {}", file.display()))?);
        number.set(0)?;
        let preload = ("LD_PRELOAD".to_owned(), library.display().to_string());
        Ok((number, [preload, (variable.to_owned(), file.display().to_string())]))
    }

    /// Writes the number that controls the library's fault.
    pub fn set(&self, number: i64) -> Result<(), ClusterError> {
        self.0.write_all_at(&number.to_ne_bytes(), 0).with_operation(|| "writing a number".into())
    }
}
