//! Tests a store whose files are removed while the server runs. The program prints the reason and
//! ends, and writes no order into the removed files. When the files are back, the store has every
//! answered request.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::PurchaseSpec;
use super::disk::expect_stored;
use super::fixture::ServerFixture;
use super::purchase_log::AllowedEvents;
use super::random_load::{self, RandomLoad};

/// A server ends within this time after its store is removed, even if no purchase arrives.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The longest wait for the start or the end of the load, even on a slow machine.
const STORM_WITHIN: Duration = Duration::from_secs(300);

fn carry(from: &Path, to: &Path) {
    for name in ["doorbuster.sqlite3", "doorbuster.sqlite3-wal", "doorbuster.sqlite3-shm"] {
        std::fs::rename(from.join(name), to.join(name)).expect("all store files exist");
    }
}

#[track_caller]
fn expect_reason(fixture: &mut ServerFixture, file: &Path) {
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    let (stderr_text, reason) =
        (fixture.stderr_text(), format!("{} cannot be found any more", file.display()));
    assert!(
        stderr_text.contains(&format!("the store failed, so the server ended: {reason}")),
        "{stderr_text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_moved_away_under_load_ends_the_program_with_the_reason() {
    let mut fixture = ServerFixture::start();
    let away = fixture.temp_dir.join("away");
    std::fs::create_dir(&away).expect("a new name");
    fixture.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    let plan = RandomLoad::new(fixture.address, "spring", 5, 16, AllowedEvents::default());
    let storm = tokio::spawn(random_load::run(plan.clone()));
    fixture
        .until("the load has begun", STORM_WITHIN, async || {
            (plan.answered.load(Ordering::Relaxed) > 200).then_some(())
        })
        .await;
    carry(fixture.data_dir(), &away);
    let record = tokio::time::timeout(STORM_WITHIN, storm)
        .await
        .expect("the server ends")
        .expect("no panic");
    let file = fixture.data_dir().join("doorbuster.sqlite3");
    expect_reason(&mut fixture, &file);
    assert!(!file.exists(), "the server must not create a new file of the store");
    carry(&away, fixture.data_dir());
    fixture.restart();
    expect_stored(&fixture, record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_server_ends_when_its_directory_is_moved_away() {
    let mut fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let spec = PurchaseSpec::new("anna", "k", "spring", 1);
    assert_eq!(fixture.buy(&spec).await.verdict(), "201");
    let (away, file) =
        (fixture.temp_dir.join("away"), fixture.data_dir().join("doorbuster.sqlite3"));
    std::fs::rename(fixture.data_dir(), &away).expect("a new name");
    expect_reason(&mut fixture, &file);
    std::fs::rename(&away, fixture.data_dir()).expect("the old place is free");
    fixture.restart();
    assert!(fixture.buy(&spec).await.is_replay());
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_lock_is_gone_ends_with_the_reason() {
    let mut fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let spec = PurchaseSpec::new("anna", "k", "spring", 1);
    assert_eq!(fixture.buy(&spec).await.verdict(), "201");
    let lock = fixture.data_dir().join("lock");
    std::fs::remove_file(&lock).expect("the lock file exists");
    expect_reason(&mut fixture, &lock);
    fixture.restart();
    assert!(fixture.buy(&spec).await.is_replay());
    fixture.audit(None).await;
}
