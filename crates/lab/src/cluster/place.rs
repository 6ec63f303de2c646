//! The directory of an installation: who may look into it, and where everything is in it.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::{ClusterError, Tried};

/// A directory that holds one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Place {
    /// Makes the directory unless it is there. Others may go through it, as PostgreSQL runs as somebody else, but not look.
    pub fn make(path: &Path) -> Result<Self, ClusterError> {
        let place = Self::at(path)?;
        for dir in [place.0.clone(), place.run(), place.0.join("log")] {
            directory(&dir, 0o711)?;
        }
        Ok(place)
    }

    /// The directory, whatever is in it.
    pub fn at(path: &Path) -> Result<Self, ClusterError> {
        let whole = std::path::absolute(path).tried(|| format!("finding {}", path.display()))?;
        Ok(Self(whole))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where process ids are kept.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Where a server writes what it has to say.
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("log").join(format!("{name}.log"))
    }

    /// A directory in it, for nobody else to look into.
    pub fn private(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.0.join(name);
        directory(&path, 0o700)?;
        Ok(path)
    }

    /// Writes a file that only this user may read.
    pub fn keep(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.0.join(name);
        keep(&path, text)?;
        Ok(path)
    }
}

/// Writes a file that only this user may read, in place of one that is there.
pub(super) fn keep(path: &Path, text: &str) -> Result<(), ClusterError> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .tried(|| format!("writing {}", path.display()))
}

fn directory(path: &Path, mode: u32) -> Result<(), ClusterError> {
    let made = DirBuilder::new().mode(mode).recursive(true).create(path);
    // The mode of a new directory is cut by the umask.
    let made =
        made.and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
    made.tried(|| format!("making {}", path.display()))
}
