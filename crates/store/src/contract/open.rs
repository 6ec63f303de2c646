//! Options for opening a store, and the errors of opening and copying a store.
use std::path::PathBuf;
use std::sync::Arc;

use doorbuster_core::{IdKey, Millis, NodeId};

use crate::history_memory::KnownHistories;

use super::{BuyerFilter, CommitSink, PausedSale};

/// Options for opening a store in SQLite.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The data directory, which contains the store. The store creates the directory if it does not
    /// exist.
    pub dir: PathBuf,
    /// The deployment's key for order ids.
    pub id_key: IdKey,
    /// The store's clock.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// The store calls this function after every commit.
    pub sink: CommitSink,
    /// The store calls this function once, from a thread of the store, when the disk fails. The
    /// process must then stop.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Options for opening a store in PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The address: `postgres://user:password@host:port/database`, or the key-value format of
    /// libpq. If the address names several hosts, the store connects to all of them and uses the
    /// host with the newest history.
    pub url: String,
    /// The deployment's key for order ids.
    pub id_key: IdKey,
    /// A clock that replaces the database's clock in tests.
    pub clock: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    /// A clock that replaces the monotonic clock in tests. If this is `None`, `clock` replaces both
    /// clocks.
    pub monotonic_clock: Option<Arc<dyn Fn() -> Millis + Send + Sync>>,
    /// The id of this node. The node receives the verdicts of its tickets, even if another node
    /// settles these tickets.
    pub node: NodeId,
    /// The store calls this function after every commit of this node, and for the commits of other
    /// nodes.
    pub sink: CommitSink,
    /// Selects buyers. If another node changes an order of a selected buyer, this node reads the
    /// whole order, and not only its digest.
    pub follows: BuyerFilter,
    /// The store calls this function once when the database's data is damaged. The process must
    /// then stop.
    pub on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// Whether the database server may run without syncs (`fsync = off`). Such a database server
    /// can lose confirmed orders or the whole database in a power failure.
    pub allow_fsync_off: bool,
    /// The database histories that this process knows. The store refuses a database whose history
    /// is older. If the store finds a newer history, the store adds it here.
    pub history: KnownHistories,
}

/// The reason why a store could not be opened.
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
    /// The directory had a store, and the store's file was removed.
    #[error(
        "{}: the store that was in this directory is gone: restore its file, or use another \
         directory for a new store",
        .0.display()
    )]
    Gone(PathBuf),
    /// A newer program wrote the store.
    #[error(
        "the store has schema version {found}, and this program knows versions up to {known}: run \
         the newer program"
    )]
    TooNew {
        /// The schema version of the file.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// The file is a backup.
    #[error("{} is a backup: write it to a data directory with `doorbuster restore`", .0.display())]
    IsBackup(PathBuf),
    /// The given key for order ids is not the key of this store.
    #[error(
        "the id_key does not fit the store: its fingerprint is {given}, and the store was created \
         with {expected}; with this key no buyer could reach an earlier order; restore the file \
         id_key from a backup, or correct auth.id_key"
    )]
    WrongIdKey {
        /// The fingerprint of the given key.
        given: String,
        /// The fingerprint in the store.
        expected: String,
    },
    /// The key in the file `pass_key` is not the pass key with which this store was used before.
    #[error(
        "the pass_key does not fit the store: its fingerprint is {given}, and the store was used \
         with {expected}; with this key no earlier pass, sign-in or payment link would work; \
         restore the file pass_key from a backup; if there is no copy, remove the wrong file, and \
         the server creates a new one"
    )]
    WrongPassKey {
        /// The fingerprint of the file.
        given: String,
        /// The fingerprint in the store.
        expected: String,
    },
    /// The integrity check failed.
    #[error("the store is damaged ({0}): restore a backup")]
    Damaged(String),
    /// The file system or SQLite reported an error.
    #[error("the store cannot be opened: {0}")]
    Failed(String),
}

/// A file that a backup contains beside the store, for example a generated secret.
#[derive(Clone)]
pub struct BackupFile {
    /// The file's name in the data directory.
    pub name: String,
    /// The file's content.
    pub content: Vec<u8>,
}

/// The result of a restore.
#[derive(Clone, Debug)]
pub struct Restored {
    /// When the backup was made.
    pub backup_at: Millis,
    /// The sales that the restore paused, each with its phase in the backup: open or scheduled.
    pub paused: Vec<PausedSale>,
    /// The names of the files from the backup that were written beside the store.
    pub files: Vec<String>,
}

/// The reason why a backup was not restored. The directory is unchanged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is not a backup.
    #[error("{} is not a backup made by `doorbuster backup`", .0.display())]
    NotABackup(PathBuf),
    /// The directory already contains a store.
    #[error(
        "{} contains a store already; a restore never overwrites a store: use an empty directory, \
         or move the old files away",
        .0.display()
    )]
    Occupied(PathBuf),
    /// The directory has a file of this name that differs from the file in the backup.
    #[error(
        "{} exists and differs from the file in the backup; use an empty directory, or move the \
         file away",
        .0.display()
    )]
    Differs(PathBuf),
    /// The store in the backup cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The file system or SQLite reported an error.
    #[error("the restore failed: {0}")]
    Failed(String),
}

/// The reason why a backup was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BackupError {
    /// The target file exists, and was not changed.
    #[error("{} already exists; a backup never overwrites a file", .0.display())]
    Exists(PathBuf),
    /// The file system or SQLite reported an error. No partial copy remains.
    #[error("the backup failed: {0}")]
    Failed(String),
}
