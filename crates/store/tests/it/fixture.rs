//! A private store for each test: a temporary directory, or its own PostgreSQL database.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use doorbuster_core::NodeId;
use doorbuster_store::conformance::{Clock, CommitLog, Fixture, id_key};
use doorbuster_store::{KnownHistories, PostgresOptions, SqliteOptions, Store};

/// A directory that is removed when the test ends.
pub struct Dir(PathBuf);

impl Dir {
    /// Creates an empty directory.
    pub fn new() -> Self {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-store-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
        Self(dir)
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the store's file.
    pub fn file(&self) -> PathBuf {
        self.0.join("doorbuster.sqlite3")
    }

    /// Opens a second connection, like a SQL shell.
    pub fn shell(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).expect("the store's file")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // If the removal fails, the leftover directory is harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The reasons that `on_fatal` received.
pub type Fatal = Arc<Mutex<Vec<String>>>;

/// Returns the options of a test's store.
pub fn options(dir: &Path, clock: &Clock, commits: &CommitLog) -> (SqliteOptions, Fatal) {
    let fatal = Fatal::default();
    let reasons = Arc::clone(&fatal);
    let on_fatal =
        Arc::new(move |reason: &str| reasons.lock().expect("no panic").push(reason.to_owned()));
    let dir = dir.to_owned();
    (
        SqliteOptions {
            dir,
            id_key: id_key(),
            clock: clock.reader(),
            sink: commits.sink(),
            on_fatal,
        },
        fatal,
    )
}

/// Returns a store in a directory.
pub fn open(dir: &Path) -> Fixture {
    let (clock, commits) = (Clock::new(), CommitLog::default());
    let store = Store::open_sqlite(options(dir, &clock, &commits).0).expect("opens");
    Fixture { store, clock, commits }
}

/// Returns the options of a test's store in PostgreSQL.
pub fn postgres_options(
    url: &str,
    node: u32,
    clock: &Clock,
    commits: &CommitLog,
) -> PostgresOptions {
    PostgresOptions {
        url: url.to_owned(),
        id_key: id_key(),
        clock: Some(clock.reader()),
        monotonic_clock: None,
        node: NodeId(node),
        sink: commits.sink(),
        follows: Arc::new(|_| true),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
        allow_fsync_off: true,
        history: KnownHistories::default(),
    }
}

/// Opens a store in a PostgreSQL database, as one node does.
pub async fn open_postgres(url: &str, node: u32) -> Fixture {
    let (clock, commits) = (Clock::new(), CommitLog::default());
    let store =
        Store::open_postgres(postgres_options(url, node, &clock, &commits)).await.expect("opens");
    Fixture { store, clock, commits }
}

/// Opens a store like [`open_postgres`]. The node reads another node's order in full only if its
/// buyer has one of these tags (short hashes).
pub async fn open_postgres_following(url: &str, node: u32, buyers: &[u32]) -> Fixture {
    let (clock, commits, buyers) = (Clock::new(), CommitLog::default(), buyers.to_vec());
    let options = PostgresOptions {
        follows: Arc::new(move |buyer| buyers.contains(&buyer)),
        ..postgres_options(url, node, &clock, &commits)
    };
    Fixture { store: Store::open_postgres(options).await.expect("opens"), clock, commits }
}
