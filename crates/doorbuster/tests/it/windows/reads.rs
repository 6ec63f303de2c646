//! What the crowd asks for is answered from memory: counted at the store's own file.

use std::time::{Duration, Instant};

use super::client::{Wish, request, signed_in};
use super::faults::Faults;
use super::rig::Rig;

/// Requests of each kind.
const ASKED: usize = 600;
/// How long the server is watched that is asked nothing.
const AT_REST: Duration = Duration::from_secs(2);

/// Locks in a second that may be the server's own, also where a halt of the machine let few be seen.
const LEAST: f64 = 40.0;

/// The request of this number.
type Ask<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// Asks for this again and again over one connection: how many locks of files were taken meanwhile, and how long it took.
async fn locks(
    rig: &Rig,
    faults: &Faults,
    asked: usize,
    request: impl Fn(usize) -> Vec<u8>,
    verdict: &str,
) -> (i64, Duration) {
    let mut wire = rig.wire().await;
    let (before, begun) = (faults.locks(), Instant::now());
    for number in 0..asked {
        let reply = wire.ask(&request(number)).await.expect("an answer");
        assert_eq!(reply.verdict(), verdict, "{reply}");
    }
    (faults.locks() - before, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_views_and_looks_at_the_status_read_nothing_of_the_store() {
    let (rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", 3, 3, 900)]).await;
    assert_eq!(rig.buy(&Wish::new("first", "k", "spring", 3)).await.verdict(), "201");
    let before = faults.locks();
    tokio::time::sleep(AT_REST).await;
    // What the server does by itself in a second, and as much again as it may do more of while it is asked.
    let at_rest = ((faults.locks() - before) as f64 / AT_REST.as_secs_f64()).max(LEAST);
    let by_itself = |took: Duration| 2.0 * at_rest * took.as_secs_f64() + 60.0;
    let get = |path: &'static str| move |_| request("GET", path, "", None);
    let late = |number: usize| Wish::new(&format!("b{number}"), "k", "spring", 1).bytes();
    let nowhere = |number: usize| Wish::new("anna", &format!("k{number}"), &format!("none{number}"), 1).bytes();
    let mine = |_: usize| request("GET", "/v1/orders", &signed_in("anna"), None);
    let (reads, took) = locks(&rig, &faults, ASKED, mine, "200").await;
    assert!(reads as f64 - by_itself(took) > ASKED as f64, "reading a list of orders is seen: {reads}");
    let kinds: [(&str, Ask<'_>, &str); 6] = [
        ("a refusal", &late, "409 sold_out"),
        ("no such sale", &nowhere, "404 not_found"),
        ("the page", &get("/sale/spring"), "200"),
        ("the sale", &get("/v1/sales/spring"), "200"),
        ("the list", &get("/v1/sales"), "200"),
        ("the status", &get("/v1/sales/spring/status"), "200"),
    ];
    for (what, request, verdict) in kinds {
        let (taken, took) = locks(&rig, &faults, ASKED, request, verdict).await;
        println!("{what}: {taken} locks in {took:?}; {at_rest} a second at rest; {reads} for as many lists");
        assert!(taken as f64 <= by_itself(took), "{what}: {taken} locks in {took:?}, {at_rest} a second at rest");
    }
}
