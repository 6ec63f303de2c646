//! The data directory: its creation and its permissions.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::error::SecretsError;

/// Only the directory's owner can use the directory.
const DIRECTORY_MODE: u32 = 0o700;

/// Creates the data directory if it is missing.
///
/// # Errors
///
/// The file system's error.
pub fn create_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir)
}

/// Checks the permissions of the data directory of an embedded store. If other users can read or
/// enter the directory, this function only logs a warning, because those users cannot read the
/// files in the directory.
///
/// # Errors
///
/// If other users can write to the directory.
pub fn check_directory(dir: &Path) -> Result<(), SecretsError> {
    let failed = |error| SecretsError::InDirectory { path: dir.to_owned(), error };
    let mode = mode(dir).map_err(failed)?;
    if mode & 0o022 != 0 {
        return Err(SecretsError::Writable(dir.to_owned()));
    }
    if mode & 0o077 != 0 {
        let mode = format!("{mode:03o}");
        tracing::warn!(
            path = %dir.display(),
            mode,
            event = "secret.directory_readable",
            "other users can list the data directory; set the mode of the directory to 700"
        );
    }
    Ok(())
}

/// Logs a warning if other users can write to the data directory of a node with PostgreSQL. This is
/// not an error, because all users can usually write to an empty volume of a container.
pub fn warn_of_writable_directory(dir: &Path) {
    // An error is ignored, because the directory may be missing: a node with PostgreSQL does not
    // need one.
    if mode(dir).is_ok_and(|mode| mode & 0o022 != 0) {
        tracing::warn!(
            path = %dir.display(),
            event = "secret.directory_writable",
            "other users can write to the data directory, so they could remove the record that \
             protects against an old primary; set the mode of the data directory to 700"
        );
    }
}

fn mode(dir: &Path) -> io::Result<u32> {
    Ok(fs::metadata(dir)?.permissions().mode() & 0o777)
}
