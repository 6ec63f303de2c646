//! Tests overload. Excess clients are refused immediately, accepted clients are served as fast as
//! before, and memory does not grow with the number of clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::buyer_probe::{BuyerProbe, ServiceQuality, TIMES_MAX};
use super::client::{HttpConnection, PurchaseSpec};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;

/// The number of connections that the server may have open at the same time.
const PLACES: usize = 40;
/// The number of connections of accepted buyers. The test measures how fast they are served.
const INSIDE: usize = 20;
/// Time between two attempts of an excess client, which ignores `Retry-After`.
const AGAIN: Duration = Duration::from_millis(100);
const WAVE: Duration = Duration::from_millis(1_800);
/// After a client disconnects, the server accepts another client within this time.
const ROOM_WITHIN: Duration = Duration::from_millis(500);
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// The number of clients that retry immediately after each refusal.
const IMPATIENT: usize = 64;
/// The maximum number of retries that one worker may answer in a second, for all clients together.
const RETRIES_PER_SEC: f64 = 5_000.0;

/// The number of refusals whose processor time is measured. The number is high, because the kernel
/// counts processor time in hundredths of a second.
const REFUSED: usize = 10_000;
/// The number of accepted requests whose processor time is measured. It is high for the same reason
/// as [`REFUSED`].
const ACCEPTED: u64 = 4_000;
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// The header of a request that does not wait for its verdict. Many such requests share a commit,
/// so an accepted request costs little processor time.
const ASYNC: &str = "Prefer: respond-async\r\n";

#[derive(Clone, Copy, Debug, Default)]
struct Outside {
    /// The number of `409 sold_out` answers, which only clients with an accepted connection get.
    served: usize,
    /// The number of answers `503` with `Retry-After`.
    refused: usize,
    /// The number of connections that were closed without an answer.
    closed: usize,
}

async fn come(fixture: Arc<ServerFixture>, name: String, stop: Arc<AtomicBool>) -> Outside {
    let mut counts = Outside::default();
    let spec = PurchaseSpec::new(&name, "k", "spring", 1).item("gone").bytes();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = HttpConnection::connect(fixture.address).await else { continue };
        match connection.ask(&spec).await {
            Ok(reply) => match &*reply.verdict() {
                "409 sold_out" => counts.served += 1,
                "503 overloaded" => {
                    assert_eq!(reply.header("connection"), Some("close"), "{reply}");
                    counts.refused += 1;
                }
                other => panic!("{other}: {reply}"),
            },
            Err(_) => counts.closed += 1,
        }
        drop(connection);
        tokio::time::sleep(AGAIN).await;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn excess_clients_are_refused_and_accepted_clients_are_served_under_five_times_the_load() {
    let places = PLACES.to_string();
    let settings = [("DOORBUSTER_WORKERS", "1"), ("DOORBUSTER_LIMITS__CONNECTIONS", &places)];
    let fixture = Arc::new(ServerFixture::with(&settings));
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900), ("gone", 0, 1, 900)]).await;
    let mut buyer_probe = BuyerProbe::open(&fixture, "spring", INSIDE).await;
    buyer_probe.measure(Duration::from_millis(500)).await;
    let (before, cost_before) = measured(&fixture, &mut buyer_probe).await;
    let memory = fixture.resident_kib();
    let stop = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..5 * PLACES)
        .map(|n| tokio::spawn(come(fixture.clone(), format!("o{n}"), stop.clone())))
        .collect();
    let busy = fixture.cpu_time();
    let is_well = |now: &ServiceQuality| now.answers * 10 > before.answers;
    let (answers, meanwhile) = buyer_probe.measure_until(WAVE, is_well).await;
    let cost = fixture.cpu_time() - busy;
    let grown = fixture.resident_kib().saturating_sub(memory);
    stop.store(true, Ordering::Relaxed);
    let mut counts = Outside::default();
    for one in crowd {
        let Outside { served, refused, closed } = one.await.expect("no panic");
        counts = Outside {
            served: counts.served + served,
            refused: counts.refused + refused,
            closed: counts.closed + closed,
        };
    }
    // Measures again without the excess clients, because the whole machine may have become slower
    // during the test.
    let (after, cost_after) = measured(&fixture, &mut buyer_probe).await;
    println!(
        "{before:?} {cost_before:?}, meanwhile {meanwhile:?} {cost:?}, {counts:?}, {grown} KiB, \
         {after:?} {cost_after:?}"
    );
    assert!(counts.refused > 5 * PLACES, "too few refusals: {counts:?}");
    assert!(counts.closed * 10 < counts.refused, "too many clients got no answer: {counts:?}");
    // The test compares processor time and not elapsed time, because the clients and other programs
    // use the same machine.
    let contacts = answers + counts.served + counts.refused + counts.closed;
    let each = |cost: Duration, of: usize| cost.as_secs_f64() / of as f64;
    let served = each(cost_before, before.answers).max(each(cost_after, after.answers));
    let each = each(cost, contacts);
    assert!(
        each < served * 1.3,
        "a refusal costs too much: {each} s for each contact, {served} s for each answer"
    );
    assert!(is_well(&meanwhile), "too few answers: {before:?}, meanwhile {meanwhile:?}");
    assert!(grown < GROWTH_KIB_MAX, "the memory grew by {grown} KiB");
    let late = PurchaseSpec::new("late", "k", "spring", 1);
    let bought = async || (fixture.buy(&late).await.verdict() == "201").then_some(());
    fixture.until("a new client is accepted", ROOM_WITHIN, bought).await;
    fixture.audit(None).await;
}

/// Measures how fast the buyers are served, and how much processor time the server uses for these
/// buyers.
async fn measured(
    fixture: &ServerFixture,
    buyer_probe: &mut BuyerProbe,
) -> (ServiceQuality, Duration) {
    let busy = fixture.cpu_time();
    let served = buyer_probe.measure(WAVE).await;
    (served, fixture.cpu_time() - busy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_the_requests_at_once_are_all_answered_and_cost_no_more() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_WORKERS", "1")]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900), ("gone", 0, 1, 900)]).await;
    let mut few = BuyerProbe::open(&fixture, "spring", 100).await;
    few.measure(Duration::from_millis(500)).await;
    let memory = fixture.resident_kib();
    let mut many = BuyerProbe::open(&fixture, "spring", 500).await;
    many.measure(Duration::from_millis(500)).await;
    let mut reports = Vec::new();
    let each =
        |(served, cost): (ServiceQuality, Duration)| cost.as_secs_f64() / served.answers as f64;
    // Measures again if the result is too high, because other load on the machine may disturb one
    // measurement.
    let grown = loop {
        let before = measured(&fixture, &mut few).await;
        let (meanwhile, cost) = measured(&fixture, &mut many).await;
        let grown = fixture.resident_kib().saturating_sub(memory);
        println!("{before:?}, meanwhile {meanwhile:?} {cost:?}, {grown} KiB");
        assert!(meanwhile.later * 100 < meanwhile.answers, "requests were refused: {meanwhile:?}");
        let (each_before, each) = (each(before), each((meanwhile, cost)));
        if each < each_before * 1.5 {
            break grown;
        }
        reports
            .push(format!("an answer costs {each} s with many buyers, {each_before} s with few"));
        assert!(reports.len() < TIMES_MAX, "{reports:?}");
    };
    assert!(grown < GROWTH_KIB_MAX, "the memory grew by {grown} KiB");
    fixture.audit(None).await;
}

/// Sends the requests, and waits until `held` units are in unpaid orders. Returns the server's
/// processor time per request, in seconds.
async fn cost_each(
    fixture: &ServerFixture,
    requests: &[Vec<u8>],
    expected: &str,
    held: u64,
) -> f64 {
    let (mut connection, busy) = (fixture.connect().await, fixture.cpu_time());
    for request in requests {
        loop {
            let reply = connection.ask(request).await.expect("the connection is kept");
            match &*reply.verdict() {
                verdict if verdict == expected => break,
                // After a pause of the machine, the server may give these answers. The test then
                // repeats the request.
                "503 overloaded" | "503 unavailable" => tokio::time::sleep(AGAIN).await,
                other => panic!("{other}: {reply}"),
            }
        }
    }
    let settled = async || (fixture.stock("spring").await.held == held).then_some(());
    fixture.until("all accepted requests are settled", SETTLED_WITHIN, settled).await;
    (fixture.cpu_time() - busy).as_secs_f64() / requests.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_over_a_kept_connection_costs_less_than_an_acceptance() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_WORKERS", "1")]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900), ("gone", 0, 1, 900)]).await;
    // The same buyer sends the accepted and the refused requests, so the check of the token costs
    // the same in both cases.
    let spec = PurchaseSpec::new("anna", "k", "spring", 1);
    let refused = vec![spec.clone().item("gone").with(ASYNC); REFUSED];
    let (mut held, mut reports) = (0, Vec::new());
    // Measures again if a refusal costs too much, because other load on the machine may disturb one
    // measurement.
    loop {
        let accepted: Vec<_> = (held..held + ACCEPTED)
            .map(|number| spec.key(&format!("k{number}")).with(ASYNC))
            .collect();
        held += ACCEPTED;
        let acceptance = cost_each(&fixture, &accepted, "202", held).await;
        let refusal = cost_each(&fixture, &refused, "409 sold_out", held).await;
        reports.push(format!("a refusal costs {refusal} s, an acceptance {acceptance} s"));
        println!("{reports:?}");
        if refusal < acceptance {
            break;
        }
        assert!(reports.len() < TIMES_MAX, "{reports:?}");
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn immediate_retries_are_answered_at_a_bounded_rate() {
    let (fixture, faults) = MachineFaults::fixture(&[("DOORBUSTER_WORKERS", "1")]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900)]).await;
    // With the slow disk, the queue counts as full: the server refuses purchases when the oldest
    // ticket has waited too long.
    faults.slow_disk(Duration::from_secs(60));
    let spec = |buyer: &str, key: u64| {
        PurchaseSpec::new(buyer, &format!("k{key}"), "spring", 1).with("Prefer: respond-async\r\n")
    };
    let full = AtomicU64::new(0);
    let overloaded = async || {
        let reply = fixture.ask(&spec("first", full.fetch_add(1, Ordering::Relaxed))).await;
        (reply.verdict() == "503 overloaded").then_some(())
    };
    fixture.until("the queue is full", Duration::from_secs(8), overloaded).await;
    let begun = Instant::now();
    let mut impatient = Vec::new();
    for number in 0..IMPATIENT {
        let (mut connection, spec) = (fixture.connect().await, spec(&format!("b{number}"), 0));
        impatient.push(tokio::spawn(async move {
            let mut refusals = 0;
            while begun.elapsed() < WAVE {
                assert_eq!(
                    connection.ask(&spec).await.expect("an answer").verdict(),
                    "503 overloaded"
                );
                refusals += 1;
            }
            refusals
        }));
    }
    let mut refusals: u32 = 0;
    for one in impatient {
        refusals += one.await.expect("no panic");
    }
    let most = IMPATIENT as f64 + RETRIES_PER_SEC * begun.elapsed().as_secs_f64();
    assert!(f64::from(refusals) <= most * 1.05, "{refusals} refusals; expected at most {most}");
    assert!(refusals as usize > IMPATIENT, "no retry was answered");
    faults.slow_disk(Duration::ZERO);
    fixture.audit(None).await;
}
