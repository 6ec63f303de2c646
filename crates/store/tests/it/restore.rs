//! Tests backups and restores. A backup must contain the state of the store at one instant. A
//! restored store must sell nothing until an operator resumes its sales.
use std::fs;
use std::os::unix::fs::PermissionsExt;

use doorbuster_core::sale::{Phase, PhaseStep};
use doorbuster_core::{IdKey, Millis, Verdict};
use doorbuster_store::conformance::{Clock, CommitLog};
use doorbuster_store::{
    BackupError, BackupFile, HistoryCause, OpenError, PausedSale, RestoreError, SqliteOptions,
    Store, StoreHistoryRow, backup, inspect, restore,
};

use crate::fixture::{Dir, open, options};

const NOW: Millis = Millis(1_000);
const LATER: Millis = Millis(2_000);

fn secrets() -> Vec<BackupFile> {
    ["id_key", "pass_key"]
        .map(|name| BackupFile { name: name.to_owned(), content: name.as_bytes().to_vec() })
        .to_vec()
}

#[tokio::test]
async fn a_backup_is_a_store_of_one_instant() {
    let (dir, elsewhere, restored) = (Dir::new(), Dir::new(), Dir::new());
    let fixture = open(dir.path());
    let grant = fixture.slot(10_000, 10_000, 1).await;
    let store = fixture.store.clone();
    let tickets: Vec<_> =
        (1..=5_000).map(|n| fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1)).collect();
    let settling = tokio::spawn(async move {
        for batch in tickets.chunks(50) {
            let resolved = store.settle(batch.to_vec()).await.expect("settles");
            assert!(resolved.iter().all(|r| r.verdict == Verdict::Reserved));
        }
    });
    let (from, to) = (dir.path().to_owned(), elsewhere.path().join("copy"));
    let copied = tokio::task::spawn_blocking(move || backup(&from, &to, NOW, &[])).await;
    copied.expect("runs").expect("copies");
    settling.await.expect("runs");
    let again = backup(dir.path(), &elsewhere.path().join("copy"), NOW, &[]);
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    let names: Vec<_> = fs::read_dir(elsewhere.path())
        .expect("reads")
        .map(|e| e.expect("reads").file_name())
        .collect();
    assert_eq!(names, ["copy"], "the backup must not leave another file");
    restore(&elsewhere.path().join("copy"), restored.path(), LATER).expect("restores");
    let copy = open(restored.path());
    copy.check_invariants().await;
    let held = copy.counts(grant.slot.item).await.held;
    assert!(held % 50 == 0 && held <= 5_000, "the backup must have only whole commits: {held}");
    copy.store.close().await;
    fixture.store.close().await;
}

#[tokio::test]
async fn a_restore_brings_back_the_store_and_its_files_with_paused_sales() {
    let (dir, elsewhere, restored) = (Dir::new(), Dir::new(), Dir::new());
    let file = elsewhere.path().join("copy");
    let fixture = open(dir.path());
    let grant = fixture.slot(10, 10, 1).await;
    fixture.reserve(&grant, 1, "anna", 1).await;
    let sale = fixture.store.sales().await.expect("reads")[0].id.clone();
    fixture.store.step_sale(&sale, PhaseStep::Open).await.expect("opens");
    let orders = |model: doorbuster_core::model::Model| model.orders;
    let before = orders(inspect::dump(&fixture.store).await.expect("reads"));
    fixture.store.close().await;
    backup(dir.path(), &file, NOW, &secrets()).expect("copies");
    let nowhere = backup(&dir.path().join("none"), &elsewhere.path().join("x"), NOW, &[]);
    assert!(matches!(nowhere, Err(BackupError::Failed(_))), "{nowhere:?}");
    assert!(!elsewhere.path().join("x").exists());
    let missing = elsewhere.path().join("missing");
    let unwritable = backup(dir.path(), &missing.join("x"), NOW, &[]).expect_err("no directory");
    assert!(unwritable.to_string().contains(&*missing.to_string_lossy()), "{unwritable}");
    assert_eq!(fs::metadata(&file).expect("it exists").permissions().mode() & 0o777, 0o600);

    let done = restore(&file, restored.path(), LATER).expect("restores");
    let paused = vec![PausedSale { sale: sale.clone(), was: Phase::Open }];
    assert_eq!((done.backup_at, &done.paused), (NOW, &paused));
    assert_eq!(done.files, ["id_key", "pass_key"]);
    for name in ["id_key", "pass_key", "doorbuster.sqlite3", "lock"] {
        let there = fs::metadata(restored.path().join(name)).expect(name);
        assert_eq!(there.permissions().mode() & 0o777, 0o600, "{name}");
    }
    let copy = open(restored.path());
    assert_eq!(copy.store.sale(&sale).await.expect("reads").expect("exists").phase, Phase::Paused);
    assert_eq!(orders(inspect::dump(&copy.store).await.expect("reads")), before);
    let history = copy.store.store_history().await.expect("reads");
    let StoreHistoryRow { cause, backup_at, at, paused: kept, .. } = &history[0];
    assert_eq!((*cause, *backup_at, *at), (HistoryCause::Restored, Some(NOW), LATER));
    assert_eq!(kept, &paused);
    copy.store.close().await;
    let again = restore(&file, restored.path(), LATER);
    assert!(matches!(again, Err(RestoreError::Occupied(_))), "{again:?}");
}

#[tokio::test]
async fn files_that_are_no_backup_and_directories_in_use_are_refused() {
    let (dir, elsewhere, other) = (Dir::new(), Dir::new(), Dir::new());
    let file = elsewhere.path().join("copy");
    let store = open(dir.path()).store;
    backup(dir.path(), &file, NOW, &secrets()).expect("copies");
    let at = |path: &std::path::Path| restore(path, other.path(), LATER);
    assert!(
        matches!(at(&dir.file()), Err(RestoreError::NotABackup(_))),
        "a store must not be restored as a backup"
    );
    fs::write(elsewhere.path().join("text"), "no database").expect("writes");
    assert!(matches!(at(&elsewhere.path().join("text")), Err(RestoreError::NotABackup(_))));
    assert!(matches!(at(&elsewhere.path().join("none")), Err(RestoreError::Failed(_))));
    let used = restore(&file, dir.path(), LATER);
    assert!(matches!(used, Err(RestoreError::Store(OpenError::Locked(_)))), "{used:?}");
    store.close().await;
    let differs = other.path().join("id_key");
    fs::write(&differs, "another").expect("writes");
    assert!(matches!(at(&file), Err(RestoreError::Differs(path)) if path == differs));
    assert!(!other.file().exists());
    fs::write(&differs, "id_key\n").expect("writes");
    at(&file).expect("a file with the same content is accepted");
    // Someone may copy a backup to the place of a store by hand. The server must not open such a
    // copy as a store.
    fs::copy(&file, elsewhere.file()).expect("copies");
    let opened =
        Store::open_sqlite(options(elsewhere.path(), &Clock::new(), &CommitLog::default()).0);
    assert!(matches!(opened.err(), Some(OpenError::IsBackup(_))));
}

#[tokio::test]
async fn a_store_accepts_only_the_key_that_it_was_created_with() {
    let dir = Dir::new();
    let with = |secret: u8| {
        let (options, _) = options(dir.path(), &Clock::new(), &CommitLog::default());
        Store::open_sqlite(SqliteOptions { id_key: IdKey::new([secret; 32]), ..options })
    };
    for (secret, fits) in [(1, true), (1, true), (2, false), (1, true)] {
        let store = with(secret).expect("opens");
        let bound = store.bind_key().await;
        assert_eq!(bound.is_ok(), fits, "{bound:?}");
        if let Err(error) = bound {
            assert!(matches!(&error, OpenError::WrongIdKey { .. }), "{error}");
        }
        store.close().await;
    }
}
