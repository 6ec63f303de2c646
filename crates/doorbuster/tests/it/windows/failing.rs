//! A disk that fails beside the commits or completely: the program ends with the reason, and never
//! syncs the same file again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::{PurchaseSpec, Wire};
use super::disk::expect_told;
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use super::purchase_log::AllowedEvents;
use super::random_load::{self, RandomLoad};

/// A server whose disk failed ends within this.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Longer than it takes until a log of some megabytes is long, or a storm over, on a slow machine.
const STORM_WITHIN: Duration = Duration::from_secs(300);
/// Answers that make a storm.
const STORM_MIN: usize = 200;
/// Bytes of the log at which it is carried some hundred milliseconds later: half of what makes it
/// long.
const LOG_HALF_LONG: u64 = 4_000_000;
/// Buyers whose commits are small.
const FEW: usize = 4;
/// How long a sync takes then.
const SYNC: Duration = Duration::from_millis(10);

/// It ended because of its store; what it said.
#[track_caller]
fn expect_reason(fixture: &mut ServerFixture) -> String {
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let said = fixture.stderr_text();
    assert!(said.contains("the store failed, so the server ended:"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_the_main_file_that_fails_ends_the_program() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    // While the server runs that file is synced only when the log is long and carried into it.
    faults.fail_next_sync_of_main();
    // At any moment a commit is on its way to the disk, also when the sync of the file fails. Such
    // commits add so little to the log that the writer itself could copy it and sync the file.
    faults.slow_disk(SYNC);
    let storm = tokio::spawn(random_load::run(RandomLoad::new(
        fixture.address,
        "spring",
        6,
        FEW,
        AllowedEvents::default(),
    )));
    let log = fixture.data_dir().join("doorbuster.sqlite3-wal");
    let bytes = || std::fs::metadata(&log).map_or(0, |file| file.len());
    let half = async || (bytes() >= LOG_HALF_LONG || storm.is_finished()).then_some(());
    fixture.until("the log gets long", STORM_WITHIN, half).await;
    // A request that never comes to its end keeps the program from ending before that could happen;
    // unless it was so quick that it is gone by now.
    let (mut stuck, spec) = (
        Wire::connect(fixture.address).await,
        PurchaseSpec::new("stuck", "k", "spring", 1).bytes(),
    );
    if let Ok(stuck) = &mut stuck {
        let _ = stuck.send(&spec[..spec.len() - 5]).await;
    }
    let record = tokio::time::timeout(STORM_WITHIN, storm)
        .await
        .expect("the log is carried")
        .expect("no panic");
    let said = expect_reason(&mut fixture);
    assert_eq!(faults.syncs_of_main_failed(), 1, "{said}");
    // The next sync would have succeeded, without the pages that the failed one lost.
    assert_eq!(faults.syncs_of_main_after_failure(), 0, "the file was synced again: {said}");
    faults.slow_disk(Duration::ZERO);
    fixture.restart();
    expect_told(&fixture, record).await;
}

/// A disk that fails in a storm, as `fails` says, and is well again at the next start; what the
/// server said.
async fn expect_end(seed: u64, fails: fn(&MachineFaults, bool)) -> String {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", seed, 16, AllowedEvents::default());
    let storm = tokio::spawn(random_load::run(plan.clone()));
    let storms = async || (plan.answered.load(Ordering::Relaxed) > STORM_MIN).then_some(());
    fixture.until("a storm", STORM_WITHIN, storms).await;
    fails(&faults, true);
    let record =
        tokio::time::timeout(STORM_WITHIN, storm).await.expect("the disk fails").expect("no panic");
    let said = expect_reason(&mut fixture);
    fails(&faults, false);
    fixture.restart();
    expect_told(&fixture, record).await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_ends_the_program_with_the_reason() {
    let said = expect_end(7, MachineFaults::fail_writes).await;
    assert!(said.contains("disk I/O error"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_ends_the_program() {
    // SQLite takes what it cannot read for damage, and says so.
    expect_end(8, MachineFaults::fail_reads).await;
}
