//! The directory of an installation: who may look into it, and where everything is in it.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{ClusterError, OrFailed};

/// A directory that holds one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDir(PathBuf);

impl ClusterDir {
    /// Makes the directory unless it is there. Others may go through it, as PostgreSQL runs as
    /// somebody else, but not look.
    pub fn create(path: &Path) -> Result<Self, ClusterError> {
        let cluster_dir = Self::open(path)?;
        for dir in [cluster_dir.0.clone(), cluster_dir.pid_dir(), cluster_dir.0.join("log")] {
            create_dir(&dir, 0o711)?;
        }
        Ok(cluster_dir)
    }

    /// The directory, whatever is in it.
    pub fn open(path: &Path) -> Result<Self, ClusterError> {
        let whole =
            std::path::absolute(path).or_failed(|| format!("finding {}", path.display()))?;
        Ok(Self(whole))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where process ids are kept.
    pub fn pid_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Where a server writes what it has to say.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    /// A directory in it, for nobody else to look into.
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

/// Writes a file that only this user may read, in place of one that is there.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .or_failed(|| format!("writing {}", path.display()))
}

fn create_dir(path: &Path, mode: u32) -> Result<(), ClusterError> {
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    // The mode of a new directory is cut by the umask.
    let made =
        made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
    made.or_failed(|| format!("making {}", path.display()))
}
