//! Tests a write-ahead log that has become long, readers with old snapshots, and threads that
//! panic.
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rusqlite::params;

use doorbuster_core::IdKey;

use super::*;
use crate::contract::CommitSink;
use crate::limits::{CHECKPOINT_PAGES, LOG_PAUSE};

/// The value of `log_pages_max` in these tests. Checkpoints begin at a slightly smaller number of
/// pages.
const LONG: i64 = CHECKPOINT_PAGES + 100;
const COMMITS: usize = 20;
/// The longest wait for an asynchronous effect. It is long, because the machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Fixture {
    store: Sqlite,
    dir: PathBuf,
    /// Receives the time at which each commit was published. The writer shortens the log only after
    /// the publication.
    published: Receiver<Instant>,
    /// A second connection, which reads the length of the log.
    shell: Connection,
}

impl Fixture {
    fn open() -> Self {
        let (publish, published) = sync_channel(10_000);
        // If the channel is full, the time of a commit is lost. The tests do not need every time.
        let sink = move |_: &_| {
            let _ = publish.try_send(Instant::now());
        };
        Self::with_sink(Arc::new(sink), published)
    }

    fn with_sink(sink: CommitSink, published: Receiver<Instant>) -> Self {
        let name = format!("doorbuster-log-{}-{:?}", std::process::id(), thread::current().id());
        let dir = std::env::temp_dir().join(name);
        let options = SqliteOptions {
            dir: dir.clone(),
            id_key: IdKey::new([5; 32]),
            clock: Arc::new(|| Millis(1)),
            sink,
            on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
        };
        let store = Sqlite::open_bounded(options, LONG, None).expect("opens");
        let shell = Connection::open(open::data_path(&dir)).expect("the store's file");
        Self { store, dir, published, shell }
    }

    /// Commits a write of this many bytes. Returns the time at which the write started.
    async fn write(&self, bytes: usize) -> Instant {
        let written = self.store.job(move |ledger| {
            let began = Instant::now();
            let sql = "INSERT INTO sandbox (key, value) VALUES (hex(randomblob(16)), ?1)";
            ledger.sql.run(sql, params!["x".repeat(bytes)])?;
            Ok(began)
        });
        tokio::time::timeout(TIMEOUT, written)
            .await
            .expect("the commit ends in time")
            .expect("writes")
    }

    /// Returns how many pages of the log are not checkpointed, and how many are checkpointed.
    fn log(&self) -> (i64, i64) {
        let of = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (pages, carried) =
            self.shell.query_row("PRAGMA wal_checkpoint(NOOP)", [], of).expect("the log");
        (pages - carried, carried)
    }

    /// Takes a snapshot of the current state, then makes the log long. The snapshot lasts until the
    /// returned connection is closed.
    async fn long_log(&self) -> Connection {
        let reads = Connection::open(open::data_path(&self.dir)).expect("the store's file");
        reads.execute_batch("BEGIN; SELECT count(*) FROM sandbox").expect("a snapshot");
        while self.log().0 < LONG {
            self.write(1_000_000).await;
        }
        reads
    }

    /// Sets whether the store believes that a checkpoint runs. With `true`, first waits until no
    /// real checkpoint runs.
    async fn is_checkpointing(&self, is_so: bool) {
        let shared = Arc::clone(&self.store.0.shared);
        let job = self.store.job(move |_| {
            while is_so && shared.is_checkpointing.load(Ordering::Acquire) {
                thread::yield_now();
            }
            shared.is_checkpointing.store(is_so, Ordering::Release);
            Ok(())
        });
        job.await.expect("writes");
    }

    /// After each of several commits, measures how long the writer pauses. Returns these pauses.
    async fn pauses(&self) -> Vec<Duration> {
        let mut began = Vec::new();
        while self.published.try_recv().is_ok() {}
        for _ in 0..=COMMITS {
            began.push(self.write(1).await);
        }
        let published: Vec<Instant> = self.published.try_iter().collect();
        began[1..].iter().zip(published).map(|(next, last)| next.duration_since(last)).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // If the removal fails, the fixture's directory stays in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn while_a_long_log_is_checkpointed_the_writer_pauses_and_copies_no_pages_itself() {
    let fixture = Fixture::open();
    assert!(
        fixture.pauses().await.iter().any(|pause| *pause < LOG_PAUSE),
        "the writer must not pause while the log is short"
    );
    let reads = fixture.long_log().await;
    fixture.is_checkpointing(true).await;
    let pauses = fixture.pauses().await;
    assert!(pauses.iter().all(|pause| *pause >= LOG_PAUSE), "{pauses:?}");
    drop(reads);
    let (_, carried) = fixture.log();
    fixture.pauses().await;
    assert_eq!(fixture.log().1, carried, "the writer must not copy pages of a long log");
    fixture.is_checkpointing(false).await;
    let begun = Instant::now();
    while fixture.log().0 >= LONG {
        fixture.write(1).await;
        assert!(
            begun.elapsed() < TIMEOUT,
            "the log was not checkpointed in time: {:?}",
            fixture.log()
        );
    }
    fixture.is_checkpointing(true).await;
    let pauses = fixture.pauses().await;
    assert!(
        pauses.iter().any(|pause| *pause < LOG_PAUSE),
        "the writer must not pause after the log is short again"
    );
    fixture.is_checkpointing(false).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn while_a_reader_holds_an_old_snapshot_the_log_grows_and_close_does_not_wait() {
    let fixture = Fixture::open();
    let reads = fixture.long_log().await;
    let (left, carried) = fixture.log();
    for _ in 0..5 * COMMITS {
        fixture.write(1).await;
    }
    let (left_now, carried_now) = fixture.log();
    assert!(
        left_now >= LONG,
        "pages after the snapshot must not be checkpointed: {left_now} remain"
    );
    assert!(left_now + carried_now > left + carried, "the log must grow");
    tokio::time::timeout(TIMEOUT, fixture.store.close()).await.expect("closes");
    drop(reads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_may_see_a_commit_before_its_publication() {
    let (committed, commits) = sync_channel(1);
    let (publish, publishes) = sync_channel(1);
    let publishes = Mutex::new(publishes);
    let sink = move |_: &_| {
        let _ = committed.send(());
        publishes.lock().expect("no panic").recv_timeout(TIMEOUT).expect("the test continues");
    };
    let fixture = Fixture::with_sink(Arc::new(sink), sync_channel(1).1);
    let before = Instant::now();
    let (written, read) = tokio::join!(fixture.write(1), async {
        tokio::task::spawn_blocking(move || commits.recv_timeout(TIMEOUT))
            .await
            .expect("no panic")
            .expect("a commit");
        let rows = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let rows = fixture.shell.query_row("SELECT count(*) FROM sandbox", [], rows);
        assert_eq!(rows.expect("reads"), 1, "a read must see the commit");
        let read = Instant::now();
        let as_of = fixture.store.published_as_of();
        assert!(before < as_of && as_of < read, "the read saw more than the published state");
        publish.send(()).expect("the store waits");
        read
    });
    assert!(written < read && read < fixture.store.published_as_of());
}

#[test]
fn a_thread_that_panics_fails_the_store() {
    let (report, reasons) = sync_channel(1_000);
    let shared = Arc::new(Shared {
        id_key: IdKey::new([5; 32]),
        clock: Arc::new(|| Millis(1)),
        sink: Arc::new(|_| {}),
        state: StoreState::new(Arc::new(move |reason| {
            report.send(reason.to_owned()).expect("the test listens");
        })),
        log_pages_max: LONG,
        is_checkpointing: false.into(),
        publication: Publication::default(),
    });
    spawn("store-test", &shared, || {}).expect("a thread").join().expect("the thread ends");
    assert!(shared.state.check_accepting().is_ok(), "a thread that ends must not fail the store");
    spawn("store-test", &shared, || panic!("on purpose"))
        .expect("a thread")
        .join()
        .expect_err("the thread panicked");
    assert_eq!(reasons.try_iter().collect::<Vec<_>>(), ["a thread of the store panicked"]);
    assert!(
        matches!(shared.state.check_accepting(), Err(StoreError::Fatal(_))),
        "{:?}",
        shared.state.check_accepting()
    );
}
