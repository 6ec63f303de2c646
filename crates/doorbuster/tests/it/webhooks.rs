//! Tests webhooks as a shop receives them, and the commands for webhook endpoints. The shop must
//! get each change of every order in sequence, even if the server is killed.
//!
//! `DOORBUSTER_KILL_ROUNDS` sets the number of rounds [default: 5]. `DOORBUSTER_KILL_SEED` sets the
//! seed [default: a new seed each time]. A failed test prints its seed.

mod listener;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorbuster_base::signing::{SigningKey, format_secret, sign};
use doorbuster_testkit::ports::free_ports;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::crash_windows::client::{HttpConnection, PurchaseSpec, request};
use crate::crash_windows::fixture::{ServerFixture, operator};
use crate::kill::number;
use crate::test_server::{KEY, TempDir, program, run};

use listener::Listener;

/// The longest time from the last start of the server until all events are delivered. The time is
/// long because some attempts fail.
const TIMEOUT: Duration = Duration::from_secs(240);

/// The accepted events (order id, event id, type) in sequence of arrival, with repetitions.
type Taken = Arc<Mutex<Vec<(String, String, String)>>>;

/// Starts a shop that accepts each message with a probability of 80 %, and refuses it otherwise.
async fn shop(seed: u64) -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let taken = Taken::default();
    let kept = taken.clone();
    // The task ends with the runtime of the test.
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(serve(stream, kept.clone(), SmallRng::seed_from_u64(seed ^ n)));
        }
    });
    (address, taken)
}

async fn serve(mut stream: TcpStream, taken: Taken, mut dice: SmallRng) {
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        while let Some((body, end)) = message(&bytes) {
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..4))).await;
            let takes = dice.random_ratio(4, 5);
            if takes {
                // The shop keeps the event even if the server dies before reading the answer.
                let text = |path: &str| {
                    body.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let event = (text("/data/order/id"), text("/id"), text("/type"));
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
            bytes.drain(..end);
            let status = if takes { "204 Fine" } else { "503 Not now" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        let mut more = [0; 4_096];
        match stream.read(&mut more).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&more[..count]),
        }
    }
}

/// Returns the first request's body and whole length, or `None` if the request is incomplete.
fn message(bytes: &[u8]) -> Option<(Value, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
    let end = head + 4 + length;
    let body = bytes.get(head + 4..end)?;
    Some((serde_json::from_slice(body).expect("JSON"), end))
}

/// Buys units, and cancels some of the orders, until the server is killed.
async fn trade(address: SocketAddr, round: u64, seed: u64) {
    let mut dice = SmallRng::seed_from_u64(seed);
    for n in 0.. {
        let Ok(mut connection) = HttpConnection::connect(address).await else { return };
        let spec = PurchaseSpec::new(&format!("b{round}-{n}"), "k", "spring", 1);
        let Ok(bought) = connection.ask(&spec.bytes()).await else { return };
        if bought.status == 201 && dice.random_ratio(1, 2) {
            let cancel =
                operator("POST", &format!("/v1/admin/orders/{}/cancel", bought.id()), "", None);
            if connection.ask(&cancel).await.is_err() {
                return;
            }
        }
    }
}

async fn histories(fixture: &ServerFixture) -> HashMap<String, Vec<String>> {
    let mut histories = HashMap::new();
    for order in fixture.orders("spring").await {
        let id = order["id"].as_str().expect("an id").to_owned();
        let shown = fixture.get_ok(&format!("/v1/admin/orders/{id}")).await;
        let events = shown["history"].as_array().expect("a history").iter();
        histories.insert(
            id,
            events.map(|entry| entry["event"].as_str().expect("a type").to_owned()).collect(),
        );
    }
    histories
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_receives_every_event_in_order_when_the_server_is_killed_during_delivery() {
    let rounds = number("DOORBUSTER_KILL_ROUNDS").unwrap_or(5);
    let seed = number("DOORBUSTER_KILL_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("DOORBUSTER_KILL_ROUNDS={rounds} DOORBUSTER_KILL_SEED={seed}");
    let mut dice = SmallRng::seed_from_u64(seed);
    let (address, taken) = shop(seed).await;
    let mut fixture = ServerFixture::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]);
    let endpoint = json!({"url": format!("http://{address}/"), "types": ["*"]});
    let made = fixture.admin("POST", "/v1/admin/webhook-endpoints", Some(&endpoint)).await;
    assert_eq!(made.status, 201, "{made}");
    fixture.open_sale("spring", &[("phone", 1_000_000, 1, 900)]).await;
    for round in 0..rounds {
        let trading = tokio::spawn(trade(fixture.address, round, seed + round));
        tokio::time::sleep(Duration::from_micros(dice.random_range(1_000..700_000))).await;
        fixture.kill();
        trading.await.expect("no panic");
        while dice.random_ratio(1, 3) {
            fixture.restart_and_kill_after(Duration::from_micros(dice.random_range(0..400_000)));
        }
        fixture.restart();
    }
    let histories = histories(&fixture).await;
    let level = async || {
        let endpoints = fixture.get_ok("/v1/admin/webhook-endpoints").await;
        let one = &endpoints["endpoints"][0];
        (one["waiting"] == 0 && one["failing"] == 0).then_some(())
    };
    fixture.until("everything is delivered", TIMEOUT, level).await;
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut received: HashMap<String, Vec<String>> = HashMap::new();
    let mut seen = HashSet::new();
    for (order, id, what) in taken.iter().filter(|(order, _, _)| !order.is_empty()) {
        if seen.insert(id) {
            received.entry(order.clone()).or_default().push(what.clone());
        }
    }
    println!("{} orders, {} events, {} messages taken", histories.len(), seen.len(), taken.len());
    assert!(!histories.is_empty(), "the load made no order");
    assert_eq!(received, histories, "each order's events must arrive in sequence");
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_managed_and_tested_from_a_shell() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]);
    fixture.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let url = format!("http://{}", fixture.address);
    let ask = |arguments: &[&str]| {
        let mut command = program(&fixture.temp_dir);
        run(command.args(arguments).env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY))
    };
    assert_eq!(
        ask(&["webhook", "endpoint", "list"]).stdout_of_success(),
        "There are no endpoints.\n"
    );
    assert_eq!(ask(&["dead-letter", "list"]).stdout_of_success(), "There are no dead letters.\n");
    let [port] = free_ports();
    let address = format!("http://127.0.0.1:{port}/");
    let added =
        ask(&["webhook", "endpoint", "add", &address, "--type", "order.reserved", "--json"]).json();
    let text = |name: &str| added[name].as_str().expect("a text").to_owned();
    let (id, secret) = (text("id"), text("secret"));
    let (mut listener, mut next) = Listener::start(&fixture.temp_dir, port, &secret);
    let order = fixture.buy(&PurchaseSpec::new("anna", "k", "spring", 1)).await.id();
    let message: Value = serde_json::from_str(&next()).expect("JSON");
    let notices = BufReader::new(listener.0.stderr.take().expect("piped output"));
    let notice = notices.lines().next().expect("it prints").expect("text");
    assert_eq!(notice, format!("listening on {address}"));
    assert_eq!(
        (&message["type"], &message["data"]["order"]["id"]),
        (&json!("order.reserved"), &json!(order))
    );
    assert!(ask(&["webhook", "endpoint", "list"]).stdout_of_success().contains(&id));
    let level = async || {
        (fixture.get_ok(&format!("/v1/admin/webhook-endpoints/{id}")).await["waiting"] == 0)
            .then_some(())
    };
    fixture.until("no delivery waits", TIMEOUT, level).await;
    assert_eq!(
        ask(&["webhook", "deliveries", &id]).stdout_of_success(),
        "The endpoint has no failed deliveries.\n"
    );
    let event = message["id"].as_str().expect("an id");
    assert_eq!(
        ask(&["webhook", "redeliver", &id, event]).stdout_of_success(),
        format!("{event} will be sent again.\n")
    );
    let again: Value = serde_json::from_str(&next()).expect("JSON");
    assert_eq!(again, message);
    let rotated =
        ask(&["webhook", "endpoint", "rotate", &id, "--overlap", "1h"]).stdout_of_success();
    assert!(rotated.contains("whsec_") && !rotated.contains(&secret), "{rotated}");
    let edited =
        ask(&["webhook", "endpoint", "edit", &id, "--enabled", "false"]).stdout_of_success();
    assert_eq!(edited, format!("{id} at {address} gets nothing.\n"));
    let discarded = ask(&["dead-letter", "discard", "--endpoint", &id, "--why", "a test", "--yes"]);
    assert_eq!(discarded.stdout_of_success(), "0 are discarded.\n");
    assert_eq!(
        ask(&["webhook", "endpoint", "remove", &id, "--yes"]).stdout_of_success(),
        format!("{id} is removed.\n")
    );
    assert!(
        ask(&["webhook", "endpoint", "remove", &id, "--yes"])
            .stderr_of_failure(1)
            .ends_with("(not_found).\n")
    );
    assert!(
        ask(&["webhook", "listen", "--secret", "mine"]).stderr_of_failure(2).contains("whsec_")
    );
    assert!(
        ask(&["dead-letter", "retry", "dlv_1"]).stderr_of_failure(1).ends_with("(not_found).\n")
    );
    assert!(
        ask(&["dead-letter", "show", "dlv_1"]).stderr_of_failure(1).ends_with("(not_found).\n")
    );
    for which in ["dlv_1", "--all"] {
        let discard = ["dead-letter", "discard", which, "--reason", "none"];
        assert!(ask(&discard).stderr_of_failure(2).contains("--yes"), "{which}");
    }
    let only = ["dead-letter", "discard", "--all", "--kind", "ticket", "--why", "a test", "--yes"];
    assert_eq!(ask(&only).stdout_of_success(), "0 are discarded.\n");
    let discarded = ask(&["dead-letter", "discard", "dlv_1", "--reason", "none", "--yes"]);
    assert!(discarded.stderr_of_failure(1).ends_with("(not_found).\n"));
    assert_eq!(ask(&["dead-letter", "retry", "--all"]).stdout_of_success(), "0 are retried.\n");
    for gone in [id.as_str(), "end_x"] {
        let stderr = ask(&["dead-letter", "retry", "--endpoint", gone]).stderr_of_failure(1);
        assert!(
            stderr.contains("there is no such endpoint") && stderr.ends_with("(not_found).\n"),
            "{stderr}"
        );
        assert!(
            ask(&["dead-letter", "discard", "--endpoint", gone, "--why", "a test", "--yes"])
                .stderr_of_failure(1)
                .contains("no such")
        );
        let refused = ask(&["dead-letter", "retry", "--endpoint", gone, "--json"]);
        assert_eq!(
            (refused.stderr_of_failure(1).as_str(), &refused.json()["code"]),
            ("", &json!("not_found"))
        );
    }
    for unclear in [
        &["retry"][..],
        &["retry", "dlv_1", "--all"],
        &["retry", "--endpoint", "end_x", "--all"],
        &["retry", "--endpoint", "end_x", "--kind", "refund"],
        &["discard", "--all", "--yes"],
    ] {
        ask(&[&["dead-letter"], unclear].concat()).stderr_of_failure(2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_refuses_forged_events_and_shows_genuine_ones() {
    let (temp_dir, secret) = (TempDir::new(), format_secret(&[7; 32]));
    let key = SigningKey::parse(&secret).expect("a secret");
    let mut command = program(&temp_dir);
    let listen = ["webhook", "listen", "--port", "0", "--secret", &secret];
    let mut child = command.args(listen).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped output")).lines();
    let _listener = Listener(child);
    let mut next = || lines.next().expect("it prints").expect("text");
    let first = next();
    let address =
        first.strip_prefix("listening on http://").and_then(|address| address.strip_suffix('/'));
    let address: SocketAddr = address.and_then(|address| address.parse().ok()).expect("an address");
    let id = "evt_0000000000000042_f2aa95665c";
    let body = json!({"id": id, "type": "order.paid", "timestamp": "2026-11-20T10:00:42.000Z",
                      "data": {"order": {"id": "ord_1"}}});
    // Sends the message with the timestamp `at` and with a signature of the text `signed`.
    let send = async |at: i64, signed: &str| {
        let signature = sign(id, at, signed.as_bytes(), std::slice::from_ref(&key));
        let headers = format!(
            "webhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\n"
        );
        let mut shop = HttpConnection::connect(address).await.expect("it listens");
        shop.ask(&request("POST", "/", &headers, Some(&body))).await.expect("an answer").status
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("seconds");
    let genuine = body.to_string();
    assert_eq!(send(now, "another text").await, 401);
    assert_eq!(next(), "refused: no signature matches");
    assert_eq!(send(now - 600, &genuine).await, 401);
    assert_eq!(next(), "refused: webhook-timestamp is too old or too new");
    assert_eq!(send(now, &genuine).await, 204);
    let shown: Vec<String> = (0..6).map(|_| next()).collect();
    let head =
        "2026-11-20T10:00:42.000Z  order.paid  evt_0000000000000042_f2aa95665c  valid signature";
    assert_eq!(shown, [head, "{", "  \"order\": {", "    \"id\": \"ord_1\"", "  }", "}"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_retried_and_discarded_from_a_shell() {
    let fixture = ServerFixture::with(&[
        ("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"),
        ("DOORBUSTER_WEBHOOKS__TRIES", "1"),
    ]);
    fixture.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let url = format!("http://{}", fixture.address);
    let ask = |arguments: &[&str]| {
        let mut command = program(&fixture.temp_dir);
        run(command.args(arguments).env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY))
    };
    // No server listens at the address yet, so the first attempt fails.
    let [port] = free_ports();
    let address = format!("http://127.0.0.1:{port}/");
    let added =
        ask(&["webhook", "endpoint", "add", &address, "--type", "order.reserved", "--json"]).json();
    let secret = added["secret"].as_str().expect("a secret");
    let mut orders = Vec::new();
    for buyer in ["anna", "bert"] {
        orders.push(fixture.buy(&PurchaseSpec::new(buyer, "k", "spring", 1)).await.id());
    }
    let given_up = async || {
        let list = fixture.get_ok("/v1/admin/dead-letters").await;
        list["dead_letters"].as_array().filter(|all| all.len() == 2).cloned()
    };
    let letters = fixture.until("two dead letters", TIMEOUT, given_up).await;
    let of = |order: &str| {
        let letter = letters
            .iter()
            .find(|letter| letter["about"].as_str().is_some_and(|about| about.ends_with(order)));
        letter
            .and_then(|letter| letter["id"].as_str())
            .unwrap_or_else(|| panic!("{letters:?}"))
            .to_owned()
    };
    let (retried, discarded) = (of(&orders[0]), of(&orders[1]));
    let listed = ask(&["dead-letter", "list", "--kind", "delivery"]).stdout_of_success();
    assert!([&retried, &discarded].iter().all(|letter| listed.contains(*letter)), "{listed}");
    assert_eq!(
        ask(&["dead-letter", "list", "--kind", "refund"]).stdout_of_success(),
        "There are no dead letters.\n"
    );
    let whole = ask(&["dead-letter", "show", &retried, "--json"]).json();
    assert_eq!(
        (&whole["id"], &whole["message"]["type"]),
        (&json!(retried), &json!("order.reserved"))
    );
    assert_eq!(whole["message"]["data"]["order"]["id"], json!(orders[0]));
    let shown = ask(&["dead-letter", "show", &retried]).stdout_of_success();
    for part in [&retried, "order.reserved", whole["error"].as_str().expect("why"), "\"data\": {"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (_listener, mut next) = Listener::start(&fixture.temp_dir, port, secret);
    assert_eq!(
        ask(&["dead-letter", "retry", &retried]).stdout_of_success(),
        format!("{retried} is retried.\n")
    );
    let message: Value = serde_json::from_str(&next()).expect("JSON");
    assert_eq!(message["data"]["order"]["id"], json!(orders[0]));
    let discard = ["dead-letter", "discard", &discarded, "--reason", "taken from the export"];
    let let_be = ask(&[&discard[..], &["--yes"]].concat()).stdout_of_success();
    assert_eq!(let_be, format!("{discarded} is discarded.\n"));
    let nothing = async || {
        (ask(&["dead-letter", "list"]).stdout_of_success() == "There are no dead letters.\n")
            .then_some(())
    };
    fixture.until("no dead letters", TIMEOUT, nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_row_is_a_dead_letter_and_one_of_a_newer_program_waits() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")]);
    fixture.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let (address, taken) = shop(u64::MAX).await;
    let endpoint = json!({"url": format!("http://{address}/"), "types": ["*"]});
    let added = fixture.admin("POST", "/v1/admin/webhook-endpoints", Some(&endpoint)).await;
    assert_eq!(added.status, 201, "{added}");
    let deliveries = format!(
        "/v1/admin/webhook-endpoints/{}/deliveries",
        added.json()["id"].as_str().expect("an id")
    );
    let before = fixture.buy(&PurchaseSpec::new("anna", "k", "spring", 1)).await.id();
    // Adds an event with an unknown actor and an event with an unknown type. A damaged store or the
    // store of a later version may have such events.
    let store = rusqlite::Connection::open(fixture.data_dir().join("doorbuster.sqlite3"))
        .expect("the store's file");
    store.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    let sql = "INSERT INTO event (type, sale_id, at, actor)
               VALUES ('sale.opened', 'spring', 1, 'nobody'), ('sale.moved', 'spring', 2, 'engine')";
    store.execute_batch(sql).expect("valid SQL");
    let after = fixture.buy(&PurchaseSpec::new("bert", "k", "spring", 1)).await.id();
    let delivered = async || {
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        [&before, &after]
            .iter()
            .all(|order| taken.iter().any(|(of, ..)| of == *order))
            .then_some(())
    };
    fixture.until("the other events are delivered", TIMEOUT, delivered).await;
    let letter = fixture.until("the dead letter exists", TIMEOUT, async || {
        let list = fixture.get_ok("/v1/admin/dead-letters").await;
        list["dead_letters"].as_array().and_then(|all| all.first().cloned())
    });
    let letter = letter.await;
    assert_eq!((&letter["type"], &letter["about"]), (&json!("sale.opened"), &json!("sale:spring")));
    assert!(
        letter["error"].as_str().is_some_and(|error| error.contains("has an unknown type")),
        "{letter}"
    );
    let shown = fixture
        .get_ok(&format!("/v1/admin/dead-letters/{}", letter["id"].as_str().expect("an id")))
        .await;
    assert_eq!((&shown["id"], &shown["message"]), (&letter["id"], &Value::Null), "wrong message");
    let waits = fixture.until("the newer event waits", TIMEOUT, async || {
        let list = fixture.get_ok(&deliveries).await;
        list["deliveries"]
            .as_array()?
            .iter()
            .find(|one| one["type"] == "sale.moved" && one["error"] != Value::Null)
            .cloned()
    });
    let waits = waits.await;
    assert!(
        waits["error"].as_str().is_some_and(|error| error.contains("unknown to this version")),
        "{waits}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_added_from_a_shell_without_its_password_on_the_command_line() {
    let fixture = ServerFixture::with(&[("DOORBUSTER_BROKERS__HOSTS", "rabbit.internal:5672")]);
    let url = format!("http://{}", fixture.address);
    let file = fixture.temp_dir.join("rabbit.url");
    let ask = |address: &str, arguments: &[&str]| {
        std::fs::write(&file, format!("{address}\n")).expect("the file is written");
        let mut command = program(&fixture.temp_dir);
        let command =
            command.args(arguments).stdin(std::fs::File::open(&file).expect("the file exists"));
        run(command.env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY))
    };
    let add = ["webhook", "endpoint", "add", "-", "--type", "order.paid"];
    let added =
        ask("amqp://shop:s3cr3t@rabbit.internal/live?exchange=events", &add).stdout_of_success();
    assert!(
        added.ends_with(
            " at amqp://shop:***@rabbit.internal/live?exchange=events gets order.paid.\n"
        ),
        "{added}"
    );
    let id = added.split(' ').next().expect("an id");
    let edited = ask(
        "amqp://shop:n3w@rabbit.internal/live",
        &["webhook", "endpoint", "edit", id, "--to", "-"],
    )
    .stdout_of_success();
    assert_eq!(edited, format!("{id} at amqp://shop:***@rabbit.internal/live gets order.paid.\n"));
    let listed = ask("", &["webhook", "endpoint", "list"]).stdout_of_success();
    assert!(listed.contains("shop:***@") && !listed.contains("n3w"), "{listed}");
    let refused = ask("amqp://shop:s3cr3t@elsewhere.internal/live", &add).stderr_of_failure(1);
    assert!(refused.contains("brokers.hosts") && !refused.contains("s3cr3t"), "{refused}");
    assert!(
        ask("", &["webhook", "endpoint", "rotate", id])
            .stderr_of_failure(1)
            .ends_with("(wrong_state).\n")
    );
}
