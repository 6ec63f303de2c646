//! A directory as the target: each object is a file.

use std::fs::{self, DirBuilder, DirEntry, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::TargetError;
use crate::names::{self, Generation};

const PART: &str = ".part";

/// A semaphore with one permit, so that only one thread works at a time.
type Turn = Arc<Semaphore>;

/// A directory. It may be on a network disk that does not respond, and then an operation blocks its
/// thread. So each kind of operation uses at most one thread, and a repeated operation waits for
/// the earlier one.
#[derive(Clone)]
pub(super) struct Directory {
    root: PathBuf,
    /// The turn for writes of small objects and segments.
    puts: Turn,
    /// The turn for writes of whole files. These writes take long, so segments must not wait for
    /// them.
    files: Turn,
    /// The turn for reads, lists and deletions.
    others: Turn,
}

impl Directory {
    /// Creates the directory if it is missing. Only the user of this process can read a new
    /// directory. If other users can write to the directory, logs a warning, because a restore
    /// trusts the objects in it.
    pub(super) fn create(path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o022 != 0 {
            tracing::warn!(
                path = %path.display(),
                event = "backup.directory_writable",
                "other users can write to the backup's directory, so they could replace the \
                 backup; set the directory's mode to 700"
            );
        }
        Ok(())
    }

    pub(super) fn open(path: &Path) -> Self {
        let turn = || Arc::new(Semaphore::new(1));
        Self { root: path.to_owned(), puts: turn(), files: turn(), others: turn() }
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), TargetError> {
        self.write(&self.puts, name, move |file| file.write_all(&bytes)).await
    }

    pub(super) async fn put_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let mut from = File::open(file)?;
        self.write(&self.files, name, move |file| io::copy(&mut from, file).map(drop)).await
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, TargetError> {
        let path = self.root.join(name);
        blocking(&self.others, move || fs::read(path).map(Bytes::from)).await
    }

    pub(super) async fn get_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        let (from, to) = (self.root.join(name), file.to_owned());
        blocking(&self.others, move || {
            let mut from = File::open(from)?;
            // An error here does not mean that the object is missing.
            let mut to = new_file(&to).map_err(io::Error::other)?;
            io::copy(&mut from, &mut to).map(drop)
        })
        .await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), TargetError> {
        let path = self.root.join(name);
        blocking(&self.others, move || remove(&path)).await
    }

    /// Leaves the files of other programs.
    pub(super) async fn delete_incomplete(
        &self,
        generation: &Generation,
    ) -> Result<(), TargetError> {
        let (root, generation) = (self.root.clone(), generation.to_string());
        blocking(&self.others, move || {
            for name in object_names(&root.join(&generation), &generation)? {
                let complete = name.strip_suffix(PART);
                if complete.is_some_and(|complete| names::parse(complete).is_some()) {
                    // An error is ignored, because the file is deleted later with its generation.
                    let _ = remove(&root.join(name));
                }
            }
            Ok(())
        })
        .await
    }

    /// Reads only the root directory, and not the directories of the generations.
    pub(super) async fn generations(&self) -> Result<Vec<String>, TargetError> {
        let root = self.root.clone();
        blocking(&self.others, move || {
            let found = directories(&root)?;
            Ok(found.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        })
        .await
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, TargetError> {
        let root = self.root.clone();
        blocking(&self.others, move || {
            let mut names = file_names(&root)?;
            names.retain(|name| !name.ends_with(PART));
            Ok(names)
        })
        .await
    }

    /// Writes and syncs a temporary file, and renames it. After an error, deletes the temporary
    /// file, because on a full disk this file would stop all other writes.
    async fn write(
        &self,
        turn: &Turn,
        name: &str,
        content: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), TargetError> {
        let (root, path) = (self.root.clone(), self.root.join(name));
        blocking(turn, move || {
            let Some(parent) = path.parent() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            // Creates no directory above the generation's directory, because the write must fail if
            // the backup's disk is not mounted.
            if !parent.exists() {
                DirBuilder::new().mode(0o700).create(parent)?;
                File::open(&root)?.sync_all()?;
            }
            let mut part = path.clone().into_os_string();
            part.push(PART);
            let part = PathBuf::from(part);
            let write = || {
                let mut file = new_file(&part)?;
                content(&mut file)?;
                file.sync_all()?;
                fs::rename(&part, &path)
            };
            write().inspect_err(|_| _ = fs::remove_file(&part))?;
            File::open(parent)?.sync_all()
        })
        .await
    }
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    // If the generation's directory still has files, `remove_dir` fails and keeps the directory.
    if let Some(parent) = path.parent() {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

fn directories(root: &Path) -> io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry);
        }
    }
    Ok(found)
}

/// Includes incomplete files.
fn file_names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for generation in directories(root)? {
        let before = generation.file_name().to_string_lossy().into_owned();
        names.append(&mut object_names(&generation.path(), &before)?);
    }
    Ok(names)
}

/// Includes incomplete files.
fn object_names(directory: &Path, generation: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for object in fs::read_dir(directory)? {
        let name = object?.file_name().to_string_lossy().into_owned();
        names.push(format!("{generation}/{name}"));
    }
    Ok(names)
}

/// Only the user of this process can read the file.
fn new_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Waits for the earlier work with the same `turn`, and then runs this work in a thread. Work that
/// has begun continues even if the caller stops waiting.
async fn blocking<T: Send + 'static>(
    turn: &Turn,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, TargetError> {
    let turn = turn.clone().acquire_owned().await.map_err(io::Error::other)?;
    let work = move || {
        let done = work();
        drop(turn);
        done
    };
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(io::Error::other)??)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use doorbuster_testkit::TempDir;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_repeated_write_waits_for_the_write_that_hangs() {
        let dir = TempDir::new();
        let target = Directory::open(dir.path());
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (release, released) = sync_channel::<()>(1);
        let hanging = target.clone();
        let hanging = tokio::spawn(async move {
            let content = move |file: &mut File| {
                let _ = begin.send(());
                released.recv().map_err(io::Error::other)?;
                file.write_all(b"hanging")
            };
            hanging.write(&hanging.puts, "gen/segment", content).await
        });
        begun.await.expect("the write begins");
        hanging.abort();
        let mut repeated = Box::pin(target.put("gen/segment", Bytes::from_static(b"repeated")));
        let early = timeout(Duration::from_millis(200), &mut repeated).await;
        assert!(early.is_err(), "the second write must wait");
        assert!(target.list().await.expect("readable").is_empty());
        release.send(()).expect("the thread waits");
        repeated.await.expect("writable");
        assert_eq!(target.get("gen/segment").await.expect("readable"), "repeated");
    }

    #[tokio::test]
    async fn a_failed_write_leaves_no_file() {
        let dir = TempDir::new();
        let target = Directory::open(dir.path());
        let content = |file: &mut File| {
            file.write_all(b"a part")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let written = target.write(&target.files, "gen/base", content).await;
        assert!(written.is_err());
        assert_eq!(file_names(dir.path()).expect("readable"), Vec::<String>::new());
    }
}
