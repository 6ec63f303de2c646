//! A long log, whoever reads an old snapshot of it, and threads that panic.
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::params;

use doorbuster_core::IdKey;

use super::*;
use crate::limits::{CHECKPOINT_PAGES, LOG_PAUSE};

/// A log that is long, here: hardly longer than what is carried at all.
const LONG: i64 = CHECKPOINT_PAGES + 100;
/// Commits that are looked at.
const COMMITS: usize = 20;
/// For whatever comes by itself, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A store with a short bound, in a directory that goes with it.
struct Fixture {
    store: Sqlite,
    dir: PathBuf,
    /// When each commit was told: behind it the writer tends the log.
    told: Receiver<Instant>,
    /// A second connection, which sees how long the log is.
    shell: Connection,
}

impl Fixture {
    fn open() -> Self {
        let name = format!("doorbuster-log-{}-{:?}", std::process::id(), thread::current().id());
        let dir = std::env::temp_dir().join(name);
        let (tells, told) = sync_channel(10_000);
        let options = SqliteOptions {
            dir: dir.clone(),
            id_key: IdKey::new([5; 32]),
            clock: Arc::new(|| Millis(1)),
            // A test that does not listen for long misses some.
            sink: Arc::new(move |_| {
                let _ = tells.try_send(Instant::now());
            }),
            on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
        };
        let store = Sqlite::open_bounded(options, LONG).expect("opens");
        let shell = Connection::open(open::data_path(&dir)).expect("the store's file");
        Self { store, dir, told, shell }
    }

    /// Writes so many bytes, and says when that began.
    async fn write(&self, bytes: usize) -> Instant {
        let written = self.store.job(move |ledger| {
            let began = Instant::now();
            let sql = "INSERT INTO sandbox (key, value) VALUES (hex(randomblob(16)), ?1)";
            ledger.sql.run(sql, params!["x".repeat(bytes)])?;
            Ok(began)
        });
        tokio::time::timeout(PATIENCE, written)
            .await
            .expect("no commit waits for ever")
            .expect("writes")
    }

    /// Pages in the log that are not carried, and those that are.
    fn log(&self) -> (i64, i64) {
        let of = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (pages, carried) =
            self.shell.query_row("PRAGMA wal_checkpoint(NOOP)", [], of).expect("the log");
        (pages - carried, carried)
    }

    /// Somebody who reads a snapshot as it is now, to the end of their connection; behind it the
    /// log gets long.
    async fn long_log(&self) -> Connection {
        let reads = Connection::open(open::data_path(&self.dir)).expect("the store's file");
        reads.execute_batch("BEGIN; SELECT count(*) FROM sandbox").expect("a snapshot");
        while self.log().0 < LONG {
            self.write(1_000_000).await;
        }
        reads
    }

    /// As though the log were on its way into the file, or no more: said between two commits, while
    /// nobody carries.
    async fn is_checkpointing(&self, is_so: bool) {
        let shared = Arc::clone(&self.store.0.shared);
        let said = self.store.job(move |_| {
            while is_so && shared.is_checkpointing.load(Ordering::Acquire) {
                thread::yield_now();
            }
            shared.is_checkpointing.store(is_so, Ordering::Release);
            Ok(())
        });
        said.await.expect("no job fails");
    }

    /// How long the writer was away after each commit.
    async fn pauses(&self) -> Vec<Duration> {
        let mut began = Vec::new();
        while self.told.try_recv().is_ok() {}
        for _ in 0..=COMMITS {
            began.push(self.write(1).await);
        }
        let told: Vec<Instant> = self.told.try_iter().collect();
        began[1..].iter().zip(told).map(|(next, told)| next.duration_since(told)).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A leftover in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn behind_a_long_log_the_writer_rests_while_it_is_carried_and_leaves_it_to_others() {
    let fixture = Fixture::open();
    assert!(fixture.pauses().await.iter().any(|pause| *pause < LOG_PAUSE), "the log is short");
    let reads = fixture.long_log().await;
    fixture.is_checkpointing(true).await;
    let pauses = fixture.pauses().await;
    assert!(pauses.iter().all(|pause| *pause >= LOG_PAUSE), "{pauses:?}");
    drop(reads);
    let (_, carried) = fixture.log();
    fixture.pauses().await;
    assert_eq!(fixture.log().1, carried, "the writer carries nothing of a long log");
    fixture.is_checkpointing(false).await;
    let begun = Instant::now();
    while fixture.log().0 >= LONG {
        fixture.write(1).await;
        assert!(begun.elapsed() < PATIENCE, "the log is carried: {:?}", fixture.log());
    }
    fixture.is_checkpointing(true).await;
    assert!(fixture.pauses().await.iter().any(|pause| *pause < LOG_PAUSE), "it is short again");
    fixture.is_checkpointing(false).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn under_an_old_snapshot_the_log_grows_and_nobody_waits_for_its_end() {
    let fixture = Fixture::open();
    let reads = fixture.long_log().await;
    let (left, carried) = fixture.log();
    for _ in 0..5 * COMMITS {
        fixture.write(1).await;
    }
    let (left_now, carried_now) = fixture.log();
    assert!(left_now >= LONG, "nothing behind the snapshot is carried: {left_now} pages are left");
    assert!(left_now + carried_now > left + carried, "the log grows");
    tokio::time::timeout(PATIENCE, fixture.store.close()).await.expect("closes");
    drop(reads);
}

#[test]
fn a_thread_that_panics_fails_the_store() {
    let (told, reasons) = sync_channel(1_000);
    let shared = Arc::new(Shared {
        id_key: IdKey::new([5; 32]),
        clock: Arc::new(|| Millis(1)),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(move |reason| told.send(reason.to_owned()).expect("the test listens")),
        log_pages_max: LONG,
        failed: OnceLock::new(),
        is_checkpointing: false.into(),
        closed: false.into(),
    });
    spawn("store-test", &shared, || {}).expect("a thread").join().expect("a good end");
    assert!(shared.check_accepting().is_ok(), "an end is no panic");
    spawn("store-test", &shared, || panic!("on purpose"))
        .expect("a thread")
        .join()
        .expect_err("it panicked");
    assert_eq!(reasons.try_iter().collect::<Vec<_>>(), ["a thread of the store panicked"]);
    assert!(
        matches!(shared.check_accepting(), Err(StoreError::Fatal(_))),
        "{:?}",
        shared.check_accepting()
    );
}
