//! A settler that stops cleanly returns its tickets, so other settlers do not wait for a timeout.
use std::time::Duration;

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId, ItemId, NodeId, SlotKey};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{RedisOptions, Slots};

use super::server::{Server, options};
use super::watch::Watch;

const SLOT: SlotKey = SlotKey { item: ItemId(7), index: 2 };
const TICKETS: usize = 20;
/// When a silent settler counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(3);

#[tokio::test]
async fn tickets_that_a_stopping_settler_returns_are_delivered_to_another_at_once() {
    let server = Server::start(&[]);
    let first = Slots::redis(options(vec![server.url()], "shop"))
        .await
        .expect("a server that may hold slots");
    first.init(SLOT, terms(GrantId(1), Epoch(1), 1_000)).await.expect("reachable");
    first.serve(&[SLOT]).expect("one slot");
    let before = Watch::start();
    for n in 0..TICKETS {
        let answer =
            first.ticket(SLOT, &request(&format!("b{n}"), "k", 1, 9)).await.expect("reachable");
        assert!(matches!(answer, TicketAnswer::Issued(_)), "{answer:?}");
    }
    let mut read = Vec::new();
    while read.len() < TICKETS {
        read.extend(first.take(TICKETS).await.expect("reachable"));
    }
    first.release_tickets().await.expect("reachable");
    let other = RedisOptions { node: NodeId(2), ..options(vec![server.url()], "shop") };
    let other = Slots::redis(other).await.expect("a server that may hold slots");
    other.serve(&[SLOT]).expect("one slot");
    let mut received = Vec::new();
    while received.len() < TICKETS {
        let more = tokio::time::timeout(Duration::from_secs(10), other.take(TICKETS)).await;
        received.extend(more.expect("the tickets are delivered").expect("reachable"));
    }
    let numbers = |taken: &[doorbuster_slots::Taken]| {
        let mut numbers: Vec<u64> = taken.iter().map(|taken| taken.delivery.at).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(&received), numbers(&read));
    assert!(before.elapsed() < DEAD_AFTER, "{:?}", before.elapsed());
    drop(first);
}
