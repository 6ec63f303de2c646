//! Tests that the server answers public reads and refusals from memory. The tests count the
//! server's file locks, because each read of the store takes a lock.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{PurchaseSpec, request, signed_in};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;

const ASKED: usize = 600;
/// For how long the test counts the file locks of a server without requests, in each count.
const AT_REST: Duration = Duration::from_secs(1);
/// How often the test counts the file locks of a server without requests. The test uses the lowest
/// count, because during some counts the server may still be working for earlier requests.
const TIMES_AT_REST: usize = 5;

/// For a server without requests, the test assumes at least this many file locks per second. A
/// measured number may be too low, because the machine may pause.
const LEAST: f64 = 40.0;

/// A function that creates the request with this number.
type Ask<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// Sends `count` requests. Returns how many file locks the server took meanwhile, and the duration
/// of the requests.
async fn locks(
    fixture: &ServerFixture,
    faults: &MachineFaults,
    count: usize,
    request: impl Fn(usize) -> Vec<u8>,
    verdict: &str,
) -> (i64, Duration) {
    let mut connection = fixture.connect().await;
    let (before, begun) = (faults.locks(), Instant::now());
    for number in 0..count {
        let reply = connection.ask(&request(number)).await.expect("an answer");
        assert_eq!(reply.verdict(), verdict, "{reply}");
    }
    (faults.locks() - before, begun.elapsed())
}

/// Creates one sale for each of five refusals. One sale is not open yet, one is paused, and one is
/// closed. In another sale, the buyer's limit is reached, and in the last one, the rate limit.
async fn open_sales_that_refuse(fixture: &ServerFixture) {
    for sale in ["paused", "over", "mine", "strict"] {
        fixture.open_sale(sale, &[("phone", 9, 1, 900)]).await;
    }
    let item = json!({"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 9});
    let body = json!({"id": "later", "title": "Later", "starts_at": "2099-01-01T00:00:00.000Z", "items": [item],
                      "front_door": {"limits": {"buyer": null, "ip": null, "interface": null}}});
    let made = fixture.admin("POST", "/v1/admin/sales", Some(&body)).await;
    assert_eq!(made.status, 201, "{made}");
    fixture.step("later", "schedule").await;
    fixture.step("paused", "pause").await;
    fixture.step("over", "close").await;
    assert_eq!(fixture.buy(&PurchaseSpec::new("anna", "mine", "mine", 1)).await.verdict(), "201");
    // After a pause, the sale has a new slot, which does not know the buyer's order. The store then
    // decides the first request. Later requests are refused from memory.
    fixture.step("mine", "pause").await;
    fixture.step("mine", "resume").await;
    let press = PurchaseSpec::new("anna", "first", "mine", 1);
    let is_refused =
        async || (fixture.buy(&press).await.verdict() == "409 limit_reached").then_some(());
    fixture.until("the limit is known", Duration::from_secs(60), is_refused).await;
    let limits = json!({"front_door": {"limits": {"buyer": {"burst": 1, "per_minute": 1}}}});
    let limited = fixture.admin("PATCH", "/v1/admin/sales/strict", Some(&limits)).await;
    assert_eq!(limited.status, 200, "{limited}");
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("anna", "strict", "strict", 1)).await.verdict(),
        "201",
        "the rate limit must allow the first purchase in a minute"
    );
}

/// A server, and the rate of file locks that it takes without requests. The tests subtract these
/// locks from the locks that they count.
struct Watched {
    fixture: ServerFixture,
    faults: MachineFaults,
    /// Locks per second without requests.
    at_rest: f64,
}

impl Watched {
    /// Measures how often per second the server takes or releases a file lock without requests.
    /// Then checks that requests for a list of orders, which read the store, use additional locks.
    async fn new(fixture: ServerFixture, faults: MachineFaults) -> Self {
        let mut fewest = i64::MAX;
        for _ in 0..TIMES_AT_REST {
            let before = faults.locks();
            tokio::time::sleep(AT_REST).await;
            fewest = fewest.min(faults.locks() - before);
        }
        let at_rest = (fewest as f64 / AT_REST.as_secs_f64()).max(LEAST);
        let this = Self { fixture, faults, at_rest };
        let mine = |_: usize| request("GET", "/v1/orders", &signed_in("anna"), None);
        let (reads, took) = locks(&this.fixture, &this.faults, ASKED, mine, "200").await;
        assert!(
            reads as f64 - this.by_itself(took) > ASKED as f64,
            "the count of locks must include the reads of order lists: {reads} in {took:?}"
        );
        this
    }

    /// Returns how often the server may take or release a file lock in the time `took`, if no
    /// request reads the store.
    fn by_itself(&self, took: Duration) -> f64 {
        2.0 * self.at_rest * took.as_secs_f64() + 60.0
    }

    /// Sends each kind of request many times, and checks that the server does not read the store.
    async fn read_nothing(&self, kinds: &[(&str, Ask<'_>, &str)]) {
        for &(what, request, verdict) in kinds {
            let (taken, took) = locks(&self.fixture, &self.faults, ASKED, request, verdict).await;
            let at_rest = self.at_rest;
            println!(
                "{what}: {taken} locks in {took:?}; {at_rest} locks a second without requests"
            );
            assert!(
                taken as f64 <= self.by_itself(took),
                "{what}: too many locks: {taken} in {took:?}; {at_rest} a second without requests"
            );
        }
    }
}

/// Returns the purchase of one unit. Each `number` gives a new request key.
fn press(buyer: &str, sale: &str, lines: &str, number: usize) -> Vec<u8> {
    PurchaseSpec::new(buyer, &format!("k{number}"), sale, 1).with(lines)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_views_and_status_reads_do_not_read_the_store() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 3, 3, 900)]).await;
    assert_eq!(fixture.buy(&PurchaseSpec::new("first", "k", "spring", 3)).await.verdict(), "201");
    open_sales_that_refuse(&fixture).await;
    let watched = Watched::new(fixture, faults).await;
    let get = |path: &'static str| move |_| request("GET", path, "", None);
    let late = |number: usize| PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1).bytes();
    let nowhere = |number: usize| {
        PurchaseSpec::new("anna", &format!("k{number}"), &format!("none{number}"), 1).bytes()
    };
    let none = |number: usize| PurchaseSpec::new(&format!("b{number}"), "k", "spring", 0).bytes();
    let somebody = |sale: &'static str| {
        move |number: usize| PurchaseSpec::new(&format!("b{number}"), "k", sale, 1).bytes()
    };
    let anna = |sale: &'static str| {
        move |number: usize| PurchaseSpec::new("anna", &format!("k{number}"), sale, 1).bytes()
    };
    let unsigned = |number: usize| {
        let body = json!({"sale": "spring", "item": "phone", "units": 1});
        request("POST", "/v1/orders", &format!("Idempotency-Key: k{number}\r\n"), Some(&body))
    };
    let kinds: [(&str, Ask<'_>, &str); 13] = [
        // This check comes first, because the rate limit would allow another purchase a minute
        // after the last purchase.
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
    watched.read_nothing(&kinds).await;
}

/// Sells the only unit of a sale, and gets a pass for a late buyer. Returns the pass as a header
/// line.
async fn sold_out_behind_a_pass(fixture: &ServerFixture, sale: &str) -> String {
    fixture.open_sale(sale, &[("phone", 1, 1, 900)]).await;
    assert_eq!(fixture.buy(&PurchaseSpec::new("first", sale, sale, 1)).await.verdict(), "201");
    guard(fixture, sale, json!({"pass": "required"})).await;
    let body = json!({"item": "phone"});
    let pass_request =
        request("POST", &format!("/v1/sales/{sale}/passes"), &signed_in("late"), Some(&body));
    let passed = fixture.ask(&pass_request).await;
    assert_eq!(passed.verdict(), "201", "{passed}");
    format!("Purchase-Pass: {}\r\n", passed.json()["pass"].as_str().expect("a pass"))
}

async fn guard(fixture: &ServerFixture, sale: &str, door: Value) {
    let patched = fixture
        .admin("PATCH", &format!("/v1/admin/sales/{sale}"), Some(&json!({ "front_door": door })))
        .await;
    assert_eq!(patched.status, 200, "{patched}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_at_the_front_door_do_not_read_the_store() {
    // With this setting, no pass expires during the test.
    let (fixture, faults) = MachineFaults::fixture(&[("DOORBUSTER_PASS__TTL_SECS", "3600")]);
    for sale in ["guarded", "members", "plain"] {
        fixture.open_sale(sale, &[("phone", 9, 1, 900)]).await;
    }
    guard(&fixture, "guarded", json!({"pass": "required"})).await;
    guard(&fixture, "members", json!({"members_only": true})).await;
    let block = json!({"kind": "buyer", "value": "robot"});
    assert_eq!(fixture.admin("POST", "/v1/admin/blocks", Some(&block)).await.status, 201);
    // This pass is for the sale `gone`. The sale `guarded` must refuse this pass, because a pass is
    // valid for only one sale.
    let pass = sold_out_behind_a_pass(&fixture, "gone").await;
    let watched = Watched::new(fixture, faults).await;
    let kinds: [(&str, Ask<'_>, &str); 6] = [
        ("no pass", &|number| press("late", "guarded", "", number), "403 pass_required"),
        (
            "another sale's pass",
            &|number| press("late", "guarded", &pass, number),
            "403 pass_invalid",
        ),
        (
            "an invalid pass",
            &|number| press("late", "guarded", "Purchase-Pass: x\r\n", number),
            "403 pass_invalid",
        ),
        ("not a member", &|number| press("late", "members", "", number), "403 not_eligible"),
        ("a blocked buyer", &|number| press("robot", "plain", "", number), "403 forbidden"),
        ("a pass, and sold out", &|number| press("late", "gone", &pass, number), "409 sold_out"),
    ];
    watched.read_nothing(&kinds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_expired_passes_do_not_read_the_store() {
    let (fixture, faults) = MachineFaults::fixture(&[("DOORBUSTER_PASS__TTL_SECS", "5")]);
    let pass = sold_out_behind_a_pass(&fixture, "gone").await;
    let has_ended = async || {
        let code = fixture.ask(&press("late", "gone", &pass, 0)).await.verdict();
        (code == "403 pass_expired").then_some(())
    };
    fixture.until("the pass ends", Duration::from_secs(60), has_ended).await;
    let watched = Watched::new(fixture, faults).await;
    let kinds: [(&str, Ask<'_>, &str); 1] =
        [("an old pass", &|number| press("late", "gone", &pass, number), "403 pass_expired")];
    watched.read_nothing(&kinds).await;
}
