//! Options for opening a store, and the errors of opening and copying one.
use std::path::PathBuf;
use std::sync::Arc;

use doorbuster_core::{IdKey, Millis, NodeId};

use super::CommitSink;

/// Options for opening a store in SQLite.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The directory that holds the store and no other files. It is created if it does not exist.
    pub dir: PathBuf,
    /// The deployment's key.
    pub id_key: IdKey,
    /// The store's clock.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Called after every commit.
    pub sink: CommitSink,
    /// Called once, from a thread of the store, when the disk fails: the process must stop.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Options for opening a store in PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, or the key-value format of libpq. Several
    /// hosts are tried in turn.
    pub url: String,
    /// The deployment's key.
    pub id_key: IdKey,
    /// A clock that replaces the database's; only for tests.
    pub clock: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    /// This node. It receives the verdicts of its tickets, also when another node settles them.
    pub node: NodeId,
    /// Called after every commit of this node, and for the commits of other nodes.
    pub sink: CommitSink,
    /// Called once when the database's data is damaged: the process must stop.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// Use a server even if it does not sync (`fsync = off`). Such a server can lose confirmed
    /// orders or the whole database in a power failure.
    pub allow_fsync_off: bool,
}

/// Why a store could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error(
        "{} is in use by another doorbuster process: stop that process, or use another data \
         directory",
        .0.display()
    )]
    Locked(PathBuf),
    /// The file is not a store.
    #[error("{} is not a doorbuster store", .0.display())]
    NotAStore(PathBuf),
    /// A newer program wrote it.
    #[error(
        "the store has schema version {found}, this program knows versions up to {known}: run the \
         newer program"
    )]
    TooNew {
        /// The schema version of the file.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// The integrity check failed.
    #[error("the store is damaged ({0}): restore a backup")]
    Damaged(String),
    /// The file system or SQLite reported an error.
    #[error("the store cannot be opened: {0}")]
    Failed(String),
}

/// Why a backup was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackupError {
    /// The target file exists and is kept.
    #[error("{} already exists; a backup never overwrites a file", .0.display())]
    Exists(PathBuf),
    /// The file system or SQLite reported an error; no partial copy remains.
    #[error("the backup failed: {0}")]
    Failed(String),
}
