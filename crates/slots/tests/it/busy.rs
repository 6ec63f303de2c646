//! Servers that answer, and do nothing yet: one that runs somebody's long script, and one that reads its file. Nothing was done then, and they sell on.
use std::time::{Duration, Instant};

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{SlotError, Slots};

use super::faults::SLOT;
use super::server::{Server, options};

/// How long what a test waits for may take.
const WITHIN: Duration = Duration::from_secs(60);
const STOCK: u64 = 1_000;
/// Runs for a second and a half, as a careless operator's might.
const LONG_SCRIPT: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
     local from = now() while now() < from + 1500 do end return 1";

async fn open(server: &Server) -> Slots {
    let slots = Slots::redis(options(vec![server.url()], "shop")).await.expect("a server that may hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), STOCK)).await.expect("reachable");
    slots
}

/// Requests of one buyer after the other, until `done`; the tickets' numbers, and what was said instead of one.
async fn ask_until(slots: &Slots, done: impl Fn() -> bool) -> (Vec<u64>, Vec<SlotError>) {
    let (mut cut, mut failed, began) = (Vec::new(), Vec::new(), Instant::now());
    while !done() {
        assert!(began.elapsed() < WITHIN, "{} tickets, then {:?}", cut.len(), failed.last());
        match slots.ticket(SLOT, &request(&format!("b{}", cut.len() + failed.len()), "k", 1, 9)).await {
            Ok(TicketAnswer::Cut(ticket)) => cut.push(ticket.n.0),
            Err(error) => failed.push(error),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (cut, failed)
}

/// That so many were told of this, that nothing was done for them, and that the next ticket is the next one.
async fn is_none_the_worse(slots: &Slots, word: &str, cut: u64, failed: &[SlotError]) {
    let told: Vec<_> = failed.iter().filter(|error| error.reason.contains(word)).collect();
    assert!(!told.is_empty(), "{word}: {failed:?}");
    assert!(told.iter().all(|error| !error.may_have_happened), "nothing was done: {told:?}");
    let began = Instant::now();
    let next = loop {
        match slots.ticket(SLOT, &request("after", "k", 1, 9)).await {
            Ok(TicketAnswer::Cut(ticket) | TicketAnswer::Again(ticket)) => break ticket.n.0,
            other => assert!(began.elapsed() < WITHIN, "{other:?}"),
        }
    };
    let lost = failed.iter().filter(|error| error.may_have_happened).count() as u64;
    assert!((cut + 1..=cut + 1 + lost).contains(&next), "{next} after {cut} tickets and {lost} lost answers");
    let view = slots.view(SLOT).await.expect("reachable").expect("has an epoch");
    assert_eq!((view.n.0, view.available), (next, STOCK - next));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_a_long_script_refuses_and_goes_on() {
    let server = Server::start(&["--busy-reply-threshold", "20"]);
    let slots = open(&server).await;
    let running = std::thread::spawn(move || {
        let _: u64 = server.ask(&["EVAL", LONG_SCRIPT, "0"]);
        server
    });
    let (cut, failed) = ask_until(&slots, || running.is_finished()).await;
    let _server = running.join().expect("the script ends");
    is_none_the_worse(&slots, "BUSY", cut.len() as u64, &failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_reads_its_file_refuses_and_goes_on() {
    let mut server = Server::start(&["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]);
    let slots = open(&server).await;
    for n in 0..300 {
        let _: () = server.ask(&["SET", &format!("somebody-elses-{n}"), &"x".repeat(100)]);
    }
    let _: () = server.ask(&["SAVE"]);
    let seen = slots.evidence().changes;
    // Whatever is cut after this is cut by the server that comes back.
    server.kill();
    let starting = std::thread::spawn(move || {
        server.restart();
        server
    });
    let (cut, failed) = ask_until(&slots, || starting.is_finished()).await;
    let _server = starting.join().expect("it is up");
    is_none_the_worse(&slots, "LOADING", cut.len() as u64, &failed).await;
    tokio::time::timeout(WITHIN, slots.changed(seen)).await.expect("another run id");
}
