//! The directory of an installation: its permissions and the paths of its files.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{ClusterError, ClusterErrorContext};

/// The directory of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// Creates the directory if it is missing. Other users can enter the directory, because
    /// PostgreSQL may run as another user. But they cannot list the files in the directory.
    pub fn create(path: &Path) -> Result<Self, ClusterError> {
        let cluster_dir = Self::open(path)?;
        for dir in [cluster_dir.0.clone(), cluster_dir.pid_dir(), cluster_dir.0.join("log")] {
            create_dir(&dir, 0o711)?;
        }
        Ok(cluster_dir)
    }

    /// Opens the directory without a check of its content.
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

/// Writes a file that only this user may read. Replaces an existing file.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_operation(|| format!("writing {}", path.display()))
}

fn create_dir(path: &Path, mode: u32) -> Result<(), ClusterError> {
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    // The umask can remove permissions from the mode of a new directory, so the mode is set once
    // more.
    let made =
        made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
    made.with_operation(|| format!("creating {}", path.display()))
}
