//! The settings of the continuous backup.

use std::path::Path;
use std::time::Duration;

use super::Shape;
use super::check::SettingsReader;
use crate::backup::BackupPlace;

/// The continuous backup.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// The directory or bucket of the backup.
    pub place: BackupPlace,
    /// How far back in time a state can be restored.
    pub kept_for: Duration,
}

/// Reads these settings. Returns `None` if there is no continuous backup or a setting is wrong.
pub(super) fn backup(
    read: &mut SettingsReader<'_>,
    shape: Option<&Shape>,
    data_dir: Option<&Path>,
) -> Option<BackupSettings> {
    let hours = read.integer("backup.keep_hours", 1..=8_760);
    if !read.is_set("backup.to") {
        return None;
    }
    let text = read.text("backup.to")?;
    if !matches!(shape, None | Some(Shape::Embedded)) {
        read.fault(
            "backup.to",
            "is only for shape = \"embedded\"; use PostgreSQL's tools for the other shapes",
        );
        return None;
    }
    match BackupPlace::parse(&text) {
        Ok(BackupPlace::Directory(path)) if data_dir.is_some_and(|dir| path.starts_with(dir)) => {
            read.fault(
                "backup.to",
                "is inside data_dir, but the backup must survive a loss of data_dir; write another \
                 directory",
            );
            None
        }
        Ok(place) => {
            Some(BackupSettings { place, kept_for: Duration::from_secs(hours? * 60 * 60) })
        }
        Err(error) => {
            read.fault("backup.to", error.to_string());
            None
        }
    }
}
