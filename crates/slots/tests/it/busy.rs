//! Tests servers that refuse commands for a while, because they run a long script or load their
//! data file. A refused command must change nothing. A node that starts must try again for some
//! seconds.
use std::time::{Duration, Instant};

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{SlotError, Slots};

use super::cluster;
use super::faults::SLOT;
use super::server::{Server, options};
use super::watch::Stopwatch;

/// The longest wait of a test.
const WITHIN: Duration = Duration::from_secs(60);
const STOCK: u64 = 1_000;
/// A script that runs for `ARGV[1]` milliseconds, like a script that an operator starts by mistake.
const LONG_SCRIPT: &str = "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
     local from = now() while now() < from + ARGV[1] do end return 1";
/// With these settings, a server loads its data file slowly, and answers BUSY when a script has run
/// for 20 milliseconds.
const SLOW: [&str; 6] = [
    "--busy-reply-threshold",
    "20",
    "--key-load-delay",
    "5000",
    "--loading-process-events-interval-bytes",
    "1024",
];

async fn open(server: &Server) -> Slots {
    let slots =
        Slots::redis(options(vec![server.url()], "shop")).await.expect("the server can hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), STOCK)).await.expect("reachable");
    slots
}

/// Saves so many keys that the server takes about 1.5 seconds to load its file ([`SLOW`]).
fn fill(server: &Server) {
    for n in 0..300 {
        let _: () = server.ask(&["SET", &format!("foreign-{n}"), &"x".repeat(100)]);
    }
    let _: () = server.ask(&["SAVE"]);
}

/// Waits until a server answers with this error.
fn wait_for(url: &str, word: &str) {
    let client = redis::Client::open(url).expect("a URL");
    let says = || {
        let mut connection = client.get_connection().ok()?;
        redis::cmd("PING").query::<String>(&mut connection).err()?.code().map(str::to_owned)
    };
    let began = Instant::now();
    while says().as_deref() != Some(word) {
        assert!(began.elapsed() < WITHIN, "{url} never answers {word}");
    }
}

/// Starts a script that runs for `millis` milliseconds. Returns once the server refuses other
/// callers.
fn keep_busy(url: String, millis: u64) -> std::thread::JoinHandle<()> {
    let at = url.clone();
    let running = std::thread::spawn(move || {
        let mut connection =
            redis::Client::open(at).expect("a URL").get_connection().expect("reachable");
        let script = redis::cmd("EVAL").arg(LONG_SCRIPT).arg(0).arg(millis).exec(&mut connection);
        // Errors are ignored, because the server may stop before its script ends.
        drop(script);
    });
    wait_for(&url, "BUSY");
    running
}

/// Sends requests of different buyers, one after another, until `done` returns true. Returns the
/// tickets' numbers and the errors.
async fn ask_until(slots: &Slots, done: impl Fn() -> bool) -> (Vec<u64>, Vec<SlotError>) {
    let (mut issued, mut failed, began) = (Vec::new(), Vec::new(), Instant::now());
    while !done() {
        assert!(
            began.elapsed() < WITHIN,
            "timed out after {} tickets, with the last error {:?}",
            issued.len(),
            failed.last()
        );
        match slots
            .ticket(SLOT, &request(&format!("b{}", issued.len() + failed.len()), "k", 1, 9))
            .await
        {
            Ok(TicketAnswer::Issued(ticket)) => issued.push(ticket.n.0),
            Err(error) => failed.push(error),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (issued, failed)
}

/// Checks that calls failed with the error `word` and had no effect: the next ticket must have the
/// next number. Each failed call without an answer may have issued a ticket, so each may raise this
/// number by one.
async fn check_failed_without_effect(slots: &Slots, word: &str, issued: u64, failed: &[SlotError]) {
    let refused: Vec<_> = failed.iter().filter(|error| error.reason.contains(word)).collect();
    assert!(!refused.is_empty(), "{word}: {failed:?}");
    assert!(
        refused.iter().all(|error| !error.may_have_happened),
        "a refused call must have no effect: {refused:?}"
    );
    let began = Instant::now();
    let next = loop {
        match slots.ticket(SLOT, &request("after", "k", 1, 9)).await {
            Ok(TicketAnswer::Issued(ticket) | TicketAnswer::Repeated(ticket)) => break ticket.n.0,
            other => assert!(began.elapsed() < WITHIN, "{other:?}"),
        }
    };
    let lost = failed.iter().filter(|error| error.may_have_happened).count() as u64;
    assert!(
        (issued + 1..=issued + 1 + lost).contains(&next),
        "the ticket after {issued} tickets and {lost} lost answers has the number {next}"
    );
    let view = slots.view(SLOT).await.expect("reachable").expect("the slot has an epoch");
    assert_eq!((view.n.0, view.available), (next, STOCK - next));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_runs_a_long_script_refuses_without_effect_and_recovers() {
    let server = Server::start(&SLOW);
    let slots = open(&server).await;
    let running = keep_busy(server.url(), 1_500);
    let (issued, failed) = ask_until(&slots, || running.is_finished()).await;
    running.join().expect("the script ends");
    check_failed_without_effect(&slots, "BUSY", issued.len() as u64, &failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_file_refuses_without_effect_and_recovers() {
    let mut server = Server::start(&SLOW);
    let slots = open(&server).await;
    fill(&server);
    let seen = slots.evidence().changes;
    // The server is killed before the first request, so only the restarted server issues tickets.
    server.kill();
    let starting = std::thread::spawn(move || {
        server.restart();
        server
    });
    let (issued, failed) = ask_until(&slots, || starting.is_finished()).await;
    let _server = starting.join().expect("the server is up");
    check_failed_without_effect(&slots, "LOADING", issued.len() as u64, &failed).await;
    tokio::time::timeout(WITHIN, slots.wait_for_change(seen))
        .await
        .expect("the changed run id is noticed");
}

async fn start(urls: Vec<String>) -> Result<Slots, SlotError> {
    Slots::redis(options(urls, "shop")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_server_that_runs_a_long_script() {
    let (alone, servers) = (Server::start(&SLOW), cluster::start());
    let _: () = servers[1].ask(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    let named: Vec<String> = servers.iter().map(Server::url).collect();
    // - Cases 1 and 2: the busy server is alone. In case 2, its URL has a database number.
    // - Cases 3 and 4: the busy server belongs to a cluster. In case 4, `urls` lacks its URL.
    let database = format!("{}?db=1", alone.url());
    for (urls, busy, all) in [
        (vec![alone.url()], &alone, 1),
        (vec![database], &alone, 1),
        (named.clone(), &servers[1], 3),
        (named[..1].to_vec(), &servers[1], 3),
    ] {
        let running = keep_busy(busy.url(), 1_500);
        let slots = start(urls).await.expect("the start waits for the server");
        assert_eq!(slots.evidence().servers.len(), all);
        running.join().expect("the script ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_server_that_loads_its_file() {
    let mut server = Server::start(&SLOW);
    fill(&server);
    let url = server.url();
    server.kill();
    let starting = std::thread::spawn(move || {
        server.restart();
        server
    });
    wait_for(&url, "LOADING");
    start(vec![url]).await.expect("the start waits for the server");
    drop(starting.join().expect("the server is up"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_busy_counts_as_unreachable() {
    let servers = cluster::start();
    let _: () = servers[0].ask(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    let named: Vec<String> = servers.iter().map(Server::url).collect();
    let running = keep_busy(named[0].clone(), 600_000);
    let (all, alone) = tokio::join!(start(named.clone()), start(named[..1].to_vec()));
    assert_eq!(all.expect("the others answer").evidence().servers.len(), 2);
    let reason = alone.expect_err("the server is busy").reason;
    assert!(reason.contains("BUSY") && reason.contains(&servers[0].port().to_string()), "{reason}");
    drop(servers);
    running.join().expect("the script ends with its server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_evidence_names_a_server_that_hangs_and_a_server_that_became_a_replica() {
    let mut server = Server::start(&[]);
    let slots = open(&server).await;
    let becomes = async |is_up: bool, is_replica: bool| {
        let timer = Stopwatch::start();
        loop {
            let found = slots.evidence().servers.remove(0);
            if (found.is_up, found.is_replica) == (is_up, is_replica) {
                return;
            }
            assert!(timer.elapsed() < WITHIN, "{found:?} has not changed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    becomes(true, false).await;
    // The frozen server answers no calls, but the kernel still accepts connections for it.
    server.freeze();
    becomes(false, false).await;
    server.thaw();
    becomes(true, false).await;
    let _: () = server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    becomes(true, true).await;
}
