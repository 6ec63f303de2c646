//! Tests the groups in which SQLite's writer commits jobs. Waiting jobs are committed together,
//! groups and queues are bounded, and a job that was sent runs to its end.
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

use doorbuster_core::Verdict;
use doorbuster_store::conformance::Fixture;
use doorbuster_store::{StoreError, limits};

use crate::fixture::{Dir, open};

/// Sends a job without waiting for its answer.
fn send<F: Future>(job: F) -> std::pin::Pin<Box<F>> {
    let mut job = Box::pin(job);
    let poll = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending(), "the job must wait");
    job
}

/// Blocks the writer inside a job, until the caller drops the returned sender.
async fn hold_writer(fixture: &Fixture) -> (mpsc::SyncSender<()>, tokio::task::JoinHandle<()>) {
    let sale = fixture.store.sales().await.expect("reads").remove(0).id;
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let (there, arrived) = tokio::sync::oneshot::channel();
    let store = fixture.store.clone();
    let held = tokio::spawn(async move {
        let patch = Box::new(move |_: &mut doorbuster_store::SaleRow| {
            let _ = there.send(());
            let _ = wait.recv();
            Ok(())
        });
        store.patch_sale(&sale, None, patch).await.expect("writes");
    });
    arrived.await.expect("the writer takes the job");
    (go, held)
}

#[tokio::test]
async fn waiting_jobs_are_committed_together() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(100, 100, 1).await;
    let (go, held) = hold_writer(&fixture).await;
    fixture.commits.forget();
    let jobs: Vec<_> = (1..=20)
        .map(|n| {
            send(fixture.store.settle(vec![fixture.ticket(
                &grant,
                n,
                &format!("buyer-{n}"),
                "k",
                1,
            )]))
        })
        .collect();
    drop(go);
    held.await.expect("runs");
    for job in jobs {
        assert_eq!(job.await.expect("settles")[0].verdict, Verdict::Reserved);
    }
    let sizes: Vec<_> = fixture.commits.take().iter().map(|t| t.orders.len()).collect();
    assert_eq!(sizes, [0, 20], "all waiting jobs must be in one commit");
    fixture.store.close().await;
}

#[tokio::test]
async fn a_group_is_bounded() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(10_000, 10_000, 1).await;
    let (go, held) = hold_writer(&fixture).await;
    fixture.commits.forget();
    let batch = |b: u64| {
        let tickets = (1..=500)
            .map(|i| fixture.ticket(&grant, b * 500 + i, &format!("buyer-{b}-{i}"), "k", 1));
        send(fixture.store.settle(tickets.collect()))
    };
    let jobs: Vec<_> = (0..6).map(batch).collect();
    drop(go);
    held.await.expect("runs");
    for job in jobs {
        job.await.expect("settles");
    }
    let sizes: Vec<_> = fixture.commits.take().iter().map(|t| t.orders.len()).collect();
    assert_eq!(sizes, [0, limits::GROUP_WEIGHT_MAX, 3_000 - limits::GROUP_WEIGHT_MAX]);
    fixture.check_invariants().await;
    fixture.store.close().await;
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_keeps_accepted_jobs() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    fixture.slot(10, 10, 1).await;
    let (go, held) = hold_writer(&fixture).await;
    let waiting: Vec<_> = (0..limits::WRITE_QUEUE_MAX)
        .map(|_| send(fixture.store.take_leader_lease(1, 1_000)))
        .collect();
    let refused = fixture.store.take_leader_lease(1, 1_000).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { may_have_happened: false, .. })),
        "{refused:?}"
    );
    assert_eq!(fixture.store.sales().await.expect("readers are not blocked").len(), 1);
    drop(go);
    held.await.expect("runs");
    for job in waiting {
        assert!(job.await.expect("writes"));
    }
    fixture.store.close().await;
}

#[tokio::test]
async fn a_job_runs_even_if_its_caller_stops_waiting() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(10, 10, 1).await;
    let (go, held) = hold_writer(&fixture).await;
    drop(send(fixture.store.settle(vec![fixture.ticket(&grant, 1, "anna", "k", 1)])));
    drop(go);
    held.await.expect("runs");
    fixture.store.take_leader_lease(1, 1).await.expect("writes");
    fixture.expect_units(grant.slot.item, 0, 9, 1, 0).await;
    fixture.store.close().await;
}

#[tokio::test]
async fn closing_finishes_earlier_jobs_and_refuses_later_ones() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let grant = fixture.slot(10, 10, 1).await;
    let (go, held) = hold_writer(&fixture).await;
    let before = send(fixture.store.settle(vec![fixture.ticket(&grant, 1, "anna", "k", 1)]));
    let mut closing = pin!(fixture.store.close());
    let poll = closing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll, Poll::Pending);
    let after = fixture.store.take_leader_lease(1, 1).await;
    assert!(
        matches!(after, Err(StoreError::Unavailable { may_have_happened: false, .. })),
        "{after:?}"
    );
    drop(go);
    held.await.expect("runs");
    assert_eq!(before.await.expect("settles")[0].verdict, Verdict::Reserved);
    closing.await;
    fixture.store.close().await;
    assert!(fixture.store.health().await.is_err());
    assert!(fixture.store.sales().await.is_err());
}
