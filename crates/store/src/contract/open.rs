//! How a store is opened and copied, and why that may fail.
use std::path::PathBuf;
use std::sync::Arc;

use doorbuster_core::{IdKey, Millis, NodeId};

use super::CommitSink;

/// How to open a store in SQLite.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The directory that holds the store and nothing else's files; created if need be.
    pub dir: PathBuf,
    /// The deployment's key.
    pub id_key: IdKey,
    /// The store's clock.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Told of every commit.
    pub sink: CommitSink,
    /// Called once, from a thread of the store, when the disk failed: the process must stop.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// How to open a store in PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, or the words of libpq; several hosts are
    /// tried in turn.
    pub url: String,
    /// The deployment's key.
    pub id_key: IdKey,
    /// A clock in place of the database's; tests alone have a use for it.
    pub clock: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    /// This node: verdicts of its tickets are told to it whoever settles them.
    pub node: NodeId,
    /// Told of every commit of this node, and of what others committed.
    pub sink: CommitSink,
    /// Called once when what the database holds is damaged: the process must stop.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// Use a server also when it does not sync (`fsync = off`), and loses promises or everything at
    /// a power cut.
    pub allow_fsync_off: bool,
}

/// Why a store could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("{} is in use by another doorbuster process: stop that one, or name another data directory", .0.display())]
    Locked(PathBuf),
    /// The file is something else.
    #[error("{} is not a doorbuster store", .0.display())]
    NotAStore(PathBuf),
    /// A newer program wrote it.
    #[error(
        "the store has schema version {found}, this program knows versions up to {known}: run the \
         newer program"
    )]
    TooNew {
        /// The file's version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The integrity check failed.
    #[error("the store is damaged ({0}): restore a backup")]
    Damaged(String),
    /// The file system or SQLite said no.
    #[error("the store cannot be opened: {0}")]
    Failed(String),
}

/// Why a backup was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already, and stays.
    #[error("{} exists already; a backup never overwrites", .0.display())]
    Exists(PathBuf),
    /// The file system or SQLite said no; nothing is left behind.
    #[error("the backup failed: {0}")]
    Failed(String),
}
