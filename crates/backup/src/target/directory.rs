//! A directory as the target: each object is a file.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::TargetError;

/// The suffix of the name of an incomplete file.
const PART: &str = ".part";

/// A directory.
#[derive(Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Creates the directory if it is missing. Only the user of this process can read a new
    /// directory. If other users can write to an existing directory, logs a warning, because a
    /// restore trusts the objects in the directory.
    pub(super) fn create(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o022 != 0 {
            tracing::warn!(
                path = %path.display(),
                event = "backup.directory_writable",
                "other users can write to the backup's directory, so they could replace the \
                 backup; set its mode to 700"
            );
        }
        Ok(())
    }

    pub(super) fn open(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), TargetError> {
        self.write(name, move |file| file.write_all(&bytes)).await
    }

    pub(super) async fn put_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let mut from = File::open(file)?;
        self.write(name, move |file| io::copy(&mut from, file).map(drop)).await
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, TargetError> {
        let path = self.0.join(name);
        blocking(move || fs::read(path).map(Bytes::from)).await
    }

    pub(super) async fn get_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let (from, to) = (self.0.join(name), file.to_owned());
        blocking(move || {
            let mut to = new_file(&to)?;
            io::copy(&mut File::open(from)?, &mut to).map(drop)
        })
        .await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), TargetError> {
        let path = self.0.join(name);
        blocking(move || {
            fs::remove_file(&path)?;
            // Deletes the generation's directory if it is now empty. If the directory still has
            // objects, `remove_dir` fails, and the error is ignored.
            if let Some(parent) = path.parent() {
                let _ = fs::remove_dir(parent);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, TargetError> {
        let root = self.0.clone();
        blocking(move || {
            let mut names = Vec::new();
            for generation in fs::read_dir(root)? {
                let generation = generation?;
                if !generation.file_type()?.is_dir() {
                    continue;
                }
                let before = generation.file_name().to_string_lossy().into_owned();
                for object in fs::read_dir(generation.path())? {
                    let name = object?.file_name().to_string_lossy().into_owned();
                    if !name.ends_with(PART) {
                        names.push(format!("{before}/{name}"));
                    }
                }
            }
            Ok(names)
        })
        .await
    }

    /// Writes a file under a temporary name, syncs it, and renames it to `name`.
    async fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), TargetError> {
        let (root, path) = (self.0.clone(), self.0.join(name));
        blocking(move || {
            let Some(parent) = path.parent() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            // This function creates only the generation's directory, and never the backup's
            // directory. If the backup's disk is not mounted, the write must fail.
            if !parent.exists() {
                DirBuilder::new().mode(0o700).create(parent)?;
                File::open(&root)?.sync_all()?;
            }
            let mut part = path.clone().into_os_string();
            part.push(PART);
            let mut file = new_file(Path::new(&part))?;
            content(&mut file)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(parent)?.sync_all()
        })
        .await
    }
}

/// Creates an empty file that only the user of this process can read.
fn new_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, TargetError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(io::Error::other)??)
}
