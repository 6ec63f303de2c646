//! Tests that tickets move to another node at once when a settler stops, is lost, or hands a queue
//! over.
use std::time::Duration;

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId, ItemId, NodeId, SlotKey};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{DequeuedTicket, RedisOptions, Slots};

use super::server::{Server, options};
use super::watch::Stopwatch;

const SLOT: SlotKey = SlotKey { item: ItemId(7), index: 2 };
const TICKETS: usize = 20;
/// If a live settler does not acknowledge a ticket for this long, another settler gets the ticket.
const DEAD_AFTER: Duration = Duration::from_secs(3);

async fn node(server: &Server, node: u32) -> Slots {
    let options = RedisOptions { node: NodeId(node), ..options(vec![server.url()], "shop") };
    Slots::redis(options).await.expect("the server can hold slots")
}

async fn reading_node(server: &Server, number: u32) -> Slots {
    let slots = node(server, number).await;
    slots.init(SLOT, terms(GrantId(1), Epoch(1), 1_000)).await.expect("reachable");
    slots.serve(&[SLOT]).expect("one slot");
    slots
}

async fn issue(slots: &Slots, from: usize) {
    for n in from..from + TICKETS {
        let request = request(&format!("b{n}"), "k", 1, 9);
        let answer = slots.ticket(SLOT, &request).await.expect("reachable");
        assert!(matches!(answer, TicketAnswer::Issued(_)), "{answer:?}");
    }
}

/// Takes tickets. Returns their positions in the queue, sorted.
async fn take(slots: &Slots, many: usize) -> Vec<u64> {
    let mut taken: Vec<DequeuedTicket> = Vec::new();
    while taken.len() < many {
        let more = tokio::time::timeout(Duration::from_secs(10), slots.take(TICKETS)).await;
        taken.extend(more.expect("the tickets are delivered").expect("reachable"));
    }
    let mut positions: Vec<u64> = taken.iter().map(|taken| taken.delivery.at).collect();
    positions.sort_unstable();
    positions
}

#[tokio::test]
async fn tickets_that_a_stopping_settler_returns_are_delivered_to_another_at_once() {
    let server = Server::start(&[]);
    let first = reading_node(&server, 1).await;
    let before = Stopwatch::start();
    issue(&first, 0).await;
    let read = take(&first, TICKETS).await;
    first.release_tickets().await.expect("reachable");
    let other = node(&server, 2).await;
    other.serve(&[SLOT]).expect("one slot");
    assert_eq!(take(&other, TICKETS).await, read);
    assert!(before.elapsed() < DEAD_AFTER, "{:?}", before.elapsed());
    drop(first);
}

#[tokio::test]
async fn tickets_of_a_lost_node_are_delivered_to_the_next_reader_at_once() {
    let server = Server::start(&[]);
    let (lost, live) = (reading_node(&server, 1).await, reading_node(&server, 2).await);
    let before = Stopwatch::start();
    lost.serve(&[SLOT]).expect("one slot");
    live.serve(&[]).expect("no slot");
    issue(&live, 0).await;
    let read = take(&lost, TICKETS).await;
    drop(lost);
    let next = node(&server, 3).await;
    next.set_live_nodes(&[NodeId(2), NodeId(3)]);
    next.serve(&[SLOT]).expect("one slot");
    assert_eq!(take(&next, TICKETS).await, read);
    assert!(before.elapsed() < DEAD_AFTER, "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_new_reader_leaves_a_live_node_its_tickets() {
    let server = Server::start(&[]);
    let first = reading_node(&server, 1).await;
    issue(&first, 0).await;
    take(&first, TICKETS).await;
    let next = node(&server, 2).await;
    next.set_live_nodes(&[NodeId(1), NodeId(2)]);
    next.serve(&[SLOT]).expect("one slot");
    first.serve(&[]).expect("no slot");
    issue(&next, TICKETS).await;
    let (mut at_next, mut at_first) = (0, 0);
    while at_next + at_first < TICKETS {
        tokio::select! {
            taken = next.take(TICKETS) => at_next += taken.expect("reachable").len(),
            taken = first.take(TICKETS) => at_first += taken.expect("reachable").len(),
        }
    }
    assert_eq!(
        at_next + at_first,
        TICKETS,
        "each ticket must be delivered to one of the two nodes"
    );
}

/// In the middle of a read, a reader's queue goes to another node. The tickets that the read
/// returns must still be delivered.
#[tokio::test]
async fn no_ticket_waits_when_a_queue_is_handed_over_under_load() {
    let server = Server::start(&[]);
    let (first, second) = (reading_node(&server, 1).await, node(&server, 2).await);
    for slots in [&first, &second] {
        slots.set_live_nodes(&[NodeId(1), NodeId(2)]);
    }
    let before = Stopwatch::start();
    for turn in 0..10 {
        issue(&first, turn * TICKETS).await;
        let (reads, rests) = if turn % 2 == 0 { (&second, &first) } else { (&first, &second) };
        reads.serve(&[SLOT]).expect("one slot");
        rests.serve(&[]).expect("no slot");
    }
    let mut positions = std::collections::BTreeSet::new();
    while positions.len() < 10 * TICKETS {
        let taken = tokio::select! {
            taken = first.take(TICKETS) => taken,
            taken = second.take(TICKETS) => taken,
        };
        positions.extend(taken.expect("reachable").iter().map(|taken| taken.delivery.at));
    }
    assert!(before.elapsed() < DEAD_AFTER, "{:?}", before.elapsed());
}
