//! The directory or the bucket of a continuous backup.

#[cfg(feature = "s3")]
mod bucket;
mod directory;

use std::path::{Path, PathBuf};
use std::{fmt, io};

use bytes::Bytes;

use directory::Directory;

/// Where a continuous backup is kept, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupPlace {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of an S3-compatible service, and a prefix in it.
    Bucket {
        /// The bucket.
        bucket: String,
        /// The prefix, without a slash at its ends. It is empty if there is no prefix.
        prefix: String,
    },
}

/// Why a directory or a bucket cannot be used for a backup.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The text is neither a directory nor a bucket.
    #[error("is neither a directory nor a bucket; write a directory, or s3://BUCKET/PREFIX")]
    Unknown,
    /// The program was built without support for buckets.
    #[error("this build has no support for s3://; build with the feature s3, or set a directory")]
    NoBuckets,
    /// The directory or the bucket cannot be opened.
    #[error("cannot use {place}: {reason}")]
    Unusable {
        /// The place.
        place: String,
        /// The reason.
        reason: String,
    },
}

impl BackupPlace {
    /// Parses a directory or `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    ///
    /// If the text is empty, or names another service.
    pub fn parse(text: &str) -> Result<Self, PlaceError> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(PlaceError::Unknown);
            }
            if !cfg!(feature = "s3") {
                return Err(PlaceError::NoBuckets);
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Self::Bucket { bucket: bucket.to_owned(), prefix });
        }
        match text.is_empty() || text.contains("://") {
            true => Err(PlaceError::Unknown),
            false => Ok(Self::Directory(text.into())),
        }
    }
}

impl fmt::Display for BackupPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

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
#[error("{0}")]
pub struct TargetError(String);

impl From<io::Error> for TargetError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl BackupTarget {
    /// Opens a directory or a bucket for writing. If the directory is missing, creates it. Only
    /// this user may read the new directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created, or the bucket's settings are wrong.
    pub fn create(place: &BackupPlace) -> Result<Self, PlaceError> {
        if let BackupPlace::Directory(path) = place {
            Directory::create(path).map_err(|error| unusable(place, with_advice(&error)))?;
        }
        Self::open(place)
    }

    /// Opens a directory or a bucket for reading.
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
                Objects::Bucket(opened.map_err(|error| unusable(place, error))?)
            }
            #[cfg(not(feature = "s3"))]
            BackupPlace::Bucket { .. } => return Err(PlaceError::NoBuckets),
        };
        Ok(Self { objects, place: place.clone() })
    }

    /// Writes an object, or replaces the object with this name. The object is durable when this
    /// function returns.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.put(name, bytes).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.put(name, bytes).await,
        }
    }

    /// Writes a file as an object.
    pub(super) async fn put_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.put_file(name, file).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.put_file(name, file).await,
        }
    }

    /// Reads an object.
    pub(super) async fn get(&self, name: &str) -> Result<Bytes, TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.get(name).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.get(name).await,
        }
    }

    /// Reads an object into a file, which only this user may read.
    pub(super) async fn get_file(&self, name: &str, file: &Path) -> Result<(), TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.get_file(name, file).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.get_file(name, file).await,
        }
    }

    /// Deletes an object.
    pub(super) async fn delete(&self, name: &str) -> Result<(), TargetError> {
        match &self.objects {
            Objects::Directory(directory) => directory.delete(name).await,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.delete(name).await,
        }
    }

    /// Returns the names of all objects, sorted.
    pub(super) async fn list(&self) -> Result<Vec<String>, TargetError> {
        let mut names = match &self.objects {
            Objects::Directory(directory) => directory.list().await?,
            #[cfg(feature = "s3")]
            Objects::Bucket(bucket) => bucket.list().await?,
        };
        names.sort_unstable();
        Ok(names)
    }
}

impl fmt::Display for BackupTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// Returns the error's text. If this user may not write to the directory, adds what to do.
fn with_advice(error: &io::Error) -> String {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => {
            format!("{error}; let this user write there; in a systemd unit, set ReadWritePaths=")
        }
        _ => error.to_string(),
    }
}

fn unusable(place: &BackupPlace, reason: impl fmt::Display) -> PlaceError {
    PlaceError::Unusable { place: place.to_string(), reason: reason.to_string() }
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
