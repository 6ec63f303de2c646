//! The end of the program: every request that was accepted is answered, nobody who lingers holds it up, and the directory
//! is nobody's but one process's.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::client::{Wire, Wish, request, signed_in};
use super::deal::May;
use super::decide::{queue_up, stocked};
use super::faults::Faults;
use super::requests::available;
use super::rig::{Rig, adjustment};
use super::storm::{self, Plan};
use crate::house::serve;
use crate::watch::Watch;

/// The program ends within this, once asked.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Answers that make a storm, and how long they may take to come.
const STORM_MIN: usize = 10;
const STORM_WITHIN: Duration = Duration::from_secs(60);
/// How long the disk holds a commit up if nobody lets it go, and how long each sync takes when it is well again, or nearly.
const HELD_UP: Duration = Duration::from_secs(60);
const SYNC: Duration = Duration::from_millis(200);
/// Buyers who have a place in the queue when the server is asked to stop.
const QUEUED: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_in_the_storm_answers_whatever_it_accepted() {
    let (mut rig, faults) = Faults::rig(&[]);
    for (round, disk_ms) in [0, 40, 150].into_iter().enumerate() {
        let sale = format!("s{round}");
        rig.open_sale(&sale, &[("phone", 300, 6, 900)]).await;
        faults.slow_disk(Duration::from_millis(disk_ms));
        let plan = Plan::new(rig.address, &sale, round as u64, 16, May::default());
        let storm = tokio::spawn(storm::run(plan.clone()));
        let begun = Watch::start();
        while begun.elapsed() < Duration::from_millis(500)
            || plan.answered.load(Ordering::Relaxed) < STORM_MIN
        {
            assert!(begun.elapsed() < STORM_WITHIN, "there is no storm");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.ask_to_stop();
        assert_eq!(rig.ended(END_WITHIN), Some(0), "{}", rig.said());
        let record = storm.await.expect("nothing contradicted itself");
        faults.slow_disk(Duration::ZERO);
        rig.restart();
        rig.audit(None).await;
        let mut wire = rig.wire().await;
        for mut deal in record.deals {
            let had_answer = !deal.open;
            let known = deal.order.is_some();
            let again = deal.buy(&mut wire, "").await.expect("an answer");
            match (known, had_answer) {
                (true, _) => assert!(again.is_replay(), "{again}"),
                // Sent, and the connection closed without a word: then it was not accepted.
                (false, false) => assert!(!again.is_replay(), "accepted, not answered: {again}"),
                (false, true) => {}
            }
        }
    }
}

/// Asks for an event stream by WebSocket; the connection once it is one.
async fn socket(rig: &Rig, buyer: &str) -> Wire {
    let lines = format!(
        "{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        signed_in(buyer)
    );
    let mut wire = rig.wire().await;
    wire.send(&request("GET", "/v1/ws?sale=spring", &lines, None)).await.expect("it is sent");
    assert_eq!(wire.head().await.expect("an answer").status, 101);
    wire
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lingers_does_not_hold_up_the_end() {
    let mut rig = Rig::start();
    rig.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let mut idle = Vec::new();
    let (mut sockets, mut streams, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..20 {
        let mut wire = rig.wire().await;
        let sales = wire.ask(&request("GET", "/v1/sales", "", None)).await.expect("an answer");
        assert_eq!(sales.status, 200);
        idle.push(wire);
        sockets.push(socket(&rig, &format!("b{number}")).await);
        let mut stream = rig.wire().await;
        let follow =
            request("GET", "/v1/events?sale=spring", &signed_in(&format!("b{number}")), None);
        stream.send(&follow).await.expect("it is sent");
        assert_eq!(stream.head().await.expect("a stream").status, 200);
        streams.push(stream);
        // Nothing said; half a head; half a body; answers that nobody reads.
        let wish = Wish::new(&format!("b{number}"), "k", "spring", 1).bytes();
        let large = request("GET", "/openapi.json", "", None).repeat(40);
        for said in [&b""[..], b"GET /v1/sales HTTP/1.1\r\nHo", &wish[..wish.len() - 5], &large] {
            let mut wire = rig.wire().await;
            wire.send(said).await.expect("it is sent");
            stuck.push(wire);
        }
    }
    let begun = Watch::start();
    rig.ask_to_stop();
    for wire in idle.iter_mut().chain(&mut streams) {
        wire.ends(END_WITHIN).await.expect("it is closed");
    }
    for wire in &mut sockets {
        wire.ends(END_WITHIN).await.expect("it is closed");
        // Unmasked, final, close, 1001: going away.
        let farewell =
            wire.unread().windows(4).any(|four| four[0] == 0x88 && four[2..] == [0x03, 0xe9]);
        assert!(farewell, "{:?}", String::from_utf8_lossy(wire.unread()));
    }
    assert_eq!(rig.ended(END_WITHIN.saturating_sub(begun.elapsed())), Some(0), "{}", rig.said());
    assert!(Wire::connect(rig.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_does_not_keep_the_program_from_ending() {
    let (mut rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let told = Wish::new("anna", "k", "spring", 1);
    assert_eq!(rig.buy(&told).await.verdict(), "201");
    faults.slow_disk(Duration::from_secs(60));
    let mut waiting = rig.wire().await;
    let wish = Wish::new("bert", "k", "spring", 1);
    waiting.send(&wish.with("Prefer: wait=30\r\n")).await.expect("it is sent");
    let mut changing = rig.wire().await;
    changing.send(&adjustment("spring", "a", -5)).await.expect("it is sent");
    let cut = async || (available(&rig, "spring").await == 8).then_some(());
    rig.until("the ticket is cut", END_WITHIN, cut).await;
    // What changes the stock says nothing of having come, and waits behind it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.ask_to_stop();
    // Not in good order, and it says so; but it ends.
    assert_eq!(rig.ended(END_WITHIN), Some(1), "{}", rig.said());
    assert!(rig.said().contains("did not settle"), "{}", rig.said());
    faults.slow_disk(Duration::ZERO);
    rig.restart();
    assert!(rig.buy(&told).await.is_replay());
    assert!(matches!(&*rig.buy(&wish).await.verdict(), "200" | "201"));
    rig.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_asked_to_stop_settles_whoever_has_a_place() {
    let (mut rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", QUEUED, 1, 900)]).await;
    stocked(&rig, QUEUED).await;
    faults.slow_disk(HELD_UP);
    let wishes =
        (0..QUEUED).map(|number| Wish::new(&format!("b{number}"), "k", "spring", 1)).collect();
    let places = queue_up(&rig, wishes).await;
    assert_eq!(rig.stock("spring").await.held, 0, "nobody has an order yet");
    rig.ask_to_stop();
    let refused = async || Wire::connect(rig.address).await.is_err().then_some(());
    rig.until("nobody new is let in", END_WITHIN, refused).await;
    // Nobody waits for an answer any more: those who have a place are all that it is to settle.
    faults.slow_disk(SYNC);
    assert_eq!(rig.ended(END_WITHIN), Some(0), "{}", rig.said());
    faults.slow_disk(Duration::ZERO);
    rig.restart();
    for place in &places {
        let told = rig.ask(&place.look()).await;
        assert_eq!((told.status, &told.json()["state"]), (200, &json!("reserved")), "{told}");
        let again = rig.buy(&place.wish).await;
        assert!(again.is_replay() && again.id() == place.id, "{again}");
    }
    assert_eq!(rig.stock("spring").await.held, places.len() as u64);
    rig.audit(None).await;
}

/// A second process on the same directory: its exit code and what it said.
fn second(rig: &Rig) -> (Option<i32>, String) {
    let mut child = serve(&rig.scratch, rig.data_dir()).spawn().expect("the program starts");
    let begun = Watch::start();
    while child.try_wait().expect("it is ours").is_none() {
        if begun.elapsed() > END_WITHIN {
            let _ = child.kill();
            panic!("it serves beside the first");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("it has ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused_while_the_first_lives_and_no_longer() {
    let mut rig = Rig::start();
    rig.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let (code, said) = second(&rig);
    assert_eq!(code, Some(1), "{said}");
    let told = said.lines().last().expect("a reason");
    assert!(
        told.starts_with("doorbuster: ") && told.contains("in use by another doorbuster process"),
        "{said}"
    );
    assert_eq!(
        rig.buy(&Wish::new("anna", "k", "spring", 1)).await.verdict(),
        "201",
        "the first goes on"
    );
    rig.audit(None).await;
    // A lock that outlives its process would need an operator at night.
    rig.kill();
    rig.restart();
    assert!(rig.buy(&Wish::new("anna", "k", "spring", 1)).await.is_replay());
}
