//! Tests how a store is opened and closed: locks, files of other programs, file modes, and reopened
//! stores.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use doorbuster_core::{Counter, Millis};
use doorbuster_store::conformance::{Clock, CommitLog};
use doorbuster_store::{OpenError, Store, backup, inspect};

use crate::fixture::{Dir, open, options};

fn try_open(dir: &Dir) -> Result<Store, OpenError> {
    Store::open_sqlite(options(dir.path(), &Clock::new(), &CommitLog::default()).0)
}

fn error(dir: &Dir) -> OpenError {
    try_open(dir).err().expect("an error")
}

#[tokio::test]
async fn a_directory_has_one_store_at_a_time() {
    let dir = Dir::new();
    let first = try_open(&dir).expect("opens");
    let second = error(&dir);
    assert!(matches!(&second, OpenError::Locked(path) if path == dir.path()), "{second}");
    assert!(second.to_string().contains("in use by another doorbuster process"), "{second}");
    first.close().await;
    try_open(&dir).expect("the directory is free again").close().await;
}

#[tokio::test]
async fn only_its_owner_can_read_a_store_or_its_copy() {
    let dir = Dir::new();
    // Sets the mode of a file. An older program may have created files that other users can read.
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours")
    };
    let modes = || -> Vec<(String, u32)> {
        let files = fs::read_dir(dir.path())
            .expect("the directory exists")
            .map(|entry| entry.expect("an entry"));
        let mode =
            |entry: &fs::DirEntry| entry.metadata().expect("metadata").permissions().mode() & 0o777;
        files.map(|entry| (entry.file_name().display().to_string(), mode(&entry))).collect()
    };
    set(dir.path(), 0o755);
    for _ in 0..2 {
        let store = try_open(&dir).expect("opens");
        let found = modes();
        assert!(found.len() >= 4 && found.iter().all(|(_, mode)| *mode == 0o600), "{found:?}");
        store.close().await;
        set(&dir.file(), 0o644);
    }
    let copy = dir.path().join("copy");
    backup(dir.path(), &copy, Millis(0), &[]).expect("copies");
    assert_eq!(fs::metadata(&copy).expect("metadata").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_reopened_store_has_the_same_rows() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(100, 50, 3).await;
    let tickets = (1..=40)
        .map(|n| fixture.ticket(&grant, n, &format!("buyer-{}", n % 9), &format!("k{n}"), 1));
    fixture.store.settle(tickets.collect()).await.expect("settles");
    fixture.store.refill(grant.id, 5, Counter::A).await.expect("writes");
    let (sales, rows) = (
        fixture.store.sales().await.expect("reads"),
        inspect::dump(&fixture.store).await.expect("reads"),
    );
    fixture.store.close().await;
    let log = std::fs::metadata(dir.path().join("doorbuster.sqlite3-wal"));
    assert!(log.is_ok_and(|log| log.len() == 0), "the close must checkpoint the whole log");
    let again = open(dir.path());
    assert_eq!(again.store.sales().await.expect("reads"), sales);
    assert_eq!(inspect::dump(&again.store).await.expect("reads"), rows);
    let next = again.reserve(&grant, 41, "zoe", 1).await;
    assert_eq!(next.n.0, 41);
    again.check_invariants().await;
    again.store.close().await;
}

#[tokio::test]
async fn a_handle_that_is_dropped_closes_the_store() {
    let dir = Dir::new();
    drop(try_open(&dir).expect("opens"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match try_open(&dir) {
            Ok(store) => return store.close().await,
            Err(OpenError::Locked(_)) if std::time::Instant::now() < until => {
                tokio::task::yield_now().await
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_not_changed() {
    let dir = Dir::new();
    fs::write(
        dir.file(),
        "a letter and not a database, but long enough to be read as a database's header".repeat(9),
    )
    .expect("writes");
    assert!(matches!(error(&dir), OpenError::NotAStore(_)));
    fs::remove_file(dir.file()).expect("removes");
    dir.shell()
        .execute_batch("CREATE TABLE contacts (name TEXT)")
        .expect("another program's table");
    let before = fs::read(dir.file()).expect("reads");
    assert!(matches!(error(&dir), OpenError::NotAStore(_)));
    assert_eq!(fs::read(dir.file()).expect("reads"), before);
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let dir = Dir::new();
    fs::write(dir.file(), "").expect("writes");
    try_open(&dir).expect("opens").close().await;
    let mode: String =
        dir.shell().query_row("PRAGMA journal_mode", [], |r| r.get(0)).expect("reads");
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn a_newer_store_is_refused() {
    let dir = Dir::new();
    try_open(&dir).expect("opens").close().await;
    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history
                 WHERE version = 1";
    dir.shell().execute_batch(newer).expect("writes");
    let error = error(&dir);
    assert!(matches!(error, OpenError::TooNew { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("run the newer program"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_refused() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(1_000, 1_000, 1).await;
    let tickets = (1..=500).map(|n| fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1));
    fixture.store.settle(tickets.collect()).await.expect("settles");
    fixture.store.close().await;
    let mut bytes = fs::read(dir.file()).expect("reads");
    let pages = bytes.len() / 4096;
    for page in pages / 2..pages {
        bytes[page * 4096..page * 4096 + 64].fill(0x5a);
    }
    fs::write(dir.file(), bytes).expect("writes");
    let error = error(&dir);
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}
