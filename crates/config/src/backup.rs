//! The settings of the continuous backup.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use doorbuster_base::encryption;
use secrecy::{ExposeSecret, SecretString};

use super::Shape;
use super::backup_place::BackupPlace;
use super::check::SettingsReader;

/// The continuous backup.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// The directory or bucket of the backup.
    pub place: BackupPlace,
    /// How far back in time an operator can restore the store.
    pub kept_for: Duration,
    /// The passphrase that encrypts the backup. `None` means that the backup is not encrypted.
    pub passphrase: Option<SecretString>,
}

/// The minimum length of a passphrase, in characters. A shorter passphrase can be guessed.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

/// Reads the settings of the backup. Returns `None` if there is no continuous backup, or if a
/// setting is wrong.
pub(super) fn backup(
    read: &mut SettingsReader<'_>,
    shape: Option<&Shape>,
    data_dir: Option<&Path>,
) -> Option<BackupSettings> {
    let hours = read.integer("backup.keep_hours", 1..=8_760);
    let passphrase = read.is_set("backup.passphrase").then(|| read.secret("backup.passphrase"));
    let passphrase = passphrase.flatten().and_then(|text| {
        let checked = encryption::passphrase(text.expose_secret());
        checked.map_err(|error| read.fault("backup.passphrase", error)).ok()
    });
    if !read.is_set("backup.to") {
        if passphrase.is_some() {
            read.fault("backup.passphrase", "needs backup.to");
        }
        return None;
    }
    let is_short = |passphrase: &SecretString| {
        passphrase.expose_secret().chars().count() < PASSPHRASE_CHARS_MIN
    };
    if passphrase.as_ref().is_some_and(is_short) {
        read.fault(
            "backup.passphrase",
            format!("is too short; use at least {PASSPHRASE_CHARS_MIN} characters"),
        );
    }
    let text = read.text("backup.to")?;
    if !matches!(shape, None | Some(Shape::Embedded)) {
        return read.refuse(
            "backup.to",
            "is only for shape = \"embedded\"; use PostgreSQL's tools for the other shapes",
        );
    }
    match BackupPlace::parse(&text) {
        Ok(BackupPlace::Directory(path)) if data_dir.is_some_and(|dir| is_inside(&path, dir)) => {
            read.refuse(
                "backup.to",
                "is inside data_dir, but the backup must survive a loss of data_dir; write another \
                 directory",
            )
        }
        Ok(place) => {
            let kept_for = Duration::from_secs(hours? * 60 * 60);
            Some(BackupSettings { place, kept_for, passphrase })
        }
        Err(error) => read.refuse("backup.to", error.to_string()),
    }
}

fn is_inside(path: &Path, dir: &Path) -> bool {
    resolve(path).starts_with(resolve(dir))
}

/// Returns the absolute path without `.` and `..`. Follows symbolic links as far as the path
/// exists.
fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            part => resolved.push(part),
        }
        if let Ok(real) = std::fs::canonicalize(&resolved) {
            resolved = real;
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_data_directory_is_found_however_it_is_written() {
        let scratch = doorbuster_testkit::TempDir::new();
        let here = std::env::current_dir().expect("a directory");
        let link = scratch.path().join("link");
        std::os::unix::fs::symlink(&here, &link).expect("writable");
        let data_dir = Path::new("data");
        for inside in [
            here.join("data"),
            here.join("data/backup"),
            here.join("missing/../data/backup"),
            "./data/backup".into(),
            link.join("data/backup"),
        ] {
            assert!(is_inside(&inside, data_dir), "{}", inside.display());
        }
        for outside in [here.join("database"), "data/../backup".into(), scratch.path().to_owned()] {
            assert!(!is_inside(&outside, data_dir), "{}", outside.display());
        }
    }
}
