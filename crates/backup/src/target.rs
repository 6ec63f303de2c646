//! The directory or the bucket of a continuous backup.

#[cfg(feature = "s3")]
mod bucket;
mod directory;

use std::path::Path;
use std::{fmt, io};

use bytes::Bytes;

pub use doorbuster_config::{BackupPlace, PlaceError};

use crate::names::{self, Generation};
use directory::Directory;

/// An open directory or bucket. A clone uses the same directory or bucket.
#[derive(Clone)]
pub struct BackupTarget {
    objects: Objects,
    place: BackupPlace,
}

#[derive(Clone)]
enum Objects {
    Directory(Directory),
    #[cfg(feature = "s3")]
    Bucket(bucket::Bucket),
}

/// Why an object was not written, read or deleted.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct TargetError {
    text: String,
    /// Whether the object does not exist.
    pub(super) is_missing: bool,
}

impl From<io::Error> for TargetError {
    fn from(error: io::Error) -> Self {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        Self { text: error.to_string(), is_missing }
    }
}

macro_rules! call {
    ($target:ident, $method:ident $args:tt) => {
        match &$target.objects {
            Objects::Directory(directory) => directory.$method $args.await,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.$method $args.await,
        }
    };
}

impl BackupTarget {
    /// Opens a target. Does not access the directory or the bucket, because the target may be
    /// unavailable now.
    ///
    /// # Errors
    ///
    /// If the bucket's settings are wrong.
    pub fn open(place: &BackupPlace) -> Result<Self, PlaceError> {
        let objects = match place {
            BackupPlace::Directory(path) => Objects::Directory(Directory::open(path)),
            #[cfg(feature = "s3")]
            BackupPlace::Bucket { bucket, prefix } => {
                let opened = bucket::Bucket::open(bucket, prefix);
                Objects::Bucket(opened.map_err(|error| PlaceError::Unusable {
                    place: place.to_string(),
                    reason: error.to_string(),
                })?)
            }
            #[cfg(not(feature = "s3"))]
            BackupPlace::Bucket { .. } => return Err(PlaceError::NoBuckets),
        };
        Ok(Self { objects, place: place.clone() })
    }

    /// Prepares the target for the objects of a generation. A bucket needs no preparation.
    pub(super) async fn create_generation(
        &self,
        generation: &Generation,
    ) -> Result<(), TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.create_generation(generation).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(_) => Ok(()),
        }
    }

    /// Returns whether the backup's directory exists, but the generation's directory in it does
    /// not. This is so after a new disk was mounted at the same path.
    pub(super) async fn has_lost(&self, generation: &Generation) -> bool {
        match &self.objects {
            Objects::Directory(directory) => directory.has_lost(generation).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(_) => false,
        }
    }

    /// Writes or replaces an object durably. The object's generation must have been created.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), TargetError> {
        call!(self, put(name, bytes))
    }

    pub(super) async fn put_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        call!(self, put_file(name, file))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes, TargetError> {
        call!(self, get(name))
    }

    /// Copies an object to `file`, which only the user of this process can read.
    pub(super) async fn get_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        call!(self, get_file(name, file))
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), TargetError> {
        call!(self, delete(name))
    }

    /// Deletes the files that a stopped server left incomplete in this earlier generation. A bucket
    /// does not show incomplete objects, so this call does nothing for a bucket.
    pub(super) async fn delete_incomplete(
        &self,
        generation: &Generation,
    ) -> Result<(), TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.delete_incomplete(generation).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(_) => Ok(()),
        }
    }

    /// Returns the newest generation. Reads only the names of generations, because reading the
    /// names of all objects of a large backup takes minutes.
    pub(super) async fn newest_generation(&self) -> Result<Option<Generation>, TargetError> {
        let found = call!(self, generations())?;
        Ok(found.iter().filter_map(|name| names::parse_generation(name)).max())
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, TargetError> {
        let mut names = call!(self, list())?;
        names.sort_unstable();
        Ok(names)
    }
}

impl fmt::Display for BackupTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        let directory = BackupPlace::parse("/backups/shop").expect("a directory");
        assert_eq!(directory, BackupPlace::Directory("/backups/shop".into()));
        for other in ["", "gs://bucket", "s3://", "https://example.com/bucket"] {
            assert!(BackupPlace::parse(other).is_err(), "{other}");
        }
        let bucket = BackupPlace::parse("s3://bucket/a/b/");
        assert_eq!(bucket.is_ok(), cfg!(feature = "s3"), "{bucket:?}");
        if let Ok(place) = bucket {
            assert_eq!(place.to_string(), "s3://bucket/a/b");
        }
    }
}
