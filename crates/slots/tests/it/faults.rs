//! Tests faults of slots in Redis. After a fault, the slot must refuse calls until its next epoch.
use std::time::{Duration, Instant};

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{ApplyOutcome, SlotView, TicketAnswer};
use doorbuster_core::{
    CloseCause, Counter, Epoch, FeedRow, Grant, GrantId, ItemId, NodeId, Seq, SlotKey, TicketN,
    Token, slot_loss::loss_cause,
};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{DeliveryRef, DequeuedTicket, RedisOptions, SlotError, Slots};

use super::burst::burst;
use super::server::{Server, options};
use super::watch::Stopwatch;

pub const SLOT: SlotKey = SlotKey { item: ItemId(7), index: 2 };
const GRANT: GrantId = GrantId(1 << 62);
/// Longest wait of a test.
const WITHIN: Duration = Duration::from_secs(30);

/// Opens slots whose queues no task reads, so that only the test's calls change the slots.
async fn open_unread(server: &Server) -> Slots {
    Slots::redis(options(vec![server.url()], "shop")).await.expect("the server can hold slots")
}

async fn open(server: &Server) -> Slots {
    let slots = open_unread(server).await;
    slots.serve(&[SLOT]).expect("one slot");
    slots
}

async fn ready(slots: &Slots, epoch: u64, available: u64) {
    let answer = slots.init(SLOT, terms(grant(epoch), Epoch(epoch), available)).await;
    assert_eq!(answer.expect("reachable"), ApplyOutcome::At(Seq(0)));
}

fn grant(epoch: u64) -> GrantId {
    GrantId(GRANT.0 + epoch)
}

async fn ask(slots: &Slots, buyer: &str, key: &str) -> Result<TicketAnswer, SlotError> {
    slots.ticket(SLOT, &request(buyer, key, 1, 9)).await
}

async fn issue(slots: &Slots, buyer: &str, key: &str) -> TicketN {
    let until = Instant::now() + WITHIN;
    loop {
        // The first request after a broken connection gets an error. This loop repeats the request
        // with the same key.
        match ask(slots, buyer, key).await {
            Ok(TicketAnswer::Issued(cut)) => return cut.n,
            Err(error) => assert!(Instant::now() < until, "{error}"),
            other => panic!("expected a ticket, got {other:?}"),
        }
    }
}

async fn take(slots: &Slots, wanted: usize) -> Vec<DequeuedTicket> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let more = tokio::time::timeout(WITHIN, slots.take(wanted - taken.len())).await;
        taken.extend(more.expect("tickets are waiting").expect("reachable"));
    }
    taken
}

async fn view(slots: &Slots) -> Option<SlotView> {
    let until = Instant::now() + WITHIN;
    loop {
        // The first call after a broken connection gets an error.
        match slots.view(SLOT).await {
            Ok(view) => return view,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    }
}

fn refill(epoch: u64, seq: u64, units: u64) -> FeedRow {
    FeedRow {
        grant: grant(epoch),
        seq: Seq(seq),
        ticket: None,
        buyer: None,
        key: None,
        units,
        counter: Counter::A,
        quota_delta: 0,
        cause: FeedCause::Refill,
    }
}

fn key(what: &str) -> String {
    format!("shop:{{7#2}}:{what}")
}

#[tokio::test]
async fn scripts_that_are_flushed_under_load_are_loaded_again() {
    let server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 1_500).await;
    let flushing = async {
        for _ in 0..20 {
            let _: () = server.ask(&["SCRIPT", "FLUSH"]);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let (outcome, ()) = tokio::join!(burst(&slots, &[SLOT], 2_000), flushing);
    assert_eq!(
        (outcome.issued.len(), outcome.short, outcome.failed.len()),
        (1_500, 500, 0),
        "{:?}",
        outcome.failed.first()
    );
    assert_eq!(outcome.numbers_of(SLOT), (1..=1_500).collect::<Vec<_>>());
    let view = view(&slots).await.expect("the slot has an epoch");
    assert_eq!((view.available, view.n.0, view.unacknowledged), (0, 1_500, 1_500));
}

#[tokio::test]
async fn a_slot_that_was_flushed_fails_closed_until_its_next_epoch() {
    let server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "k").await;
    take(&slots, 1).await;
    let _: () = server.ask(&["FLUSHALL"]);
    assert_eq!(ask(&slots, "b", "k").await.expect("reachable"), TicketAnswer::NoEpoch);
    assert_eq!(
        slots.apply(SLOT, Epoch(1), &[refill(1, 1, 5)]).await.expect("reachable"),
        ApplyOutcome::Foreign
    );
    assert_eq!(view(&slots).await, None);
    assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0, "the calls must not write a key");
    ready(&slots, 2, 9).await;
    assert_eq!(issue(&slots, "a", "k").await.0, 1);
    assert_eq!(take(&slots, 1).await[0].delivery.ticket.grant, grant(2), "the queue must be read");
}

#[tokio::test]
async fn a_server_restarted_from_an_old_snapshot_is_reported_and_detected() {
    let mut server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "k").await;
    let _: () = server.ask(&["SAVE"]);
    for buyer in ["b", "c"] {
        issue(&slots, buyer, "k").await;
    }
    slots.apply(SLOT, Epoch(1), &[refill(1, 1, 5)]).await.expect("reachable");
    let seen = slots.evidence();
    server.restart();
    tokio::time::timeout(WITHIN, slots.wait_for_change(seen.changes))
        .await
        .expect("the changed run id is noticed");
    assert_ne!(slots.evidence().servers[0].run_id, seen.servers[0].run_id);
    let after = view(&slots).await.expect("the slot has the old epoch");
    assert_eq!((after.n.0, after.applied.0, after.available), (1, 0, 9));
    let before = Grant {
        id: grant(1),
        slot: SLOT,
        epoch: Epoch(1),
        granted: 15,
        settled: 3,
        counted: true,
        open: true,
        acked: true,
        max_n: TicketN(3),
        resolved: 3,
        feed_len: Seq(1),
        closed: None,
    };
    assert_eq!(loss_cause(&before, Some(&after), Seq(1)), Some(CloseCause::NumberBehind));
    assert_eq!(
        issue(&slots, "d", "k").await.0,
        2,
        "the slot must issue the number 2 again (settling detects a reused number)"
    );
}

fn dump(server: &Server) -> Vec<(String, Vec<u8>)> {
    let mut keys: Vec<String> = server.ask(&["KEYS", "*"]);
    keys.sort();
    keys.into_iter().map(|key| (key.clone(), server.ask(&["DUMP", &key]))).collect()
}

#[tokio::test]
async fn a_key_of_a_wrong_type_is_refused_before_anything_is_written() {
    let server = Server::start(&[]);
    let slots = open_unread(&server).await;
    for (i, what) in ["term", "requests", "buyers", "recalls", "queue"].into_iter().enumerate() {
        let epoch = i as u64 + 1;
        ready(&slots, epoch, 10).await;
        issue(&slots, "a", "k").await;
        let _: u64 = server.ask(&["DEL", &key(what)]);
        let _: () = server.ask(&["SET", &key(what), "x"]);
        let before = dump(&server);
        assert_eq!(
            ask(&slots, "b", "k").await.expect("reachable"),
            TicketAnswer::NoEpoch,
            "{what}"
        );
        let applied = slots.apply(SLOT, Epoch(epoch), &[refill(epoch, 1, 5)]).await;
        assert_eq!(applied.expect("reachable"), ApplyOutcome::Foreign, "{what}");
        slots.stop(SLOT, true).await.expect("reachable");
        assert_eq!(view(&slots).await, None, "{what}");
        assert_eq!(dump(&server), before, "{what}");
    }
    ready(&slots, 6, 10).await;
    issue(&slots, "b", "k").await;
}

#[tokio::test]
async fn an_invalid_value_is_refused_before_anything_is_written() {
    let server = Server::start(&[]);
    let slots = open_unread(&server).await;
    let fields =
        ["epoch", "counted", "a", "b", "active", "mark", "threshold", "applied", "n", "stopped"];
    let bad = ["x", "-1", "1.5", "1e3", "9007199254740992", "", " 1", "nan", "0x10"];
    for (i, (field, bad)) in fields.into_iter().flat_map(|f| bad.map(|b| (f, b))).enumerate() {
        let epoch = i as u64 + 1;
        ready(&slots, epoch, 10).await;
        let _: u64 = server.ask(&["HSET", &key("term"), field, bad]);
        let before = dump(&server);
        let answer = ask(&slots, "b", "k").await.expect("reachable");
        assert_eq!((answer, view(&slots).await), (TicketAnswer::NoEpoch, None), "{field} {bad}");
        assert_eq!(dump(&server), before, "{field} {bad}");
    }
}

#[tokio::test]
async fn an_invalid_count_of_a_buyers_units_fails_only_that_buyer() {
    let server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "1").await;
    let hashes: Vec<Vec<u8>> = server.ask(&["HKEYS", &key("buyers")]);
    let mut connection =
        redis::Client::open(server.url()).expect("a URL").get_connection().expect("running");
    let mut plant = redis::Cmd::new();
    plant.arg("HSET").arg(key("buyers")).arg(&hashes[0]).arg("x");
    let _: u64 = plant.query(&mut connection).expect("a hash");
    let (a, b) = tokio::join!(ask(&slots, "a", "2"), ask(&slots, "b", "1"));
    assert!(a.as_ref().is_err_and(|e| !e.may_have_happened), "{a:?}");
    assert!(matches!(b, Ok(TicketAnswer::Issued(_))), "{b:?}");
    assert_eq!(view(&slots).await.expect("the slot has an epoch").available, 8);
}

#[tokio::test]
async fn tickets_of_a_dead_settler_are_delivered_to_another() {
    let server = Server::start(&[]);
    let dead = open(&server).await;
    ready(&dead, 1, 10).await;
    issue(&dead, "a", "k").await;
    issue(&dead, "b", "k").await;
    let taken = take(&dead, 2).await;
    dead.acknowledge(&[taken[0].delivery_ref()]).await.expect("reachable");
    drop(dead);
    let other = RedisOptions { node: NodeId(2), ..options(vec![server.url()], "shop") };
    let other = Slots::redis(other).await.expect("the server can hold slots");
    other.serve(&[SLOT]).expect("one slot");
    let claimed = take(&other, 1).await;
    assert_eq!(claimed[0].delivery, taken[1].delivery);
    other.acknowledge(&[claimed[0].delivery_ref()]).await.expect("reachable");
    assert_eq!(view(&other).await.expect("the slot has an epoch").unacknowledged, 0);
}

#[tokio::test]
async fn a_restarted_node_gets_the_tickets_that_it_had_taken() {
    let server = Server::start(&[]);
    let before = open(&server).await;
    ready(&before, 1, 10).await;
    issue(&before, "a", "k").await;
    let taken = take(&before, 1).await;
    drop(before);
    let started = Stopwatch::start();
    let again = take(&open(&server).await, 1).await;
    assert_eq!(again[0].delivery, taken[0].delivery);
    assert!(started.elapsed() < Duration::from_secs(2), "the node must get its tickets at once");
}

#[tokio::test]
async fn a_ticket_with_a_repeated_id_is_acknowledged_only_by_its_token() {
    let server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "k").await;
    let old = take(&slots, 1).await;
    // Now the server gets the grant again but not the ticket, like a replica that lags behind.
    let _: () = server.ask(&["FLUSHALL"]);
    ready(&slots, 1, 10).await;
    issue(&slots, "b", "k").await;
    let new = take(&slots, 1).await;
    assert_eq!(old[0].delivery.at, new[0].delivery.at);
    slots.acknowledge(&[old[0].delivery_ref()]).await.expect("reachable");
    assert_eq!(view(&slots).await.expect("the slot has an epoch").unacknowledged, 1);
    slots.acknowledge(&[new[0].delivery_ref()]).await.expect("reachable");
    assert_eq!(view(&slots).await.expect("the slot has an epoch").unacknowledged, 0);
}

#[tokio::test]
async fn an_invalid_entry_does_not_block_the_entries_behind_it() {
    let server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "k").await;
    let _: String = server.ask(&["XADD", &key("queue"), "1-2", "t", "nonsense", "r", "x"]);
    let _: u64 = server.ask(&["HSET", &key("term"), "n", "2"]);
    issue(&slots, "b", "k").await;
    let taken = take(&slots, 2).await;
    let numbers: Vec<u64> = taken.iter().map(|t| t.delivery.ticket.n.0).collect();
    assert_eq!(numbers, [1, 3]);
    let wrong = DeliveryRef { slot: SLOT, at: 1 << 40 | 2, token: Token(0) };
    slots.acknowledge(&[wrong]).await.expect("reachable");
    let queued = async || view(&slots).await.expect("the slot has an epoch").unacknowledged;
    assert_eq!(queued().await, 3);
    let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
    slots.acknowledge(&done).await.expect("reachable");
    let since = std::time::Instant::now();
    while queued().await > 0 {
        assert!(since.elapsed() < 2 * WITHIN, "the invalid entry is not dropped");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_old_message_does_not_restore_a_retired_slot() {
    let server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 3, 10).await;
    slots.retire(SLOT, None).await.expect("reachable");
    let answer = slots.init(SLOT, terms(grant(3), Epoch(3), 10)).await.expect("reachable");
    assert_eq!((answer, view(&slots).await), (ApplyOutcome::Foreign, None));
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "*"]), [key("term")]);
    assert!(server.ask::<i64>(&["PTTL", &key("term")]) > 0, "a retired slot's epoch must expire");
    ready(&slots, 4, 10).await;
    assert_eq!(server.ask::<i64>(&["PTTL", &key("term")]), -1, "a living slot must not expire");
}

#[tokio::test]
async fn a_server_without_memory_refuses_and_nothing_is_written() {
    let server = Server::start(&[]);
    let slots = open_unread(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "k").await;
    let before = dump(&server);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let answer = ask(&slots, "b", "k").await;
    assert!(
        answer.as_ref().is_err_and(|e| !e.may_have_happened && e.reason.contains("OOM")),
        "{answer:?}"
    );
    assert!(matches!(ask(&slots, "a", "k").await, Ok(TicketAnswer::Repeated(_))));
    assert_eq!(dump(&server), before);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(issue(&slots, "b", "k").await.0, 2);
}

#[tokio::test]
async fn a_call_without_an_answer_may_have_taken_effect_and_is_repeated() {
    let mut server = Server::start(&[]);
    let slots = open(&server).await;
    ready(&slots, 1, 100).await;
    // The burst makes the client open all its connections.
    assert_eq!(burst(&slots, &[SLOT], 50).await.issued.len(), 50);
    server.freeze();
    let answer = ask(&slots, "a", "k").await;
    assert!(answer.as_ref().is_err_and(|e| e.may_have_happened), "{answer:?}");
    server.thaw();
    let until = Instant::now() + WITHIN;
    let again = loop {
        match ask(&slots, "a", "k").await {
            Ok(answer) => break answer,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert!(matches!(again, TicketAnswer::Repeated(_) | TicketAnswer::Issued(_)), "{again:?}");
    assert_eq!(view(&slots).await.expect("the slot has an epoch").available, 49, "deducted twice");
}

#[tokio::test]
async fn a_server_that_is_gone_is_reported_and_found_when_it_is_back() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let slots = open(&server).await;
    ready(&slots, 1, 10).await;
    issue(&slots, "a", "k").await;
    server.kill();
    let until = Instant::now() + WITHIN;
    // A call on a broken connection may have taken effect, so the client does not send the call
    // again.
    while ask(&slots, "b", "k").await.expect_err("the server is down").may_have_happened {
        assert!(Instant::now() < until, "no call shows that the server is down");
    }
    server.restart();
    assert_eq!(view(&slots).await.expect("the server kept its data").n.0, 1);
    let until = Instant::now() + WITHIN;
    while ask(&slots, "b", "k").await.is_err() {
        assert!(Instant::now() < until, "the restarted server is not found");
    }
    assert_eq!(take(&slots, 2).await.len(), 2, "the reader must reconnect too");
}
