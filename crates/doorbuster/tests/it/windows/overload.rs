//! Overload: excess clients are refused at once, accepted clients are served as before, and memory
//! does not grow with the number of clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::buyer_probe::{BuyerProbe, ServiceQuality, TIMES_MAX};
use super::client::{PurchaseSpec, Wire};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;

/// Connections that the server takes.
const PLACES: usize = 40;
/// Of them those of the buyers whose service is measured.
const INSIDE: usize = 20;
/// Between two tries of somebody outside, who does not care for `Retry-After`.
const AGAIN: Duration = Duration::from_millis(100);
/// How long is measured.
const WAVE: Duration = Duration::from_millis(1_800);
/// A place of somebody who is gone is free within this: its end may still be on its way.
const ROOM_WITHIN: Duration = Duration::from_millis(500);
/// Memory that the crowd may cost, in KiB.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

/// Connections that ask again at once.
const IMPATIENT: usize = 64;
/// Of those that were refused, one worker hears so many again in a second.
const HEARD_AGAIN_PER_SEC: f64 = 5_000.0;

/// Refusals, and acceptances, whose cost is compared: many, as the kernel counts processor time in
/// hundredths of a second.
const REFUSED: usize = 10_000;
/// See [`REFUSED`].
const ACCEPTED: u64 = 4_000;
/// Orders that were accepted are on the disk within this, on a slow machine too.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Nobody waits for a commit: many orders share one, as in a crowd, and an acceptance is as cheap
/// as it can be.
const ASYNC: &str = "Prefer: respond-async\r\n";

/// What those outside met.
#[derive(Clone, Copy, Debug, Default)]
struct Outside {
    /// An order or a refusal: they found a place.
    served: usize,
    /// `503`, and when to come again.
    told: usize,
    /// The connection was closed without a word.
    closed: usize,
}

/// Comes again and again, each time over a connection of its own.
async fn come(fixture: Arc<ServerFixture>, name: String, stop: Arc<AtomicBool>) -> Outside {
    let mut met = Outside::default();
    let spec = PurchaseSpec::new(&name, "k", "spring", 1).item("gone").bytes();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut wire) = Wire::connect(fixture.address).await else { continue };
        match wire.ask(&spec).await {
            Ok(reply) => match &*reply.verdict() {
                "409 sold_out" => met.served += 1,
                "503 overloaded" => {
                    assert_eq!(reply.header("connection"), Some("close"), "{reply}");
                    met.told += 1;
                }
                other => panic!("{other}: {reply}"),
            },
            Err(_) => met.closed += 1,
        }
        drop(wire);
        tokio::time::sleep(AGAIN).await;
    }
    met
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
    let mut met = Outside::default();
    for one in crowd {
        let Outside { served, told, closed } =
            one.await.expect("nothing but the answers of the contract");
        met = Outside {
            served: met.served + served,
            told: met.told + told,
            closed: met.closed + closed,
        };
    }
    // Once more without them: the machine may have become slower meanwhile.
    let (after, cost_after) = measured(&fixture, &mut buyer_probe).await;
    println!(
        "{before:?} {cost_before:?}, meanwhile {meanwhile:?} {cost:?}, {met:?}, {grown} KiB, \
         {after:?} {cost_after:?}"
    );
    assert!(met.told > 5 * PLACES, "the server was not too small: {met:?}");
    assert!(met.closed * 10 < met.told, "hardly anybody is sent away without a word: {met:?}");
    // By processor time, as the crowd of this test and whatever else runs use the same machine.
    let contacts = answers + met.served + met.told + met.closed;
    let each = |cost: Duration, of: usize| cost.as_secs_f64() / of as f64;
    let served = each(cost_before, before.answers).max(each(cost_after, after.answers));
    let each = each(cost, contacts);
    assert!(
        each < served * 1.3,
        "to be sent away costs more than to be served: {each} s, served {served} s"
    );
    assert!(is_well(&meanwhile), "{before:?}, meanwhile {meanwhile:?}");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    // The crowd goes, and there is room again at once.
    let late = PurchaseSpec::new("late", "k", "spring", 1);
    let bought = async || (fixture.buy(&late).await.verdict() == "201").then_some(());
    fixture.until("there is room", ROOM_WITHIN, bought).await;
    fixture.audit(None).await;
}

/// How those inside are served for a while, and what processor time the server needs for it.
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
    let mut told = Vec::new();
    let each =
        |(served, cost): (ServiceQuality, Duration)| cost.as_secs_f64() / served.answers as f64;
    // A machine may become slower between the two; what the server does wrong stays.
    let grown = loop {
        let before = measured(&fixture, &mut few).await;
        let (meanwhile, cost) = measured(&fixture, &mut many).await;
        let grown = fixture.resident_kib().saturating_sub(memory);
        println!("{before:?}, meanwhile {meanwhile:?} {cost:?}, {grown} KiB");
        assert!(
            meanwhile.later * 100 < meanwhile.answers,
            "so few need not be sent away: {meanwhile:?}"
        );
        let (each_before, each) = (each(before), each((meanwhile, cost)));
        if each < each_before * 1.5 {
            break grown;
        }
        told.push(format!("an answer costs {each} s, before {each_before} s"));
        assert!(told.len() < TIMES_MAX, "{told:?}");
    };
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    fixture.audit(None).await;
}

/// The server's processor time for each of these requests, which are sent one after another over
/// one connection, until so many units are held.
async fn cost_each(
    fixture: &ServerFixture,
    requests: &[Vec<u8>],
    expected: &str,
    held: u64,
) -> f64 {
    let (mut wire, busy) = (fixture.wire().await, fixture.cpu_time());
    for request in requests {
        loop {
            let reply = wire.ask(request).await.expect("the connection is kept");
            match &*reply.verdict() {
                verdict if verdict == expected => break,
                // The machine stood still.
                "503 overloaded" | "503 unavailable" => tokio::time::sleep(AGAIN).await,
                other => panic!("{other}: {reply}"),
            }
        }
    }
    let settled = async || (fixture.stock("spring").await.held == held).then_some(());
    fixture.until("everything that was accepted is settled", SETTLED_WITHIN, settled).await;
    (fixture.cpu_time() - busy).as_secs_f64() / requests.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_over_a_kept_connection_costs_less_than_an_acceptance() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_WORKERS", "1")]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900), ("gone", 0, 1, 900)]).await;
    // The same buyer for both: whom a token names costs the same.
    let spec = PurchaseSpec::new("anna", "k", "spring", 1);
    let refused = vec![spec.clone().item("gone").with(ASYNC); REFUSED];
    let (mut held, mut told) = (0, Vec::new());
    // Other work on the machine comes and goes; what the server does wrong stays.
    loop {
        let accepted: Vec<_> = (held..held + ACCEPTED)
            .map(|number| spec.key(&format!("k{number}")).with(ASYNC))
            .collect();
        held += ACCEPTED;
        let acceptance = cost_each(&fixture, &accepted, "202", held).await;
        let refusal = cost_each(&fixture, &refused, "409 sold_out", held).await;
        told.push(format!("a refusal costs {refusal} s, an acceptance {acceptance} s"));
        println!("{told:?}");
        if refusal < acceptance {
            break;
        }
        assert!(told.len() < TIMES_MAX, "{told:?}");
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn immediate_retries_are_served_in_order() {
    let (fixture, faults) = MachineFaults::fixture(&[("DOORBUSTER_WORKERS", "1")]);
    fixture.open_sale("spring", &[("phone", 1_000_000, 1_000_000, 900)]).await;
    // Tickets are issued and none is settled, until the oldest has waited too long.
    faults.slow_disk(Duration::from_secs(60));
    let spec = |buyer: &str, key: u64| {
        PurchaseSpec::new(buyer, &format!("k{key}"), "spring", 1).with("Prefer: respond-async\r\n")
    };
    let full = AtomicU64::new(0);
    let overloaded = async || {
        let told = fixture.ask(&spec("first", full.fetch_add(1, Ordering::Relaxed))).await;
        (told.verdict() == "503 overloaded").then_some(())
    };
    fixture.until("the queue takes nothing more", Duration::from_secs(8), overloaded).await;
    let asked = Instant::now();
    let mut impatient = Vec::new();
    for number in 0..IMPATIENT {
        let (mut wire, spec) = (fixture.wire().await, spec(&format!("b{number}"), 0));
        impatient.push(tokio::spawn(async move {
            let mut told = 0;
            while asked.elapsed() < WAVE {
                assert_eq!(wire.ask(&spec).await.expect("an answer").verdict(), "503 overloaded");
                told += 1;
            }
            told
        }));
    }
    let mut told: u32 = 0;
    for one in impatient {
        told += one.await.expect("it is refused each time");
    }
    let most = IMPATIENT as f64 + HEARD_AGAIN_PER_SEC * asked.elapsed().as_secs_f64();
    assert!(f64::from(told) <= most * 1.05, "{told} refusals, and no more than {most} were due");
    assert!(told as usize > IMPATIENT, "nobody was heard again");
    faults.slow_disk(Duration::ZERO);
    fixture.audit(None).await;
}
