//! The directory of an installation: its permissions and the paths of its files.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{ClusterError, ClusterErrorContext};

/// The file that marks the directory of an installation.
pub(super) const MARKER_FILE: &str = ".doorbuster-cluster";

/// The directory of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// Creates the directory if it is missing, and marks it as the directory of an installation.
    /// Refuses a directory that has files but no marker, because its files do not belong to an
    /// installation. Lets other users enter a new directory, because PostgreSQL may run as another
    /// user.
    pub fn create(path: &Path) -> Result<Self, ClusterError> {
        let cluster_dir = Self::open(path)?;
        let what = || format!("creating {}", cluster_dir.0.display());
        if !cluster_dir.is_marked() {
            if cluster_dir.0.is_dir() {
                let mut entries = std::fs::read_dir(&cluster_dir.0).with_operation(what)?;
                if entries.next().is_some() {
                    let reason =
                        "the directory has files but no installation; choose another directory";
                    return Err(ClusterError::failed(what(), reason));
                }
            }
            create_dir(&cluster_dir.0, 0o711)?;
            let text = "`doorbuster cluster down` removes the installation in this directory.\n";
            cluster_dir.write_private(MARKER_FILE, text)?;
        }
        for dir in [cluster_dir.pid_dir(), cluster_dir.0.join("log")] {
            create_dir(&dir, 0o711)?;
        }
        Ok(cluster_dir)
    }

    pub(super) fn is_marked(&self) -> bool {
        self.0.join(MARKER_FILE).is_file()
    }

    /// Returns the directory at `path`, without checking that it exists or has an installation.
    pub fn open(path: &Path) -> Result<Self, ClusterError> {
        let absolute =
            std::path::absolute(path).with_operation(|| format!("finding {}", path.display()))?;
        Ok(Self(absolute))
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the directory of the process-id files.
    pub fn pid_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Returns the log file of a server.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    /// Creates a subdirectory that only this user may read.
    pub fn private_dir(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.0.join(name);
        create_dir(&path, 0o700)?;
        Ok(path)
    }

    /// Writes a file that only this user may read.
    pub fn write_private(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.0.join(name);
        write_private(&path, text)?;
        Ok(path)
    }
}

pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_operation(|| format!("writing {}", path.display()))
}

/// Creates a directory with this mode. Does not change a directory that exists.
fn create_dir(path: &Path, mode: u32) -> Result<(), ClusterError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    // The umask can remove permissions from the mode of a new directory, so the mode is set again.
    let made =
        made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
    made.with_operation(|| format!("creating {}", path.display()))
}
