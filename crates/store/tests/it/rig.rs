//! A SQLite store in a directory of its own, which goes with the test.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use doorbuster_store::conformance::{Clock, Rig, Told, id_key};
use doorbuster_store::{SqliteOptions, Store};

/// A directory that is removed when the test ends.
pub struct Dir(PathBuf);

impl Dir {
    /// A new one.
    pub fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("doorbuster-store-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
        Self(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The database in it.
    pub fn file(&self) -> PathBuf {
        self.0.join("doorbuster.sqlite3")
    }

    /// A second connection, as a person with a shell has one.
    pub fn shell(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).expect("the store's file")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A leftover in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `on_fatal` was told.
pub type Fatal = Arc<Mutex<Vec<String>>>;

/// How a test opens a store.
pub fn options(dir: &Path, clock: &Clock, told: &Told) -> (SqliteOptions, Fatal) {
    let fatal = Fatal::default();
    let heard = Arc::clone(&fatal);
    let on_fatal = Arc::new(move |reason: &str| heard.lock().expect("no test panics with it").push(reason.to_owned()));
    let dir = dir.to_owned();
    (SqliteOptions { dir, id_key: id_key(), clock: clock.reader(), sink: told.sink(), on_fatal }, fatal)
}

/// A store in a directory.
pub fn open(dir: &Path) -> Rig {
    let (clock, told) = (Clock::new(), Told::default());
    let store = Store::open_sqlite(options(dir, &clock, &told).0).expect("opens");
    Rig { store, clock, told }
}
