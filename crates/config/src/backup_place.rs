//! Where a continuous backup is kept.

use std::fmt;
use std::path::PathBuf;

/// Where a continuous backup is kept, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupPlace {
    /// A directory.
    Directory(PathBuf),
    /// A bucket of an S3-compatible service, and a prefix in it.
    Bucket {
        /// The bucket.
        bucket: String,
        /// The prefix, without a slash at its start or its end. An empty text means no prefix.
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
        /// The directory or the bucket.
        place: String,
        /// Why the directory or the bucket cannot be opened.
        reason: String,
    },
}

impl BackupPlace {
    /// Parses a directory or `s3://BUCKET/PREFIX`.
    ///
    /// # Errors
    ///
    /// If the text is empty, if its scheme is not `s3`, if no bucket follows `s3://`, or if this
    /// build has no support for buckets.
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
