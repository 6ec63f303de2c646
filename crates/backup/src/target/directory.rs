//! A directory as the target: each object is a file.

use std::fs::{self, DirBuilder, File};
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

/// A directory. It may be on a network disk. If the disk does not respond, an operation blocks its
/// thread. So each kind of operation uses at most one thread, and a repeated operation waits for
/// the earlier operation.
#[derive(Clone)]
pub(super) struct Directory {
    root: PathBuf,
    /// The permit to write a small object or a segment.
    puts: Turn,
    /// The permit to write a whole file, which takes long. Segments have another permit, so that
    /// they need not wait for this write.
    files: Turn,
    /// The permit to read, list or delete.
    others: Turn,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Self {
        let turn = || Arc::new(Semaphore::new(1));
        Self { root: path.to_owned(), puts: turn(), files: turn(), others: turn() }
    }

    /// Creates the directory and the directory of a generation, if they are missing. Creates no
    /// directory above them, because the backup's disk may not be mounted.
    pub(super) async fn create_generation(
        &self,
        generation: &Generation,
    ) -> Result<(), TargetError> {
        let (root, directory) = (self.root.clone(), self.root.join(generation.to_string()));
        blocking(&self.others, move || {
            create(&root).and_then(|()| create(&directory)).map_err(with_advice)?;
            File::open(&root)?.sync_all()?;
            warn_if_writable(&root)
        })
        .await
    }

    pub(super) async fn has_lost(&self, generation: &Generation) -> bool {
        let (root, directory) = (self.root.clone(), self.root.join(generation.to_string()));
        // The mount point of a disk that is not mounted is a directory too, but the server usually
        // must not write there.
        let is_writable =
            |directory| fs::create_dir(&directory).and_then(|()| fs::remove_dir(directory)).is_ok();
        let is_lost = move || Ok(root.is_dir() && !directory.exists() && is_writable(directory));
        blocking(&self.others, is_lost).await.unwrap_or(false)
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
            // If the new file cannot be created, the error must not say that the object is missing.
            let mut to = new_file(&to).map_err(io::Error::other)?;
            io::copy(&mut from, &mut to).map(drop)
        })
        .await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), TargetError> {
        let path = self.root.join(name);
        blocking(&self.others, move || remove(&path)).await
    }

    /// Deletes a generation's incomplete files, and then the generation's directory if it is empty.
    /// Keeps the files of other programs.
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
            // If the directory still has files, `remove_dir` fails and keeps the directory.
            let _ = fs::remove_dir(root.join(&generation));
            Ok(())
        })
        .await
    }

    /// Returns the names of the generations. Reads only the root directory, and not their
    /// directories.
    pub(super) async fn generations(&self) -> Result<Vec<String>, TargetError> {
        let root = self.root.clone();
        blocking(&self.others, move || {
            match generation_names(&root) {
                // The directory may be missing, because only the first generation creates it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                names => names,
            }
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
    /// file, because on a full disk this file would stop all other writes. Creates no directory,
    /// because the write must fail if the backup's disk is not mounted any more.
    async fn write(
        &self,
        turn: &Turn,
        name: &str,
        content: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), TargetError> {
        let path = self.root.join(name);
        blocking(turn, move || {
            let Some(parent) = path.parent() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
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

/// Creates a directory, if it is missing, that only the user of this process can read.
fn create(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(path)
}

/// Adds advice for a missing permission.
fn with_advice(error: io::Error) -> io::Error {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        kind @ (PermissionDenied | ReadOnlyFilesystem) => {
            let advice = "let this user write there; in a systemd unit, set ReadWritePaths=";
            io::Error::new(kind, format!("{error}; {advice}"))
        }
        _ => error,
    }
}

/// If other users can write to the directory, logs a warning, because a restore trusts the objects
/// in the directory.
fn warn_if_writable(root: &Path) -> io::Result<()> {
    if fs::metadata(root)?.permissions().mode() & 0o022 != 0 {
        tracing::warn!(
            path = %root.display(),
            event = "backup.directory_writable",
            "other users can write to the backup's directory, so they could replace the backup; \
             set the directory's mode to 700"
        );
    }
    Ok(())
}

/// Returns the names of the generations. Leaves out the directories of other programs, because this
/// process may be unable to read them.
fn generation_names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if names::parse_generation(&name).is_some() && entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Includes incomplete files.
fn file_names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for generation in generation_names(root)? {
        names.append(&mut object_names(&root.join(&generation), &generation)?);
    }
    Ok(names)
}

/// Returns the names of a generation's objects and incomplete files. Returns no names if the
/// directory is missing, because a server may just have deleted the generation.
fn object_names(directory: &Path, generation: &str) -> io::Result<Vec<String>> {
    let objects = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        objects => objects?,
    };
    let mut names = Vec::new();
    for object in objects {
        let name = object?.file_name().to_string_lossy().into_owned();
        names.push(format!("{generation}/{name}"));
    }
    Ok(names)
}

/// Creates a file that only the user of this process can read.
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

    use doorbuster_core::Millis;
    use doorbuster_testkit::TempDir;
    use tokio::time::timeout;

    use super::*;

    const GENERATION: &str = "1795000000123-0000000a";

    #[tokio::test]
    async fn a_repeated_write_waits_for_the_write_that_hangs() {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join(GENERATION)).expect("writable");
        let segment = format!("{GENERATION}/segment");
        let target = Directory::open(dir.path());
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (release, released) = sync_channel::<()>(1);
        let (hanging, name) = (target.clone(), segment.clone());
        let hanging = tokio::spawn(async move {
            let content = move |file: &mut File| {
                let _ = begin.send(());
                released.recv().map_err(io::Error::other)?;
                file.write_all(b"hanging")
            };
            hanging.write(&hanging.puts, &name, content).await
        });
        begun.await.expect("the write begins");
        hanging.abort();
        let mut repeated = Box::pin(target.put(&segment, Bytes::from_static(b"repeated")));
        let early = timeout(Duration::from_millis(200), &mut repeated).await;
        assert!(early.is_err(), "the second write must wait");
        assert!(target.list().await.expect("readable").is_empty());
        release.send(()).expect("the thread waits");
        repeated.await.expect("writable");
        assert_eq!(target.get(&segment).await.expect("readable"), "repeated");
    }

    #[tokio::test]
    async fn a_failed_write_leaves_no_file() {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join(GENERATION)).expect("writable");
        let target = Directory::open(dir.path());
        let content = |file: &mut File| {
            file.write_all(b"a part")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let written = target.write(&target.files, &format!("{GENERATION}/base"), content).await;
        assert!(written.is_err());
        assert_eq!(file_names(dir.path()).expect("readable"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_directories_of_other_programs_are_not_read() {
        let dir = TempDir::new();
        for directory in [GENERATION, "lost+found"] {
            fs::create_dir(dir.path().join(directory)).expect("writable");
            fs::write(dir.path().join(directory).join("file"), "a").expect("writable");
        }
        let target = Directory::open(dir.path());
        let expected = [format!("{GENERATION}/file")];
        assert_eq!(target.list().await.expect("readable"), expected);
        assert_eq!(target.generations().await.expect("readable"), [GENERATION]);
        // Another server may delete a generation between two reads.
        let deleted = object_names(&dir.path().join("deleted"), "deleted").expect("no failure");
        assert_eq!(deleted, Vec::<String>::new());
    }

    #[tokio::test]
    async fn no_object_is_written_below_the_mount_point_of_a_missing_disk() {
        let dir = TempDir::new();
        let (disk, generation) = (dir.path().join("disk"), Generation::after(None, Millis(1)));
        let target = Directory::open(&disk.join("shop"));
        assert!(target.create_generation(&generation).await.is_err(), "the disk is missing");
        assert!(!disk.exists());
        fs::create_dir(&disk).expect("writable");
        target.create_generation(&generation).await.expect("writable");
        let (segment, bytes) = (format!("{generation}/segment"), Bytes::from_static(b"pages"));
        target.put(&segment, bytes.clone()).await.expect("writable");
        // The test acts as if the disk were no longer mounted, but the mount point had the
        // directory `shop`.
        fs::rename(disk.join("shop"), disk.join("away")).expect("it moves");
        fs::create_dir(disk.join("shop")).expect("writable");
        assert!(target.put(&segment, bytes).await.is_err());
        assert!(target.list().await.expect("readable").is_empty());
    }
}
