//! Tests that answers to requests wait until a replica has the tickets, but not longer than a
//! bound.
use std::time::{Duration, Instant};

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{RedisOptions, Slots};

use super::faults::SLOT;
use super::server::{Server, options};
use super::watch::Stopwatch;

/// The longest wait for replicas, as docs/deploying.md says.
const BOUND: Duration = Duration::from_millis(50);
/// The longest wait of a test.
const WITHIN: Duration = Duration::from_secs(60);

async fn open(primary: &Server, wait_replicas: u32, prefix: &str) -> Slots {
    let options = RedisOptions { wait_replicas, ..options(vec![primary.url()], prefix) };
    let slots = Slots::redis(options).await.expect("the server can hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), 100)).await.expect("reachable");
    slots
}

async fn issue(slots: &Slots, buyer: &str) {
    let answer = slots.ticket(SLOT, &request(buyer, "k", 1, 9)).await;
    assert!(matches!(answer, Ok(TicketAnswer::Issued(_))), "{answer:?}");
}

fn waits(server: &Server) -> u64 {
    let info: String = server.ask(&["INFO", "commandstats"]);
    let of_wait = info.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls="));
    of_wait.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn tickets_are_published_once_replicas_confirm_or_after_a_bounded_wait() {
    let primary = Server::start_on_port(&["--repl-diskless-sync-delay", "0"]);
    let mut replica =
        Server::start_on_port(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let until = Instant::now() + WITHIN;
    while !primary.ask::<String>(&["INFO", "replication"]).contains("state=online") {
        assert!(Instant::now() < until, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let without = open(&primary, 0, "without").await;
    issue(&without, "a").await;
    assert_eq!(waits(&primary), 0, "a call without the setting must not wait");

    let slots = open(&primary, 1, "shop").await;
    issue(&slots, "a").await;
    assert_eq!(waits(&primary), 1);
    // Each concurrent request gets its own answer, and not the answer of the `WAIT` command.
    let all = (0..50).map(|i| {
        let slots = slots.clone();
        tokio::spawn(async move { issue(&slots, &format!("b{i}")).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.expect("no panic");
    }
    assert!(waits(&primary) < 51, "the server must wait once for each batch, not for each request");

    // The primary waits for a silent replica until the time `BOUND` has passed.
    replica.freeze();
    let began = Instant::now();
    issue(&slots, "c").await;
    assert!(began.elapsed() >= BOUND, "{:?}", began.elapsed());
    // Once the replica is disconnected, calls do not wait for it.
    replica.kill();
    let watch = Stopwatch::start();
    issue(&slots, "d").await;
    assert!(watch.elapsed() < BOUND * 10, "{:?}", watch.elapsed());
    let view = slots.view(SLOT).await.expect("reachable").expect("the slot has an epoch");
    assert_eq!((view.n.0, view.available), (53, 47));
}
