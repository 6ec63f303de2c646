//! Tests privacy: the log, the metrics and the problem documents contain no data about buyers, and
//! the CLI can erase a buyer.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::accounting::storm;
use crate::crash_windows::client::{PurchaseSpec, Reply, request, signed_in};
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::{KEY, TempDir, TestServer, program, run};

/// The prefix of every buyer id and every request key of the test.
const NAME: &str = "anna-rosa";
const TIMEOUT: Duration = Duration::from_secs(180);

#[test]
fn the_log_under_load_names_no_buyer() {
    let temp_dir = TempDir::new();
    let log = temp_dir.join("log");
    let test_server =
        TestServer::start_with_log(&temp_dir, File::create(&log).expect("a log file"));
    let answers = storm(&temp_dir, &test_server, 200);
    let held =
        answers.iter().find(|answer| answer["state"] == "reserved").expect("a reserved order");
    test_server
        .ask(&temp_dir, &["order", "cancel", held["id"].as_str().expect("an id"), "--yes"])
        .stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "close", "spring", "--yes"]).stdout_of_success();
    assert_eq!(test_server.terminate().0, Some(0));
    let log = std::fs::read_to_string(log).expect("the log exists");
    assert!(log.lines().count() > 1, "the log must have lines at the default level: {log}");
    assert_eq!(answers.len(), 200);
    for answer in &answers {
        let buyer = answer["buyer"].as_str().expect("a name");
        assert!(!log.contains(buyer), "the log names {buyer}:\n{log}");
    }
}

/// The largest number of log lines. The test sends at least 100 requests of each kind, so the log
/// would have more lines if the server wrote one line for each request of a kind.
const LINES_MAX: usize = 60;

#[test]
fn no_log_line_is_written_for_any_request() {
    let temp_dir = TempDir::new();
    let log = temp_dir.join("log");
    let test_server =
        TestServer::start_with_log(&temp_dir, File::create(&log).expect("a log file"));
    let item = "id=phone,title=Phone,stock=200,price=0.10CNY,limit=1";
    test_server
        .ask(&temp_dir, &["sale", "create", "spring", "--title", "Spring drop", "--item", item])
        .stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "open", "spring"]).stdout_of_success();
    let mut crowd = program(&temp_dir);
    crowd.args([
        "storm", "--sale", "spring", "--item", "phone", "--units", "1", "--buyers", "400", "--json",
    ]);
    let run =
        run(crowd.args(["--url", test_server.url(), "--data-dir"]).arg(test_server.data_dir()));
    run.stdout_of_success();
    assert_eq!(run.json()["answers"], json!({"reserved": 200, "sold_out": 200}), "{}", run.out());
    let (token, key) = (test_server.token(&temp_dir, NAME), "Idempotency-Key: k\r\n");
    let json = format!("{key}Content-Type: application/json\r\n");
    let (one, none) = (
        r#"{"sale":"spring","item":"phone","units":1}"#,
        r#"{"sale":"spring","item":"phone","units":0}"#,
    );
    for (token, lines, body, expected) in [
        ("nobody", json.as_str(), one, 401),
        (token.as_str(), json.as_str(), one, 409),
        (token.as_str(), json.as_str(), none, 422),
        (token.as_str(), key, one, 415),
    ] {
        for _ in 0..100 {
            let (status, answer) = test_server.send(token, "POST", "/v1/orders", lines, body);
            assert_eq!(status, expected, "{answer}");
        }
    }
    assert_eq!(test_server.terminate().0, Some(0));
    let log = std::fs::read_to_string(log).expect("the log exists");
    let lines = log.lines().count();
    assert!((2..=LINES_MAX).contains(&lines), "{lines} lines:\n{log}");
}

async fn closed_shop() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    // The task ends with the runtime of the test.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 16 * 1024];
            // A failed read is ignored, because the next request comes over another connection.
            let _ = stream.read(&mut bytes).await;
            let _ = stream
                .write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
        }
    });
    format!("http://{address}/hooks")
}

fn spec(n: u32) -> PurchaseSpec {
    PurchaseSpec::new(&format!("{NAME}.{n}"), &format!("cart-of-{NAME}-{n}"), "spring", 1)
}

fn shell(fixture: &ServerFixture) -> Connection {
    let conn =
        Connection::open(fixture.data_dir().join("doorbuster.sqlite3")).expect("the store's file");
    conn.busy_timeout(TIMEOUT).expect("a timeout");
    conn
}

struct Shop {
    fixture: ServerFixture,
    problems: Vec<String>,
}

impl Shop {
    /// Sends a request, checks the verdict, and records the answer if it is a problem.
    async fn ask(&mut self, bytes: &[u8], expected: &str) -> Reply {
        let reply = self.fixture.ask(bytes).await;
        assert_eq!(reply.verdict(), expected, "{reply}");
        if reply.status >= 400 {
            self.problems.push(reply.to_string());
        }
        reply
    }

    async fn buy(&mut self, n: u32) -> String {
        self.ask(&spec(n).bytes(), "201").await.id()
    }

    async fn operate(&mut self, path: &str, body: &Value, expected: &str) -> Reply {
        let key = format!("Authorization: Bearer {KEY}\r\n");
        self.ask(&request("POST", path, &key, Some(body).filter(|body| !body.is_null())), expected)
            .await
    }

    async fn press(&mut self, n: u32, order: &str, button: &str) {
        let opened = self.ask(&spec(n).order("POST", order, "/checkout"), "200").await.json();
        let url = opened["checkout_url"].as_str().expect("an address");
        let path = url.strip_prefix("http://shop.example").expect("the host of the request");
        self.ask(&request("POST", &format!("{path}/{button}"), "", None), "200").await;
    }

    async fn is(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.fixture
            .until(what, TIMEOUT, async || Some(self.fixture.get_ok(path).await).filter(&holds))
            .await
    }
}

/// Makes three orders: one is paid and refunded, one is paid twice, and one is cancelled after a
/// failed payment.
async fn money(shop: &mut Shop) {
    let (paid, twice, failed) = (shop.buy(1).await, shop.buy(2).await, shop.buy(3).await);
    shop.press(1, &paid, "pay").await;
    shop.press(2, &twice, "twice").await;
    shop.press(3, &failed, "fail").await;
    shop.is("paid", &format!("/v1/admin/orders/{paid}"), |order| order["state"] == "paid").await;
    let settled = |list: &Value| {
        list["refunds"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["state"] == "settled"))
    };
    shop.is("the second payment is refunded", "/v1/admin/refunds", settled).await;
    shop.operate(&format!("/v1/admin/orders/{paid}/refund"), &json!({}), "200").await;
    let all_settled = |list: &Value| {
        list["refunds"]
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["state"] == "settled"))
    };
    shop.is("the first payment is refunded", "/v1/admin/refunds", all_settled).await;
    shop.ask(&spec(3).order("POST", &failed, "/cancel"), "200").await;
    shop.ask(&spec(3).order("POST", &failed, "/cancel"), "200").await;
    shop.ask(&spec(1).order("POST", &paid, "/checkout"), "409 wrong_state").await;
    shop.ask(&spec(9).order("GET", &paid, ""), "404 not_found").await;
    let forged = json!({"type": "payment.captured", "data": {"order": NAME}});
    shop.ask(
        &request("POST", "/v1/payments/sandbox/webhook", "", Some(&forged)),
        "401 unauthenticated",
    )
    .await;
}

async fn trouble(shop: &mut Shop) {
    let again = PurchaseSpec { units: 2, ..spec(2) };
    shop.ask(&again.bytes(), "422 idempotency_key_reused").await;
    shop.ask(&spec(2).key("other").bytes(), "409 limit_reached").await;
    shop.ask(&spec(4).item("none").bytes(), "404 not_found").await;
    shop.ask(&spec(4).key(&format!("{NAME} with a space")).bytes(), "422 invalid_request").await;
    let body = json!({"sale": "spring", "item": "phone", "units": 1, "buyer": NAME});
    let odd = request(
        "POST",
        "/v1/orders",
        &format!("{}Idempotency-Key: k\r\n", signed_in(NAME)),
        Some(&body),
    );
    shop.ask(&odd, "422 invalid_request").await;
    let erased = request("GET", "/v1/orders", &signed_in("erased:0123"), None);
    shop.ask(&erased, "401 unauthenticated").await;
    shop.operate(
        "/v1/admin/blocks",
        &json!({"kind": "buyer", "value": format!("{NAME}.5"), "reason": "a robot"}),
        "201",
    )
    .await;
    shop.ask(&spec(5).bytes(), "403 forbidden").await;
    // With these triggers, a ticket of three units cannot be settled, and no action can be
    // recorded.
    let poison =
        "CREATE TRIGGER poison BEFORE INSERT ON orders WHEN NEW.units = 3 BEGIN SELECT raise(ABORT, 'poison'); END;
                  CREATE TRIGGER no_note BEFORE INSERT ON action BEGIN SELECT raise(ABORT, 'no note'); END;";
    shell(&shop.fixture).execute_batch(poison).expect("triggers");
    let lost = PurchaseSpec { units: 3, ..spec(6) }.item("case");
    shop.ask(&lost.bytes(), "503 unavailable").await;
    shop.operate(
        "/v1/admin/blocks",
        &json!({"kind": "buyer", "value": format!("{NAME}.6")}),
        "500 internal",
    )
    .await;
    shell(&shop.fixture)
        .execute_batch("DROP TRIGGER poison; DROP TRIGGER no_note")
        .expect("no triggers");
}

async fn dead_letters(shop: &mut Shop) {
    let some = |list: &Value| list["dead_letters"].as_array().is_some_and(|all| all.len() >= 2);
    let list = shop.is("dead letters exist", "/v1/admin/dead-letters?kind=delivery", some).await;
    let id = |at: usize| list["dead_letters"][at]["id"].as_str().expect("an id").to_owned();
    shop.operate(&format!("/v1/admin/dead-letters/{}/retry", id(0)), &Value::Null, "200").await;
    let why = json!({"reason": "the shop is closed"});
    shop.operate(&format!("/v1/admin/dead-letters/{}/discard", id(1)), &why, "200").await;
}

/// Falsifies a stored quota, waits until the audit has logged this fault, and corrects the quota.
async fn a_fault(shop: &mut Shop) {
    shell(&shop.fixture)
        .execute("UPDATE quota SET used = used + 1 WHERE buyer = ?1", [format!("{NAME}.2")])
        .expect("a row");
    shop.fixture
        .until("the audit finds the fault", TIMEOUT, async || {
            shop.fixture.stderr_text().contains("the audit found a fault").then_some(())
        })
        .await;
    shell(&shop.fixture)
        .execute("UPDATE quota SET used = used - 1 WHERE buyer = ?1", [format!("{NAME}.2")])
        .expect("a row");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_the_metrics_and_the_problems_name_no_buyer() {
    let fixture = ServerFixture::with(&[
        ("DOORBUSTER_LOG__FILTER", "info"),
        ("DOORBUSTER_WEBHOOKS__TRIES", "1"),
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
    ]);
    let mut shop = Shop { fixture, problems: Vec::new() };
    let hook = json!({"url": closed_shop().await, "types": ["*"]});
    shop.operate("/v1/admin/webhook-endpoints", &hook, "201").await;
    shop.fixture.open_sale("spring", &[("phone", 5, 1, 900), ("case", 9, 5, 900)]).await;
    money(&mut shop).await;
    trouble(&mut shop).await;
    dead_letters(&mut shop).await;
    a_fault(&mut shop).await;
    shop.fixture.step("spring", "close").await;
    let buyer = json!({"buyer": format!("{NAME}.1")});
    let mut orders = 0;
    loop {
        let erased = shop.operate("/v1/admin/erasures", &buyer, "200").await.json();
        orders += erased["orders"].as_u64().expect("a number");
        if erased["held_back"] == json!([]) {
            break;
        }
        // The erasure is not complete until the server has queried the sandbox about the checkout.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(orders, 1);

    let numbers = shop.fixture.ask(&request("GET", "/metrics", "", None)).await.to_string();
    assert!(numbers.contains("doorbuster_dead_letters{"), "{numbers}");
    assert!(!numbers.contains(NAME), "{numbers}");
    assert!(
        shop.problems.len() >= 10 && shop.problems.iter().all(|text| !text.contains(NAME)),
        "{:#?}",
        shop.problems
    );
    shop.fixture.ask_to_stop();
    shop.fixture.wait_for_end(TIMEOUT).expect("it ends");
    let log = shop.fixture.stderr_text();
    for line in [
        "failed to settle a ticket; recording it as a dead letter",
        "is a dead letter",
        "request failed",
        "refunding a payment that pays for no order",
        "found a fault",
    ] {
        assert!(log.contains(line), "{line:?} is missing in the log:\n{log}");
    }
    assert!(!log.contains(NAME), "the log names a buyer:\n{log}");
}

fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).expect("it exists").any(|entry| {
        let path = entry.expect("readable").path();
        let bytes = std::fs::read(path).expect("readable");
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn a_buyer_is_erased_from_a_shell() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let answers = storm(&temp_dir, &test_server, 20);
    let held =
        answers.iter().find(|answer| answer["state"] == "reserved").expect("a reserved order");
    let text = |name: &str| held[name].as_str().expect("a text");
    let (buyer, order) = (text("buyer"), text("id"));
    let erase = |more: &[&str]| {
        test_server.ask(&temp_dir, &[&["order", "erase", "--buyer", buyer], more].concat())
    };
    let on = erase(&["--yes"]);
    assert!(
        on.out().contains("the sale is not closed") && on.code() == Some(1),
        "{}{}",
        on.out(),
        on.err()
    );
    test_server.ask(&temp_dir, &["sale", "close", "spring", "--yes"]).stdout_of_success();
    let unpaid = erase(&["--dry-run"]);
    assert!(
        unpaid.out().contains("waits for its payment") && unpaid.code() == Some(1),
        "{}",
        unpaid.out()
    );
    test_server.ask(&temp_dir, &["order", "cancel", order, "--yes"]).stdout_of_success();
    assert!(erase(&[]).stderr_of_failure(2).contains("--yes"), "the command must require --yes");
    let would = erase(&["--dry-run"]).stdout_of_success();
    assert!(would.starts_with("1 order"), "{would}");
    assert!(would.contains("would be erased and marked erased:"), "{would}");
    assert!(
        test_server
            .ask(&temp_dir, &["order", "list", "--buyer", buyer])
            .stdout_of_success()
            .contains(order)
    );
    let done = erase(&["--yes"]).stdout_of_success();
    assert!(done.starts_with("1 order") && done.contains(" erased:"), "{done}");
    assert!(erase(&["--yes"]).stdout_of_success().contains("No rows of this buyer"));
    test_server.ask(&temp_dir, &["block", "add", "--buyer", buyer]).stdout_of_success();
    assert!(
        erase(&["--yes"]).stdout_of_success().contains("doorbuster block remove"),
        "the output must say how to remove the block"
    );
    let again = erase(&["--yes", "--json"]).json();
    let name = again["erased_as"].as_str().expect("a name");
    assert!(done.contains(name), "{done}");

    assert!(
        !test_server
            .ask(&temp_dir, &["order", "list", "--buyer", buyer])
            .stdout_of_success()
            .contains(order)
    );
    assert!(
        test_server.ask(&temp_dir, &["order", "show", order]).stdout_of_success().contains(name)
    );
    let csv = test_server.ask(&temp_dir, &["csv", "orders"]).stdout_of_success();
    assert!(csv.contains(name) && !csv.contains(&format!(",{buyer},")), "{csv}");
    test_server.ask(&temp_dir, &["reconcile"]).stdout_of_success();
    // The buyer is erased, so the audit finds each answer's order by its id, without the buyer.
    let audit = |more: &[&str]| {
        let mut command = program(&temp_dir);
        command
            .args(["audit", "--store"])
            .arg(test_server.data_dir())
            .arg("--answers")
            .arg(temp_dir.join("answers.jsonl"));
        run(command.args(more))
    };
    let output = audit(&[]).stdout_of_success();
    assert!(output.contains("erased buyers, checked by order id and not by buyer: 1."), "{output}");
    assert_eq!(audit(&["--json"]).json()["orders_erased"], 1);
    let data = test_server.data_dir().to_owned();
    assert_eq!(test_server.terminate().0, Some(0));
    assert!(holds(&data, "buyer.erase") && holds(&data, name), "the action must be recorded");
}
