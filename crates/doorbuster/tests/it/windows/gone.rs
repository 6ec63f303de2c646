//! A store whose files are taken away while the server runs: it ends with the reason, and sells nothing into files that nobody
//! finds again; whatever was told is there when they are back.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::Wish;
use super::deal::May;
use super::disk::expect_told;
use super::rig::Rig;
use super::storm::{self, Plan};

/// A server whose store is gone ends within this, also if nobody buys.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Longer than it takes until a storm is under way, or over, on a slow machine.
const STORM_WITHIN: Duration = Duration::from_secs(300);

/// Moves the store's files to another directory.
fn carry(from: &Path, to: &Path) {
    for name in ["doorbuster.sqlite3", "doorbuster.sqlite3-wal", "doorbuster.sqlite3-shm"] {
        std::fs::rename(from.join(name), to.join(name)).expect("a server that ran left them all");
    }
}

/// It ended with the reason, which names this file.
#[track_caller]
fn expect_reason(rig: &mut Rig, file: &Path) {
    assert_eq!(rig.ended(END_WITHIN), Some(1), "{}", rig.said());
    let (said, reason) = (rig.said(), format!("{} cannot be found any more", file.display()));
    assert!(said.contains(&format!("the store failed, so the server ended: {reason}")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_moved_away_in_a_storm_ends_the_program_with_the_reason() {
    let mut rig = Rig::start();
    let away = rig.scratch.join("away");
    std::fs::create_dir(&away).expect("a fresh name");
    rig.open_sale("spring", &[("phone", 1_000_000, 6, 900)]).await;
    let plan = Plan::new(rig.address, "spring", 5, 16, May::default());
    let storm = tokio::spawn(storm::run(plan.clone()));
    rig.until("a storm", STORM_WITHIN, async || {
        (plan.answered.load(Ordering::Relaxed) > 200).then_some(())
    })
    .await;
    carry(rig.data_dir(), &away);
    let record = tokio::time::timeout(STORM_WITHIN, storm)
        .await
        .expect("the server ends")
        .expect("no panic");
    let file = rig.data_dir().join("doorbuster.sqlite3");
    expect_reason(&mut rig, &file);
    assert!(!file.exists(), "nothing was begun in the place of what is gone");
    carry(&away, rig.data_dir());
    rig.restart();
    expect_told(&rig, record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_at_rest_ends_as_well_when_its_directory_is_moved_away() {
    let mut rig = Rig::start();
    rig.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let told = Wish::new("anna", "k", "spring", 1);
    assert_eq!(rig.buy(&told).await.verdict(), "201");
    let (away, file) = (rig.scratch.join("away"), rig.data_dir().join("doorbuster.sqlite3"));
    std::fs::rename(rig.data_dir(), &away).expect("a fresh name");
    expect_reason(&mut rig, &file);
    std::fs::rename(&away, rig.data_dir()).expect("nothing is there");
    rig.restart();
    assert!(rig.buy(&told).await.is_replay());
    rig.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_lock_is_gone_ends_with_the_reason() {
    let mut rig = Rig::start();
    rig.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let told = Wish::new("anna", "k", "spring", 1);
    assert_eq!(rig.buy(&told).await.verdict(), "201");
    let lock = rig.data_dir().join("lock");
    std::fs::remove_file(&lock).expect("a server that runs holds it");
    expect_reason(&mut rig, &lock);
    rig.restart();
    assert!(rig.buy(&told).await.is_replay());
    rig.audit(None).await;
}
