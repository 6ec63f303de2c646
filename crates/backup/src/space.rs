//! Checks that a copy of the store does not fill the disk of the store.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

const STORE_FILES: [&str; 2] = ["doorbuster.sqlite3", "doorbuster.sqlite3-wal"];

/// Checks that the disk of `data_dir` has space for `copies` copies of the store, because a full
/// disk would stop the store's commits.
///
/// # Errors
///
/// If the disk has too little free space, or the file system fails.
pub fn check_space(data_dir: &Path, copies: u64) -> Result<(), String> {
    let disk = rustix::fs::statvfs(data_dir)
        .map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let size = |name| std::fs::metadata(data_dir.join(name)).map_or(0, |file| file.len());
    let store = STORE_FILES.into_iter().map(size).sum();
    check_free(disk.f_bavail.saturating_mul(disk.f_frsize), store, copies)
}

/// Returns whether a new file `path` would be on the same disk as `data_dir`. Returns false if the
/// disk of a directory is unknown.
#[must_use]
pub fn is_on_disk_of(data_dir: &Path, path: &Path) -> bool {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let disk = |dir: &Path| std::fs::metadata(dir).map(|dir| dir.dev()).ok();
    let other = disk(parent.unwrap_or(Path::new(".")));
    other.is_some() && other == disk(data_dir)
}

/// Fails if `free` is less than `copies` times `store`, plus half of `store`.
fn check_free(free: u64, store: u64, copies: u64) -> Result<(), String> {
    let needed = store.saturating_mul(copies).saturating_add(store / 2);
    match free >= needed {
        true => Ok(()),
        false => Err(format!(
            "the copy of the store needs {needed} free bytes on the disk of data_dir, but {free} \
             are free"
        )),
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    #[test]
    fn a_copy_that_would_fill_the_disk_is_refused() {
        assert_eq!(check_free(150, 100, 1), Ok(()));
        let error = check_free(149, 100, 1).expect_err("too little space");
        assert_eq!(
            check_free(250, 100, 2),
            Ok(()),
            "the space must be enough for a copy and its encrypted copy"
        );
        assert!(check_free(249, 100, 2).is_err());
        assert!(error.contains("needs 150 free bytes") && error.contains("149"), "{error}");
        let dir = TempDir::new();
        let store = std::fs::File::create(dir.path().join(STORE_FILES[0])).expect("writable");
        assert_eq!(check_space(dir.path(), 1), Ok(()));
        // A sparse file that is larger than the disk.
        store.set_len(1 << 42).expect("a sparse file");
        assert!(check_space(dir.path(), 1).is_err());
    }

    #[test]
    fn only_a_file_on_the_disk_of_the_store_takes_its_space() {
        let dir = TempDir::new();
        assert!(is_on_disk_of(dir.path(), &dir.path().join("friday.backup")));
        assert!(!is_on_disk_of(dir.path(), Path::new("/proc/friday.backup")));
        assert!(!is_on_disk_of(dir.path(), &dir.path().join("missing/friday.backup")));
    }
}
