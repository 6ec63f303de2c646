//! An admission that ends while its pass is issued: no pass is returned, and nothing more is spent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::{Reply, request, signed_in};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use crate::sealed::solve_sealed;

/// What the server's challenges are sealed with.
const MASTER: [u8; 32] = [0x5a; 32];
/// How long the disk delays a commit that is not released: longer than an admission lasts here.
const HELD_UP: Duration = Duration::from_secs(300);
/// For whatever comes by itself, on a slow machine.
const SOON: Duration = Duration::from_secs(60);
/// How much the server's time may differ from this process's.
const OFF_MAX_MS: i64 = 1_000;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("long ago").as_millis())
        .expect("not so long ago")
}

/// A request of this buyer's about the sale.
async fn ask(
    fixture: &ServerFixture,
    buyer: &str,
    method: &str,
    what: &str,
    body: Option<&Value>,
) -> Reply {
    fixture
        .ask(&request(method, &format!("/v1/sales/spring/{what}"), &signed_in(buyer), body))
        .await
}

/// Adds this front door to the sale.
async fn guard(fixture: &ServerFixture, door: Value) {
    let patched = fixture
        .admin("PATCH", "/v1/admin/sales/spring", Some(&json!({ "front_door": door })))
        .await;
    assert_eq!(patched.status, 200, "{patched}");
}

/// Waits until the buyer is called in; until when.
async fn called_in(fixture: &ServerFixture, buyer: &str) -> i64 {
    let entered = ask(fixture, buyer, "POST", "waiting-room", None).await;
    assert_eq!(entered.verdict(), "201", "{entered}");
    let until = async || {
        let place = ask(fixture, buyer, "GET", "waiting-room", None).await.json();
        let until = place["admitted_until"].as_str()?;
        Some(until.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond())
    };
    fixture.until("the buyer is called in", SOON, until).await
}

/// Requests a pass, and lets the disk delay the spending until the admission is over.
async fn overtaken(
    fixture: &ServerFixture,
    faults: &MachineFaults,
    buyer: &str,
    wanted: &Value,
) -> String {
    let until = called_in(fixture, buyer).await;
    faults.slow_disk(HELD_UP);
    let mut wire = fixture.wire().await;
    let asked = request("POST", "/v1/sales/spring/passes", &signed_in(buyer), Some(wanted));
    wire.send(&asked).await.expect("it is sent");
    let is_over = async || (now_ms() > until + OFF_MAX_MS).then_some(());
    fixture.until("the admission is over", SOON, is_over).await;
    faults.slow_disk(Duration::ZERO);
    wire.reply().await.expect("an answer").verdict()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_ends_while_its_pass_is_made_gives_none() {
    let keys = "5a".repeat(32);
    let settings = [("DOORBUSTER_PASS__TTL_SECS", "8"), ("DOORBUSTER_PASS__KEYS", keys.as_str())];
    let (fixture, faults) = MachineFaults::fixture(&settings);
    fixture.open_sale("spring", &[("phone", 9, 1, 900)]).await;
    guard(
        &fixture,
        json!({"waiting_room": "always", "challenge": "slider", "access_codes": "required"}),
    )
    .await;
    let codes = "/v1/admin/sales/spring/access-codes";
    let made = fixture.admin("POST", codes, Some(&json!({"count": 1, "uses": 9}))).await;
    assert_eq!(made.status, 201, "{made}");
    let code = made.json()["codes"][0].clone();
    let spent = async || fixture.get_ok(codes).await["spent"].clone();
    // A challenge is asked for first. Its end is a long way off.
    let asked = ask(&fixture, "anna", "POST", "challenges", Some(&json!({}))).await;
    assert_eq!(asked.verdict(), "201", "{asked}");
    let asked = asked.json();
    let solved = solve_sealed(MASTER, &asked, "spring", "anna");
    let wanted = json!({"item": "phone", "challenge": asked["challenge"], "answer": solved, "access_code": code});
    assert_eq!(overtaken(&fixture, &faults, "anna", &wanted).await, "403 waiting_room");
    assert_eq!(spent().await, 0, "the challenge was overtaken, and no code is spent behind it");
    // A code that was overtaken is its buyer's, who needs no other.
    guard(&fixture, json!({"challenge": "off"})).await;
    let wanted = json!({"item": "phone", "access_code": code});
    assert_eq!(overtaken(&fixture, &faults, "bert", &wanted).await, "403 waiting_room");
    assert_eq!(spent().await, 1);
    called_in(&fixture, "bert").await;
    let passed = ask(&fixture, "bert", "POST", "passes", Some(&wanted)).await;
    assert_eq!(passed.verdict(), "201", "{passed}");
    assert_eq!(spent().await, 1);
}
