//! Tests the client commands with a running server: a whole sale, from its draft, and its orders.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use doorbuster_api::value::Time;
use serde_json::{Value, json};

use crate::test_server::{CommandRun, KEY, TempDir, TestServer, program, run, until};

const PHONE: &str = "id=phone,title=Phone,stock=100,price=0.10CNY,limit=10,hold=5m";

/// Starts a server with an open sale of 100 phones.
pub fn open_sale(temp_dir: &TempDir) -> TestServer {
    let test_server = TestServer::open(temp_dir);
    test_server
        .ask(temp_dir, &["sale", "create", "spring", "--title", "Spring drop", "--item", PHONE])
        .stdout_of_success();
    test_server.ask(temp_dir, &["sale", "open", "spring"]).stdout_of_success();
    test_server
}

#[test]
fn a_sale_goes_from_draft_to_closed() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let ask = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);
    let output = ask(&["sale", "create", "spring", "--title", "Spring drop", "--item", PHONE])
        .stdout_of_success();
    assert!(
        output.starts_with(
            "spring is created, as a draft. Open it with: doorbuster sale open spring"
        ),
        "{output}"
    );
    let later = [
        "sale",
        "create",
        "later",
        "--title",
        "T",
        "--item",
        PHONE,
        "--starts-at",
        "2100-01-01T10:00:00Z",
    ];
    let output = ask(&later).stdout_of_success();
    assert!(output.ends_with("sale schedule later\nphone costs 0.10 CNY.\n"), "{output}");
    assert_eq!(
        ask(&["sale", "schedule", "later"]).stdout_of_success(),
        "later is scheduled to open at 2100-01-01T10:00:00.000Z.\n"
    );
    for (command, limit) in [("sale", "0"), ("sale", "500"), ("order", "201")] {
        let stderr = ask(&[command, "list", "--limit", limit]).stderr_of_failure(2);
        assert!(stderr.contains("--limit") && stderr.contains("200"), "{stderr}");
    }
    assert_eq!(ask(&["sale", "open", "spring"]).stdout_of_success(), "spring is open.\n");
    let listed = ask(&["sale", "list", "--phase", "open"]).stdout_of_success();
    assert!(listed.contains("spring") && listed.contains("Spring drop"), "{listed}");
    assert_eq!(ask(&["sale", "list", "--phase", "draft"]).stdout_of_success(), "No sales found.\n");

    let output = ask(&["sale", "adjust", "spring", "phone", "+50", "--reason", "recount"])
        .stdout_of_success();
    assert_eq!(output, "phone of spring has 150 units now; 150 of them are free.\n");
    let again = ["--reason", "damaged", "--idempotency-key", "broken-box"];
    for _ in 0..2 {
        let output = ask(&[&["sale", "adjust", "spring", "phone", "-20"][..], &again].concat())
            .stdout_of_success();
        assert_eq!(output, "phone of spring has 130 units now; 130 of them are free.\n");
    }
    let stderr = ask(&["sale", "adjust", "spring", "phone", "-131", "--reason", "theft"])
        .stderr_of_failure(1);
    assert!(stderr.ends_with("(wrong_state).\n") && stderr.lines().count() == 1, "{stderr}");

    assert_eq!(ask(&["sale", "pause", "spring"]).stdout_of_success(), "spring is paused.\n");
    assert_eq!(ask(&["sale", "resume", "spring"]).stdout_of_success(), "spring is open.\n");
    assert_eq!(
        ask(&["sale", "close", "spring", "--yes"]).stdout_of_success(),
        "spring is closed.\n"
    );
    assert_eq!(
        ask(&["sale", "close", "spring", "--yes"]).stdout_of_success(),
        "spring is closed.\n"
    );
    let stderr = ask(&["sale", "open", "spring"]).stderr_of_failure(1);
    assert!(stderr.ends_with("(wrong_state).\n"), "{stderr}");
    let shown = ask(&["sale", "show", "spring"]).stdout_of_success();
    assert!(
        shown.starts_with("spring: Spring drop is closed.\n") && shown.contains("130"),
        "{shown}"
    );
}

#[test]
fn a_sale_is_created_from_a_file_and_shown_as_json() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let file = temp_dir.join("winter.json");
    let item = json!({"id": "sled", "title": "Sled", "price": {"amount_minor": 500, "currency": "EUR"}, "stock": "unlimited"});
    let sale = json!({"id": "winter", "title": "Winter drop", "items": [item]});
    std::fs::write(&file, sale.to_string()).expect("the file is written");
    let path = file.to_str().expect("a UTF-8 path");
    let made = test_server.ask(&temp_dir, &["sale", "create", "--file", path, "--json"]);
    made.stdout_of_success();
    assert_eq!(made.json()["phase"], json!("draft"));
    assert_eq!(
        test_server.ask(&temp_dir, &["sale", "show", "winter", "--json"]).json(),
        made.json()
    );
    let shown = test_server.ask(&temp_dir, &["sale", "show", "winter"]).stdout_of_success();
    assert!(shown.contains("unlimited") && shown.contains("5.00 EUR"), "{shown}");
    let twice = test_server.ask(&temp_dir, &["sale", "create", "--file", path]);
    assert!(twice.stderr_of_failure(1).ends_with("(already_exists).\n"), "{}", twice.err());

    std::fs::write(&file, sale.to_string().replace("\"sled\"", "\"no sled\""))
        .expect("the file is written");
    let wrong = test_server.ask(&temp_dir, &["sale", "create", "--file", path, "--json"]);
    assert_eq!(wrong.stderr_of_failure(1), "");
    assert_eq!(wrong.json()["errors"][0]["pointer"], json!("/items/0/id"));
}

#[test]
fn a_front_door_is_changed_while_the_sale_runs_and_its_codes_are_shown_once() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let ask = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);
    let door = [
        "--access-codes",
        "required",
        "--min-level",
        "2",
        "--limit",
        "buyer=5/60",
        "--limit",
        "ip=none",
    ];
    let output = ask(&[&["sale", "edit", "spring"][..], &door].concat()).stdout_of_success();
    let shown = "Front door: access codes required, level 2 or higher, limit by buyer: 5 at once and 60 a minute, no limit by address.\n";
    assert_eq!(output, format!("spring is changed.\n{shown}"));
    assert!(ask(&["sale", "show", "spring"]).stdout_of_success().ends_with(shown));
    let output = ask(&["sale", "edit", "spring", "--limit", "default", "--title", "Summer drop"])
        .stdout_of_success();
    assert!(
        output.ends_with("Front door: access codes required, level 2 or higher.\n"),
        "{output}"
    );
    assert!(
        ask(&["sale", "show", "spring"])
            .stdout_of_success()
            .starts_with("spring: Summer drop is open.\n")
    );
    let file = temp_dir.join("patch.json");
    std::fs::write(&file, json!({"front_door": {"min_level": null}}).to_string())
        .expect("the file is written");
    let output = ask(&["sale", "edit", "spring", "--file", file.to_str().expect("a UTF-8 path")])
        .stdout_of_success();
    assert_eq!(output, "spring is changed.\nFront door: access codes required.\n");

    let output = ask(&["sale", "edit", "spring", "--pow-effort", "20000"]).stdout_of_success();
    assert!(
        output.ends_with("Front door: access codes required, proof of work with 20,000 keys.\n"),
        "{output}"
    );
    assert!(
        ask(&["sale", "edit", "spring", "--pow-effort", "99"])
            .stderr_of_failure(2)
            .contains("--pow-effort")
    );

    let codes =
        ask(&["sale", "codes", "spring", "--count", "3", "--uses", "2"]).stdout_of_success();
    assert_eq!(codes.lines().count(), 3, "{codes}");
    assert!(codes.lines().all(|code| code.len() == 19), "{codes}");
    let counted = ask(&["sale", "codes", "spring"]).stdout_of_success();
    assert_eq!(counted, "spring has 3 access codes for 6 buyers; used so far by 0 buyers.\n");
    assert!(ask(&["sale", "edit", "spring"]).stderr_of_failure(2).contains("nothing to change"));
    assert!(
        ask(&["sale", "edit", "spring", "--limit", "ip=5"])
            .stderr_of_failure(2)
            .contains("--limit")
    );
    assert!(
        ask(&["sale", "codes", "spring", "--count", "10001"])
            .stderr_of_failure(2)
            .contains("--count")
    );
}

#[test]
fn a_wrong_or_missing_key_is_reported() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let stderr = run(program(&temp_dir).args(["sale", "list", "--url", test_server.url()]))
        .stderr_of_failure(2);
    assert!(stderr.contains("DOORBUSTER_ADMIN_KEY"), "{stderr}");
    let stderr = run(program(&temp_dir).args([
        "sale",
        "list",
        "--url",
        test_server.url(),
        "--key",
        "guessed",
    ]))
    .stderr_of_failure(1);
    assert!(stderr.contains("check --key") && stderr.ends_with("(unauthenticated).\n"), "{stderr}");
    run(program(&temp_dir).args(["sale", "list", "--url", test_server.url(), "--key", KEY]))
        .stdout_of_success();
}

#[test]
fn a_token_buys_and_the_order_is_listed_shown_and_cancelled() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let data_dir = test_server.data_dir().to_str().expect("a UTF-8 path").to_owned();
    let token = run(program(&temp_dir).args(["token", "buyer", "alice", "--data-dir", &data_dir]))
        .stdout_of_success();
    let order = buy(test_server.url(), token.trim());
    let id = order["id"].as_str().expect("an order");
    let ask = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);

    let listed =
        ask(&["order", "list", "--sale", "spring", "--buyer", "alice", "--state", "reserved"])
            .stdout_of_success();
    assert!(listed.contains(id) && listed.contains("1.00 CNY"), "{listed}");
    assert_eq!(ask(&["order", "list", "--buyer", "bob"]).stdout_of_success(), "No orders found.\n");
    let shown = ask(&["order", "show", id]).stdout_of_success();
    assert!(shown.contains("10 units of phone in spring") && shown.contains("reserved"), "{shown}");
    for _ in 0..2 {
        let output = ask(&["order", "cancel", id, "--yes"]).stdout_of_success();
        assert_eq!(output, format!("{id} of alice for 10 units of phone is cancelled.\n"));
    }
    assert_eq!(ask(&["order", "show", id, "--json"]).json()["state"], json!("cancelled"));
    let missing = ask(&["order", "show", "ord_none"]);
    assert!(missing.stderr_of_failure(1).ends_with("(not_found).\n"), "{}", missing.err());
    assert_eq!(
        ask(&["order", "list", "--cursor", "xx"]).stderr_of_failure(1),
        "doorbuster: Invalid request: parameter cursor is not a cursor that this server issued for this \
         list (invalid_request).\n"
    );
}

#[test]
fn an_order_is_extended_paid_listed_and_refunded() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let data_dir = test_server.data_dir().to_str().expect("a UTF-8 path").to_owned();
    let token = run(program(&temp_dir).args(["token", "buyer", "alice", "--data-dir", &data_dir]))
        .stdout_of_success();
    let order = buy(test_server.url(), token.trim());
    let id = order["id"].as_str().expect("an order");
    let ask = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);

    let output = ask(&["order", "extend", id, "--secs", "600", "--reason", "a slow bank"])
        .stdout_of_success();
    assert!(
        output.starts_with(&format!("{id} of alice for 10 units of phone is reserved, until ")),
        "{output}"
    );
    ask(&["order", "extend", id]).stderr_of_failure(2);
    ask(&["order", "extend", id, "--secs", "1", "--pay-by", "2100-01-01T00:00:00Z"])
        .stderr_of_failure(2);
    assert_eq!(ask(&["order", "payments", id]).stdout_of_success(), "No payments found.\n");
    ask(&["order", "payments", id, "--order", id]).stderr_of_failure(2);
    assert_eq!(ask(&["order", "refunds"]).stdout_of_success(), "No refunds found.\n");
    assert!(ask(&["order", "refund", id]).stderr_of_failure(2).contains("--yes"));
    let early = ask(&["order", "refund", id, "--yes"]);
    assert!(early.stderr_of_failure(1).ends_with("(wrong_state).\n"));

    pay(test_server.url(), token.trim(), id);
    until("the order is paid", || {
        (ask(&["order", "show", id, "--json"]).json()["state"] == "paid").then_some(())
    });
    let listed = ask(&["order", "payments", "--order", id]).stdout_of_success();
    assert!(
        listed.contains("captured") && listed.contains("1.00 CNY") && listed.contains("sandbox"),
        "{listed}"
    );
    assert_eq!(ask(&["order", "payments", id]).stdout_of_success(), listed);
    let report = ask(&["reconcile"]).stdout_of_success();
    assert!(
        report.matches("1.00 CNY").count() == 3 && report.contains("0.00 CNY"),
        "wrong amounts in the columns due, captured or standing: {report}"
    );
    for _ in 0..2 {
        let refund = ["order", "refund", id, "--reason", "broken in transit", "--yes"];
        let output = ask(&refund).stdout_of_success();
        assert_eq!(output, format!("{id} of alice for 10 units of phone is refunded.\n"));
    }
    let listed = ask(&["order", "refunds", id]).stdout_of_success();
    assert!(listed.contains("ref_") && listed.contains("operator"), "{listed}");
    let shown = ask(&["order", "show", id]).stdout_of_success();
    for output in
        ["by buyer", "a slow bank", "by provider:sandbox", "operator:configured: broken in transit"]
    {
        assert!(shown.contains(output), "{output}: {shown}");
    }
}

#[test]
fn load_from_another_process_is_answered_and_its_answers_are_audited() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let data_dir = test_server.data_dir().to_str().expect("a UTF-8 path").to_owned();
    let answers = temp_dir.join("answers.jsonl").display().to_string();
    let storm = "storm --sale spring --item phone --buyers 300 --units 10 --json".split(' ');
    run(program(&temp_dir).args(storm.clone()).args(["--generators", "0"])).stderr_of_failure(2);
    let places = ["--data-dir", &data_dir, "--answers", &answers, "--url", test_server.url()];
    let two = ["--generators", "2"];
    let stormed: CommandRun = run(program(&temp_dir).args(storm).args(places).args(two));
    stormed.stdout_of_success();
    assert_eq!(stormed.json()["answers"], json!({"reserved": 10, "sold_out": 290}));
    let audited =
        run(program(&temp_dir).args(["audit", "--data-dir", &data_dir, "--answers", &answers]))
            .stdout_of_success();
    assert!(audited.ends_with("10 orders and 300 answers checked: no findings.\n"), "{audited}");
}

#[test]
fn load_without_a_sale_fails() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let own = test_server.data_dir().join("buyer_secret");
    let other = temp_dir.join("other_secret");
    std::fs::write(&other, "a-secret-of-32-bytes-that-nobody-signs-with")
        .expect("the file is written");
    for (sale, secret, words) in [
        ("spring", &other, "was unauthenticated: is --buyer-secret-file"),
        ("autumn", &own, "was not_found: are --sale"),
    ] {
        for more in [&[][..], &["--json"]] {
            let mut command = program(&temp_dir);
            command
                .args([
                    "storm",
                    "--item",
                    "phone",
                    "--buyers",
                    "5",
                    "--url",
                    test_server.url(),
                    "--sale",
                    sale,
                ])
                .args(more);
            let stormed = run(command.arg("--buyer-secret-file").arg(secret));
            assert!(stormed.stderr_of_failure(1).contains(words), "{}", stormed.err());
            assert!(!stormed.out().contains("Every buyer has"), "{}", stormed.out());
        }
    }
}

/// Starts a proxy that drops the answer to each request that contains `word`. Returns its URL.
pub fn lossy_proxy(url: &str, word: &'static str) -> String {
    let upstream = url.strip_prefix("http://").expect("an address").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let mut near = near.expect("a connection");
            let mut far = TcpStream::connect(&upstream).expect("the server listens");
            let (mut client, mut server) = (
                near.try_clone().expect("a second handle"),
                far.try_clone().expect("a second handle"),
            );
            let is_lost = Arc::new(AtomicBool::new(false));
            let losing = is_lost.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4_096];
                while let Ok(read @ 1..) = client.read(&mut bytes) {
                    losing.fetch_or(
                        String::from_utf8_lossy(&bytes[..read]).contains(word),
                        Ordering::SeqCst,
                    );
                    server.write_all(&bytes[..read]).expect("the server reads the request");
                }
            });
            std::thread::spawn(move || {
                let mut bytes = [0; 4_096];
                while let Ok(read @ 1..) = far.read(&mut bytes) {
                    if is_lost.load(Ordering::SeqCst) || near.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                // An error is ignored, because the client may have disconnected.
                let _ = near.shutdown(Shutdown::Both);
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn an_extension_whose_answer_is_lost_is_repeated_and_done_once() {
    let temp_dir = TempDir::new();
    let test_server = open_sale(&temp_dir);
    let order = buy(test_server.url(), &test_server.token(&temp_dir, "alice"));
    let id = order["id"].as_str().expect("an order");
    let url = lossy_proxy(test_server.url(), "/extend");
    let extend = ["order", "extend", id, "--secs", "600", "--url", &url, "--key", KEY];
    let stderr = run(program(&temp_dir).args(extend)).stderr_of_failure(1);
    let (_, hint) = stderr
        .split_once("--pay-by ")
        .unwrap_or_else(|| panic!("the error has no command to repeat: {stderr}"));
    let pay_by = hint.split_whitespace().next().expect("a time");
    let shown = test_server.ask(&temp_dir, &["order", "show", id, "--json"]).json();
    assert_eq!(shown["pay_by"], pay_by, "the order must be extended");
    let output = test_server
        .ask(&temp_dir, &["order", "extend", id, "--pay-by", pay_by])
        .stdout_of_success();
    assert!(output.ends_with(&format!(" is reserved, until {pay_by}.\n")), "{output}");
    let millis = |time: &Value| time.as_str().and_then(Time::parse).expect("a time").millis();
    let shown = test_server.ask(&temp_dir, &["order", "show", id, "--json"]).json();
    assert_eq!(millis(&shown["pay_by"]) - millis(&order["pay_by"]), 600_000, "a second extension");
}

/// Buys ten phones, with the same request as the sale's page.
pub fn buy(url: &str, token: &str) -> Value {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let client =
            reqwest::Client::builder().tls_certs_only([]).no_proxy().build().expect("a client");
        let request = client
            .post(format!("{url}/v1/orders"))
            .bearer_auth(token)
            .header("idempotency-key", "k1");
        let body = json!({"sale": "spring", "item": "phone", "units": 10});
        let answer = request.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 201);
        answer.json().await.expect("an order")
    })
}

fn pay(url: &str, token: &str, order: &str) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let client =
            reqwest::Client::builder().tls_certs_only([]).no_proxy().build().expect("a client");
        let opening =
            client.post(format!("{url}/v1/orders/{order}/checkout")).bearer_auth(token).send();
        let opened: Value = opening.await.expect("an answer").json().await.expect("a checkout");
        let page = opened["checkout_url"].as_str().expect("an address");
        let paid = client.post(format!("{page}/pay")).send().await.expect("an answer");
        assert_eq!(paid.status(), 200);
    });
}

#[test]
fn a_buyer_and_a_network_are_blocked_and_unblocked() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let ask = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);
    assert_eq!(ask(&["block", "list"]).stdout_of_success(), "There are no blocks.\n");
    let output = ask(&[
        "block",
        "add",
        "--buyer",
        "robot-7",
        "--for",
        "1h",
        "--reason",
        "presses 40 times a second",
    ])
    .stdout_of_success();
    assert!(output.starts_with("robot-7 is blocked until 20"), "{output}");
    let output = ask(&["block", "add", "--ip", "192.0.2.99/24"]).stdout_of_success();
    assert!(output.starts_with("192.0.2.0/24 is blocked until it is removed (blk_"), "{output}");
    let id = output.split(['(', ')']).nth(1).expect("the id of the block").to_owned();
    let listed = ask(&["block", "list"]).stdout_of_success();
    assert!(
        listed.contains("robot-7") && listed.contains(&id) && listed.contains("presses 40 times"),
        "{listed}"
    );
    assert!(
        ask(&["block", "add", "--ip", "example.com"])
            .stderr_of_failure(1)
            .contains("must be an address or a network")
    );
    ask(&["block", "add", "--for", "1h"]).stderr_of_failure(2);
    ask(&["block", "add", "--buyer", "a", "--ip", "::1"]).stderr_of_failure(2);
    assert_eq!(ask(&["block", "remove", &id]).stdout_of_success(), format!("{id} is removed.\n"));
    assert!(ask(&["block", "remove", &id]).stderr_of_failure(1).ends_with("(not_found).\n"));
    assert!(!ask(&["block", "list"]).stdout_of_success().contains("192.0.2.0"));
}
