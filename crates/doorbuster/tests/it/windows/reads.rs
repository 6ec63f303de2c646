//! What the crowd asks for is answered from memory: counted at the store's own file.

use std::time::{Duration, Instant};

use serde_json::json;

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

/// Sales in which a crowd is refused for every other reason than that all is sold: not open yet, paused, over, the limit of an order, the limit of asking.
async fn open_sales_that_refuse(rig: &Rig) {
    for sale in ["paused", "over", "mine", "strict"] {
        rig.open_sale(sale, &[("phone", 9, 1, 900)]).await;
    }
    let item = json!({"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 9});
    let body = json!({"id": "later", "title": "Later", "starts_at": "2099-01-01T00:00:00.000Z", "items": [item],
                      "front_door": {"limits": {"buyer": null, "ip": null, "interface": null}}});
    let made = rig.admin("POST", "/v1/admin/sales", Some(&body)).await;
    assert_eq!(made.status, 201, "{made}");
    rig.step("later", "schedule").await;
    rig.step("paused", "pause").await;
    rig.step("over", "close").await;
    assert_eq!(rig.buy(&Wish::new("anna", "mine", "mine", 1)).await.verdict(), "201");
    // After a pause the slot knows nothing of the buyer. The first press is for the store to judge, and to remember.
    rig.step("mine", "pause").await;
    rig.step("mine", "resume").await;
    let press = Wish::new("anna", "first", "mine", 1);
    let is_refused = async || (rig.buy(&press).await.verdict() == "409 limit_reached").then_some(());
    rig.until("the limit is known", Duration::from_secs(60), is_refused).await;
    let limits = json!({"front_door": {"limits": {"buyer": {"burst": 1, "per_minute": 1}}}});
    let limited = rig.admin("PATCH", "/v1/admin/sales/strict", Some(&limits)).await;
    assert_eq!(limited.status, 200, "{limited}");
    assert_eq!(rig.buy(&Wish::new("anna", "strict", "strict", 1)).await.verdict(), "201", "the one of its minute");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_views_and_looks_at_the_status_read_nothing_of_the_store() {
    let (rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", 3, 3, 900)]).await;
    assert_eq!(rig.buy(&Wish::new("first", "k", "spring", 3)).await.verdict(), "201");
    open_sales_that_refuse(&rig).await;
    let before = faults.locks();
    tokio::time::sleep(AT_REST).await;
    // What the server does by itself in a second, and as much again as it may do more of while it is asked.
    let at_rest = ((faults.locks() - before) as f64 / AT_REST.as_secs_f64()).max(LEAST);
    let by_itself = |took: Duration| 2.0 * at_rest * took.as_secs_f64() + 60.0;
    let get = |path: &'static str| move |_| request("GET", path, "", None);
    let late = |number: usize| Wish::new(&format!("b{number}"), "k", "spring", 1).bytes();
    let nowhere = |number: usize| Wish::new("anna", &format!("k{number}"), &format!("none{number}"), 1).bytes();
    let none = |number: usize| Wish::new(&format!("b{number}"), "k", "spring", 0).bytes();
    let somebody = |sale: &'static str| move |number: usize| Wish::new(&format!("b{number}"), "k", sale, 1).bytes();
    let anna = |sale: &'static str| move |number: usize| Wish::new("anna", &format!("k{number}"), sale, 1).bytes();
    let unsigned = |number: usize| {
        let body = json!({"sale": "spring", "item": "phone", "units": 1});
        request("POST", "/v1/orders", &format!("Idempotency-Key: k{number}\r\n"), Some(&body))
    };
    let mine = |_: usize| request("GET", "/v1/orders", &signed_in("anna"), None);
    let (reads, took) = locks(&rig, &faults, ASKED, mine, "200").await;
    assert!(reads as f64 - by_itself(took) > ASKED as f64, "reading a list of orders is seen: {reads}");
    let kinds: [(&str, Ask<'_>, &str); 13] = [
        // The first, long before its minute is over.
        ("too often", &anna("strict"), "429 rate_limited"),
        ("a refusal", &late, "409 sold_out"),
        ("not open yet", &somebody("later"), "409 not_started"),
        ("paused", &somebody("paused"), "409 paused"),
        ("over", &somebody("over"), "409 ended"),
        ("at the limit", &anna("mine"), "409 limit_reached"),
        ("nobody", &unsigned, "401 unauthenticated"),
        ("no unit", &none, "422 invalid_request"),
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
