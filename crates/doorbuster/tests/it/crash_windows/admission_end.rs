//! Tests a buyer's admission to a sale that ends while the server issues the buyer's pass. The
//! buyer gets no pass, and the access code stays usable.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::client::{Reply, request, signed_in};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use crate::sealed::solve_sealed;

/// The secret of the server's challenges.
const MASTER: [u8; 32] = [0x5a; 32];
/// The longest time for which the disk delays a commit. It is longer than an admission.
const COMMIT_DELAY: Duration = Duration::from_secs(300);
const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
const CLOCK_ERROR_MAX_MS: i64 = 1_000;

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("in range")
}

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

async fn guard(fixture: &ServerFixture, door: Value) {
    let patched = fixture
        .admin("PATCH", "/v1/admin/sales/spring", Some(&json!({ "front_door": door })))
        .await;
    assert_eq!(patched.status, 200, "{patched}");
}

/// Waits until the buyer is admitted. Returns the end of the admission, in milliseconds since 1970.
async fn wait_for_admission(fixture: &ServerFixture, buyer: &str) -> i64 {
    let entered = ask(fixture, buyer, "POST", "waiting-room", None).await;
    assert_eq!(entered.verdict(), "201", "{entered}");
    let until = async || {
        let place = ask(fixture, buyer, "GET", "waiting-room", None).await.json();
        let until = place["admitted_until"].as_str()?;
        Some(until.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond())
    };
    fixture.until("the buyer is admitted", CHANGE_TIMEOUT, until).await
}

/// Waits until the buyer is admitted, and requests a pass. Delays the request's first commit until
/// the admission is over. Returns the verdict.
async fn request_delayed_pass(
    fixture: &ServerFixture,
    faults: &MachineFaults,
    buyer: &str,
    wanted: &Value,
) -> String {
    let until = wait_for_admission(fixture, buyer).await;
    faults.slow_disk(COMMIT_DELAY);
    let mut connection = fixture.connect().await;
    let bytes = request("POST", "/v1/sales/spring/passes", &signed_in(buyer), Some(wanted));
    connection.send(&bytes).await.expect("the request is sent");
    let is_over = async || (now_ms() > until + CLOCK_ERROR_MAX_MS).then_some(());
    fixture.until("the admission is over", CHANGE_TIMEOUT, is_over).await;
    faults.slow_disk(Duration::ZERO);
    connection.reply().await.expect("an answer").verdict()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_that_ends_while_its_pass_is_issued_gives_no_pass() {
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
    // The server first writes that the challenge is used. The slow disk delays this commit until
    // the buyer's admission has ended. So the server refuses the pass, and the access code stays
    // unused.
    let challenge = ask(&fixture, "anna", "POST", "challenges", Some(&json!({}))).await;
    assert_eq!(challenge.verdict(), "201", "{challenge}");
    let challenge = challenge.json();
    let solved = solve_sealed(MASTER, &challenge, "spring", "anna");
    let wanted = json!({"item": "phone", "challenge": challenge["challenge"], "answer": solved, "access_code": code});
    assert_eq!(request_delayed_pass(&fixture, &faults, "anna", &wanted).await, "403 waiting_room");
    assert_eq!(spent().await, 0, "the request must not spend a use of the code");
    // Without a challenge, the first commit spends a use of the code. The admission ends during
    // this commit, so `bert` gets no pass. Later, `bert` gets a pass with the same code. This pass
    // spends no further use.
    guard(&fixture, json!({"challenge": "off"})).await;
    let wanted = json!({"item": "phone", "access_code": code});
    assert_eq!(request_delayed_pass(&fixture, &faults, "bert", &wanted).await, "403 waiting_room");
    assert_eq!(spent().await, 1);
    wait_for_admission(&fixture, "bert").await;
    let passed = ask(&fixture, "bert", "POST", "passes", Some(&wanted)).await;
    assert_eq!(passed.verdict(), "201", "{passed}");
    assert_eq!(spent().await, 1);
}
