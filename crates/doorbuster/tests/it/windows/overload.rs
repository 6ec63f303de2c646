//! More than the server can take: whoever is too many hears so at once, whoever is inside is served as before, and
//! memory does not grow with the crowd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::client::{Wire, Wish};
use super::pulse::Pulse;
use super::rig::Rig;

/// Connections that the server takes.
const PLACES: usize = 80;
/// Of them those of the buyers whose service is measured.
const INSIDE: usize = 40;
/// Between two tries of somebody outside, who does not care for `Retry-After`.
const AGAIN: Duration = Duration::from_millis(150);
/// How long the crowd stays.
const WAVE: Duration = Duration::from_secs(3);
/// Memory that the crowd may cost, in KiB.
const GROWTH_KIB_MAX: u64 = 48 * 1024;

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
async fn come(rig: Arc<Rig>, name: String, stop: Arc<AtomicBool>) -> Outside {
    let mut met = Outside::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let wish = Wish::new(&format!("{name}-{number}"), "k", "spring", 1).item("gone").bytes();
        let Ok(mut wire) = Wire::connect(rig.address).await else { continue };
        match wire.ask(&wish).await {
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
async fn five_times_the_crowd_is_sent_away_and_whoever_is_inside_is_served() {
    let places = PLACES.to_string();
    let settings = [("DOORBUSTER_WORKERS", "1"), ("DOORBUSTER_LIMITS__CONNECTIONS", &places)];
    let rig = Arc::new(Rig::with(&settings));
    rig.open_sale("spring", &[("phone", 1_000_000, 1, 900), ("gone", 0, 1, 900)]).await;
    let mut pulse = Pulse::enter(&rig, "spring", INSIDE).await;
    pulse.beat(Duration::from_millis(500)).await;
    let before = pulse.beat(Duration::from_secs(2)).await;
    let memory = rig.resident_kib();
    let stop = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> =
        (0..5 * PLACES).map(|n| tokio::spawn(come(rig.clone(), format!("o{n}"), stop.clone()))).collect();
    let meanwhile = pulse.beat(WAVE).await;
    let grown = rig.resident_kib().saturating_sub(memory);
    stop.store(true, Ordering::Relaxed);
    let mut met = Outside::default();
    for one in crowd {
        let Outside { served, told, closed } = one.await.expect("nothing but the answers of the contract");
        met = Outside { served: met.served + served, told: met.told + told, closed: met.closed + closed };
    }
    println!("{before:?}, meanwhile {meanwhile:?}, {met:?}, {grown} KiB");
    assert!(met.told > 5 * PLACES, "the server was not too small: {met:?}");
    assert!(met.closed * 4 < met.told, "most are told when to come again: {met:?}");
    // Some of the crowd find a place, and count as well.
    let all = meanwhile.rate + met.served as f64 / WAVE.as_secs_f64();
    assert!(all > before.rate * 0.5, "{before:?}, meanwhile {meanwhile:?}, {met:?}");
    assert!(meanwhile.p99 < before.p99 * 8 + Duration::from_millis(150), "{before:?}, meanwhile {meanwhile:?}");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    // The crowd goes, and there is room again at once.
    let after = pulse.beat(Duration::from_secs(1)).await;
    assert!(after.rate > before.rate * 0.5, "{before:?}, after {after:?}");
    assert_eq!(rig.buy(&Wish::new("late", "k", "spring", 1)).await.verdict(), "201");
    rig.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_the_requests_at_once_are_all_answered() {
    let rig = Rig::with(&[("DOORBUSTER_WORKERS", "1")]);
    rig.open_sale("spring", &[("phone", 1_000_000, 1, 900), ("gone", 0, 1, 900)]).await;
    let mut few = Pulse::enter(&rig, "spring", 100).await;
    few.beat(Duration::from_millis(500)).await;
    let before = few.beat(Duration::from_secs(2)).await;
    let memory = rig.resident_kib();
    let mut many = Pulse::enter(&rig, "spring", 500).await;
    let meanwhile = many.beat(WAVE).await;
    let grown = rig.resident_kib().saturating_sub(memory);
    println!("{before:?}, meanwhile {meanwhile:?}, {grown} KiB");
    assert!(meanwhile.rate > before.rate * 0.5, "{before:?}, meanwhile {meanwhile:?}");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    rig.audit(None).await;
}
