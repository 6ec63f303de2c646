//! Tests the copies of commits. A base copy, together with the segments that follow it, must
//! contain the whole store.
use std::fs::File;
use std::path::Path;

use doorbuster_core::{Grant, Millis, NodeId, Verdict};
use doorbuster_store::conformance::{Clock, CommitLog, Fixture};
use doorbuster_store::{
    CommitBuffer, Segment, Store, TakenPages, copy_base, inspect, restore_copy,
};

use crate::fixture::{Dir, open, options};

/// The number of tickets. Their commits need several checkpoints and restarts of the write-ahead
/// log.
const TICKETS: u64 = 24_000;
const AT_ONCE: usize = 40;

fn open_copied(dir: &Path) -> (Fixture, CommitBuffer) {
    let (clock, commits) = (Clock::new(), CommitLog::default());
    let copy = CommitBuffer::default();
    let options = options(dir, &clock, &commits).0;
    let store = Store::open_copied_sqlite(options, copy.clone()).expect("opens");
    (Fixture { store, clock, commits }, copy)
}

fn take(copy: &CommitBuffer) -> Option<Segment> {
    match copy.take() {
        TakenPages::Segment(segment) => Some(segment),
        TakenPages::Nothing => None,
        TakenPages::Broken => panic!("the copy is broken"),
    }
}

#[tokio::test]
async fn a_commit_is_copied_before_its_caller_gets_the_answer() {
    let dir = Dir::new();
    let (fixture, copy) = open_copied(dir.path());
    for about in 0..5_000 {
        let renewed = fixture.store.renew_node_lease(NodeId(1), 1_000, &about.to_string()).await;
        renewed.expect("writes");
        let waiting_since = copy.progress().waiting_since;
        assert!(waiting_since.is_some(), "the progress does not show commit number {about}");
        assert!(take(&copy).is_some(), "the copies lack commit number {about}");
        assert_eq!(copy.progress().waiting_since, waiting_since, "the commit is not written yet");
        copy.set_progress(|progress| progress.waiting_since = None);
    }
}

#[tokio::test]
async fn a_base_and_the_later_segments_are_the_store() {
    let (dir, elsewhere, restored) = (Dir::new(), Dir::new(), Dir::new());
    let (fixture, copy) = open_copied(dir.path());
    let grant = fixture.slot(TICKETS, TICKETS, 1).await;
    let tickets: Vec<_> =
        (1..=TICKETS).map(|n| fixture.ticket(&grant, n, &format!("b-{n}"), "k", 1)).collect();
    let (base, mut segments) = (elsewhere.path().join("base"), Vec::new());
    let mut covered = None;
    let wal = dir.path().join("doorbuster.sqlite3-wal");
    for (turn, batch) in tickets.chunks(AT_ONCE).enumerate() {
        let settled = fixture.store.settle(batch.to_vec());
        if turn == 100 {
            // Copies the base while the store commits.
            let (from, to, before) = (dir.path().to_owned(), base.clone(), copy.newest());
            let copied = tokio::task::spawn_blocking(move || copy_base(&from, &to));
            let (copied, settled) = tokio::join!(copied, settled);
            copied.expect("runs").expect("copies");
            assert!(settled.expect("settles").iter().all(|r| r.verdict == Verdict::Reserved));
            covered = Some((before, copy.newest_visible()));
        } else {
            settled.await.expect("settles");
        }
        // Several batches are settled before the next segment is taken. So a segment can contain
        // several commits.
        if turn % 7 == 0 {
            segments.extend(take(&copy));
        }
    }
    let log_pages = std::fs::metadata(&wal).expect("it exists").len() / 4_096;
    let orders = inspect::dump(&fixture.store).await.expect("reads").orders;
    segments.extend(take(&copy));
    fixture.store.close().await;
    let pages: usize = segments.iter().map(|segment| segment.pages.len()).sum();
    assert!(
        pages as u64 > log_pages,
        "the log must restart: {pages} pages were copied, and the log has {log_pages}"
    );

    let (before, complete) = covered.expect("a base");
    let file = File::options().write(true).open(&base).expect("the base");
    let mut newest = before;
    for segment in segments.iter().filter(|segment| segment.last > before) {
        assert!(segment.first <= newest + 1, "the segments must not skip a commit");
        let again = Segment::decode(&segment.encode()).expect("the same");
        again.apply(&file).expect("the pages are written");
        newest = segment.last;
    }
    assert!(newest >= complete && newest == copy.newest());
    drop(file);
    restore_copy(&base, (Millis(1), Vec::new()), restored.path(), Millis(2)).expect("restores");
    let rebuilt = open(restored.path());
    rebuilt.check_invariants().await;
    assert_eq!(rebuilt.counts(grant.slot.item).await.held, TICKETS);
    assert_eq!(inspect::dump(&rebuilt.store).await.expect("reads").orders, orders);
    rebuilt.store.close().await;
}

/// Copies the open store in `dir` to the new file `to`, and returns the store's id.
async fn copy_with_id(fixture: &Fixture, dir: &Path, to: &Path) -> String {
    fixture.store.bind_key().await.expect("the key fits");
    copy_base(dir, to).expect("copies").expect("the store has an id")
}

#[tokio::test]
async fn only_a_restored_store_has_the_id_of_an_earlier_store() {
    let (dir, elsewhere, restored, other) = (Dir::new(), Dir::new(), Dir::new(), Dir::new());
    let (base, again) = (elsewhere.path().join("base"), elsewhere.path().join("again"));
    let first = open(dir.path());
    let id = copy_with_id(&first, dir.path(), &base).await;
    first.store.close().await;
    restore_copy(&base, (Millis(1), Vec::new()), restored.path(), Millis(2)).expect("restores");
    let rebuilt = open(restored.path());
    assert_eq!(copy_with_id(&rebuilt, restored.path(), &again).await, id);
    rebuilt.store.close().await;
    // A new store gets an id of its own, even with the same `id_key` as the first store.
    let new = open(other.path());
    let new_id = copy_with_id(&new, other.path(), &elsewhere.path().join("new")).await;
    assert_ne!(new_id, id);
    new.store.close().await;
}

/// Reserves a unit, and waits until the writer has copied the commit.
async fn reserve(fixture: &Fixture, copy: &CommitBuffer, grant: &Grant, n: u64, buyer: &str) {
    let before = copy.newest();
    fixture.reserve(grant, n, buyer, 1).await;
    while copy.newest() == before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn after_a_broken_copy_the_store_continues_and_a_new_copy_can_begin() {
    let dir = Dir::new();
    let (fixture, copy) = open_copied(dir.path());
    let grant = fixture.slot(20, 20, 1).await;
    assert!(take(&copy).is_some());
    copy.break_off();
    reserve(&fixture, &copy, &grant, 1, "anna").await;
    assert_eq!(copy.take(), TakenPages::Broken);
    reserve(&fixture, &copy, &grant, 2, "bob").await;
    copy.restart();
    assert_eq!(copy.take(), TakenPages::Nothing);
    let before = copy.newest();
    reserve(&fixture, &copy, &grant, 3, "carl").await;
    let segment = take(&copy).expect("a commit");
    assert_eq!(segment.first, before + 1);
    fixture.store.close().await;
}
