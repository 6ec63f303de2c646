//! The errors that prevent the start of a server, or that end a running server.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_auth::JwksError;
use doorbuster_backup::PlaceError;
use doorbuster_engine::database::HistoryFileError;
use doorbuster_engine::error::{EngineError, FatalError};
use doorbuster_secrets::SecretsError;
use doorbuster_store::OpenError;

/// How long the node may take to settle the accepted tickets after every request was answered.
pub(super) const SETTLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a server did not start, or why it did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A secret can be neither read nor created.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The data directory does not exist and cannot be created.
    #[error(
        "data_dir: cannot use {}: {error}; name another directory with --data-dir",
        path.display()
    )]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The file system's error.
        error: io::Error,
    },
    /// The file in which the node keeps the newest history of the database is damaged or
    /// unreadable.
    #[error(transparent)]
    History(#[from] HistoryFileError),
    /// The buyers' public keys cannot be read.
    #[error("auth.buyer_jwks: {0}")]
    Keys(#[from] JwksError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address cannot be used.
    #[error("listen: cannot serve on {address}: {error}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        error: io::Error,
    },
    /// The target of the continuous backup cannot be used.
    #[error("backup.to: {0}")]
    Backup(#[from] PlaceError),
    /// The key of the continuous backup cannot be created.
    #[error("cannot create the key of the continuous backup: {0}")]
    BackupKey(io::Error),
    /// The limit of open files is too low for a server.
    #[error(
        "the limit of open files is {allowed}, which is too low for a server; raise the limit \
         (ulimit -n) to at least {needed}"
    )]
    Handles {
        /// The limit.
        allowed: u64,
        /// The lowest limit of open files with which a server starts.
        needed: u64,
    },
    /// The store failed permanently while the server ran.
    #[error("the store failed, so the server ended: {0}")]
    Fatal(String),
    /// A job of the engine ended too early while the server ran.
    #[error(
        "the job `{0}` ended, so the server ended; restart the server, and report the panic in the \
         log as a bug"
    )]
    JobEnded(&'static str),
    /// Accepted tickets were not settled in time. The next start returns their units, or another
    /// node settles them.
    #[error(
        "accepted tickets did not settle within {} s; either the next start returns their units, \
         or other nodes settle the tickets",
        SETTLE_TIMEOUT.as_secs()
    )]
    Unsettled,
}

impl From<FatalError> for ServeError {
    fn from(error: FatalError) -> Self {
        match error {
            FatalError::Store(reason) => Self::Fatal(reason),
            FatalError::JobEnded(job) => Self::JobEnded(job),
        }
    }
}

impl ServeError {
    /// Returns whether an operator must correct the settings, the secrets or the data directory
    /// before a restart.
    #[must_use]
    pub fn is_caused_by_settings(&self) -> bool {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::Keys(_) | Self::DataDir { .. } | Self::History(_) | Self::Backup(_) => true,
            Self::Secrets(
                SecretsError::IdKeyMissing(_)
                | SecretsError::Corrupt { .. }
                | SecretsError::Writable(_)
                | SecretsError::EdgeKeys(_),
            ) => true,
            Self::Secrets(SecretsError::InDirectory { error, .. }) => {
                matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | NotFound)
            }
            Self::Engine(EngineError::Open(error)) => {
                !matches!(error, OpenError::Locked(_) | OpenError::Failed(_))
            }
            _ => false,
        }
    }
}
