//! Tests an open store whose files are moved, deleted or replaced. The store must stop, report the
//! reason, and confirm no further order. If the store file still exists, the next start must find
//! every confirmed order.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{Grant, TicketId};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture};
use doorbuster_store::{Store, StoreError, StoreResult};

use crate::fixture::{Dir, Fatal, open, options};

/// The files in the directory of an open store.
const NAMES: [&str; 4] =
    ["doorbuster.sqlite3", "doorbuster.sqlite3-wal", "doorbuster.sqlite3-shm", "lock"];
/// The longest wait for an event, on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A store that has confirmed one order.
struct Shop {
    fixture: Fixture,
    fatal: Fatal,
    grant: Grant,
    order: TicketId,
}

impl Shop {
    async fn open(dir: &Path) -> Self {
        let (clock, commits) = (Clock::new(), CommitLog::default());
        let (options, fatal) = options(dir, &clock, &commits);
        let fixture =
            Fixture { store: Store::open_sqlite(options).expect("opens"), clock, commits };
        let grant = fixture.slot(100, 100, 1).await;
        let order = fixture.reserve(&grant, 1, "anna", 1).await.id;
        fixture.commits.forget();
        Self { fixture, fatal, grant, order }
    }

    async fn settle(&self, n: u64) -> StoreResult<Vec<TicketVerdict>> {
        let ticket = self.fixture.ticket(&self.grant, n, &format!("buyer-{n}"), "k", 1);
        self.fixture.store.settle(vec![ticket]).await
    }

    /// Settles a ticket. This call must stop the store. Returns the reason that the store reported.
    async fn stops(self) -> String {
        let answer = self.settle(2).await;
        let reason = self.stopped().await;
        assert!(matches!(&answer, Err(StoreError::Fatal(why)) if *why == reason), "{answer:?}");
        reason
    }

    /// Checks that the store refuses all work, and that it published no commit after its first
    /// order. Returns the reason that the store reported. There must be only one reason.
    async fn stopped(self) -> String {
        let store = &self.fixture.store;
        let refused = [
            self.settle(3).await.err(),
            store.health().await.err(),
            store.take_leader_lease(1, 1).await.err(),
            store.sales().await.err(),
        ];
        assert!(
            refused.iter().all(|error| matches!(error, Some(StoreError::Fatal(_)))),
            "{refused:?}"
        );
        store.close().await;
        assert!(
            self.fixture.commits.take().is_empty(),
            "the store must not publish a further commit"
        );
        let mut reasons = self.fatal.lock().expect("no panic").clone();
        assert_eq!(reasons.len(), 1, "the failure must be reported once: {reasons:?}");
        reasons.remove(0)
    }
}

async fn expect_confirmed(dir: &Dir, order: TicketId) {
    let fixture = open(dir.path());
    assert!(
        fixture.store.order(order).await.expect("reads").is_some(),
        "the order was confirmed, but the store does not have it"
    );
    fixture.check_invariants().await;
    fixture.store.close().await;
}

#[track_caller]
fn expect_refused(dir: &Dir) {
    let (options, _) = options(dir.path(), &Clock::new(), &CommitLog::default());
    let error =
        Store::open_sqlite(options).err().expect("a removed store is not replaced").to_string();
    assert!(
        error.contains("/doorbuster.sqlite3: the store that was in this directory is gone: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_moved_file_stops_the_store_before_it_confirms_more() {
    for name in NAMES {
        let (dir, away) = (Dir::new(), Dir::new());
        let shop = Shop::open(dir.path()).await;
        let order = shop.order;
        fs::rename(dir.path().join(name), away.path().join(name)).expect("the file can change");
        let reason = shop.stops().await;
        assert!(reason.contains(&format!("/{name} cannot be found any more: ")), "{reason}");
        if name == NAMES[0] {
            expect_refused(&dir);
            assert!(!dir.file().exists());
        }
        fs::rename(away.path().join(name), dir.path().join(name)).expect("the file can change");
        expect_confirmed(&dir, order).await;
    }
}

#[tokio::test]
async fn published_data_is_in_the_file_when_its_log_is_removed() {
    let dir = Dir::new();
    let shop = Shop::open(dir.path()).await;
    let order = shop.order;
    for name in &NAMES[1..3] {
        fs::remove_file(dir.path().join(name)).expect("the file can change");
    }
    shop.stops().await;
    expect_confirmed(&dir, order).await;
}

#[tokio::test]
async fn a_moved_store_file_is_complete_without_its_log() {
    let (dir, away) = (Dir::new(), Dir::new());
    let shop = Shop::open(dir.path()).await;
    let order = shop.order;
    fs::rename(dir.file(), away.file()).expect("the file can change");
    shop.stops().await;
    expect_confirmed(&away, order).await;
}

#[tokio::test]
async fn a_replaced_file_stops_the_store_before_it_confirms_more() {
    for name in NAMES {
        let dir = Dir::new();
        let shop = Shop::open(dir.path()).await;
        let order = shop.order;
        fs::remove_file(dir.path().join(name)).expect("the file can change");
        fs::write(dir.path().join(name), "").expect("writes");
        let reason = shop.stops().await;
        assert!(
            reason.contains(&format!("/{name} is no longer the file that is in use")),
            "{reason}"
        );
        match name == NAMES[0] {
            true => expect_refused(&dir),
            false => expect_confirmed(&dir, order).await,
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_moved_away_stops_the_store_and_loses_nothing() {
    let (dir, away) = (Dir::new(), Dir::new());
    let shop = Shop::open(dir.path()).await;
    let (order, moved) = (shop.order, away.path().join("moved"));
    fs::rename(dir.path(), &moved).expect("the file can change");
    let reason = shop.stops().await;
    assert!(reason.contains("/doorbuster.sqlite3 cannot be found any more: "), "{reason}");
    fs::rename(&moved, dir.path()).expect("the file can change");
    expect_confirmed(&dir, order).await;
}

#[tokio::test]
async fn an_idle_store_notices_that_a_file_is_gone() {
    for name in ["doorbuster.sqlite3", "lock"] {
        let dir = Dir::new();
        let shop = Shop::open(dir.path()).await;
        fs::remove_file(dir.path().join(name)).expect("the file can change");
        let begun = Instant::now();
        while shop.fixture.store.health().await.is_ok() {
            assert!(begun.elapsed() < TIMEOUT, "the store still works without {name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let reason = shop.stopped().await;
        assert!(reason.contains(&format!("/{name} cannot be found any more: ")), "{reason}");
    }
}

#[tokio::test]
async fn a_store_behind_a_link_works_until_the_link_is_gone() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    fs::write(elsewhere.file(), "").expect("writes");
    symlink(elsewhere.file(), dir.file()).expect("a fresh name");
    let shop = Shop::open(dir.path()).await;
    fs::remove_file(dir.file()).expect("the file can change");
    let reason = shop.stops().await;
    assert!(reason.contains("/doorbuster.sqlite3 cannot be found any more: "), "{reason}");
}

#[tokio::test]
async fn a_backup_and_a_vacuum_do_not_stop_the_store() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let shop = Shop::open(dir.path()).await;
    doorbuster_store::backup(dir.path(), &elsewhere.file(), doorbuster_core::Millis(0), &[])
        .expect("copies");
    shop.settle(2).await.expect("settles");
    dir.shell()
        .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        .expect("no other connection works");
    shop.settle(3).await.expect("settles");
    assert_eq!(shop.fixture.commits.take().len(), 2, "each commit must be published");
    shop.fixture.check_invariants().await;
    shop.fixture.store.close().await;
    assert!(shop.fatal.lock().expect("no panic").is_empty());
}
