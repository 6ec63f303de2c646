//! Tests the program with a failing disk: a sync outside of a commit fails, all writes fail, or all
//! reads fail. The program prints the reason and ends. After a failed sync, the program does not
//! sync the same file again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::{HttpConnection, PurchaseSpec};
use super::disk::expect_stored;
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use super::purchase_log::AllowedEvents;
use super::random_load::{self, RandomLoad};

const END_WITHIN: Duration = Duration::from_secs(10);
/// The longest wait for any part of a load, even on a slow machine.
const STORM_WITHIN: Duration = Duration::from_secs(300);
const STORM_MIN: usize = 200;
/// The test waits until the log has this size, which is half the size at which a checkpoint starts.
/// The load needs some hundred milliseconds to write the other half.
const HALF_LOG_BYTES: u64 = 4_000_000;
const SMALL_COMMIT_BUYERS: usize = 4;
/// How long a sync takes while the commits are small.
const SYNC: Duration = Duration::from_millis(10);

/// Returns the server's standard error.
#[track_caller]
fn expect_reason(fixture: &mut ServerFixture) -> String {
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let stderr_text = fixture.stderr_text();
    assert!(stderr_text.contains("the store failed, so the server ended:"), "{stderr_text}");
    stderr_text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_the_main_file_that_fails_ends_the_program() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    // While the server runs, only a checkpoint of a long log syncs the main file.
    faults.fail_next_sync_of_main();
    // The slow disk makes it likely that a small commit runs when the sync of the main file fails.
    // After a small commit, the writer may start a checkpoint, which would sync the main file
    // again. The test must detect such a sync.
    faults.slow_disk(SYNC);
    let storm = tokio::spawn(random_load::run(RandomLoad::new(
        fixture.address,
        "spring",
        6,
        SMALL_COMMIT_BUYERS,
        AllowedEvents::default(),
    )));
    let log = fixture.data_dir().join("doorbuster.sqlite3-wal");
    let bytes = || std::fs::metadata(&log).map_or(0, |file| file.len());
    let half = async || (bytes() >= HALF_LOG_BYTES || storm.is_finished()).then_some(());
    fixture.until("the log gets long", STORM_WITHIN, half).await;
    // The program waits for this unfinished request before it ends. A faulty writer therefore has
    // time for another sync. The program may have ended already, so errors of this connection are
    // ignored.
    let (mut stuck, spec) = (
        HttpConnection::connect(fixture.address).await,
        PurchaseSpec::new("stuck", "k", "spring", 1).bytes(),
    );
    if let Ok(stuck) = &mut stuck {
        let _ = stuck.send(&spec[..spec.len() - 5]).await;
    }
    let record = tokio::time::timeout(STORM_WITHIN, storm)
        .await
        .expect("the server ends")
        .expect("no panic");
    let stderr_text = expect_reason(&mut fixture);
    assert_eq!(faults.syncs_of_main_failed(), 1, "{stderr_text}");
    // The failed sync may have lost pages. A second sync would succeed without these pages, so the
    // server must not sync again.
    assert_eq!(faults.syncs_of_main_after_failure(), 0, "the file was synced again: {stderr_text}");
    faults.slow_disk(Duration::ZERO);
    fixture.restart();
    expect_stored(&fixture, record).await;
}

/// Makes the disk fail with `fails` during a load. Checks that the server ends, and that a
/// restarted server has every answered request. Returns the server's standard error.
async fn expect_end(seed: u64, fails: fn(&MachineFaults, bool)) -> String {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", seed, 16, AllowedEvents::default());
    let storm = tokio::spawn(random_load::run(plan.clone()));
    let storms = async || (plan.answered.load(Ordering::Relaxed) > STORM_MIN).then_some(());
    fixture.until("the load has begun", STORM_WITHIN, storms).await;
    fails(&faults, true);
    let record =
        tokio::time::timeout(STORM_WITHIN, storm).await.expect("the disk fails").expect("no panic");
    let stderr_text = expect_reason(&mut fixture);
    fails(&faults, false);
    fixture.restart();
    expect_stored(&fixture, record).await;
    stderr_text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_ends_the_program_with_the_reason() {
    let stderr_text = expect_end(7, MachineFaults::fail_writes).await;
    assert!(stderr_text.contains("disk I/O error"), "{stderr_text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_ends_the_program() {
    // This test does not check the reason, because SQLite reports a read error as a damaged file.
    expect_end(8, MachineFaults::fail_reads).await;
}
