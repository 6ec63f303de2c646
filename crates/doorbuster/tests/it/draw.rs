//! Tests the command `draw verify`, with data from files and with data from a server that has a
//! waiting room.

use std::path::Path;

use serde_json::json;

use crate::test_server::{CommandRun, KEY, TempDir, TestServer, program, run, stand_in};

/// The seed of the draw. Python's `hmac` and `hashlib` computed the expected results from this
/// seed.
const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const COMMITMENT: &str = "sha256:630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd";
const ORDER: [&str; 5] = ["erin", "alice", "carol", "bob", "dave"];

fn verify(temp_dir: &TempDir, arguments: &[&str]) -> CommandRun {
    run(program(temp_dir).args(["draw", "verify"]).args(arguments))
}

fn write(path: &Path, lines: &[&str]) -> String {
    std::fs::write(path, lines.join("\n")).expect("the file is written");
    path.to_str().expect("a UTF-8 path").to_owned()
}

#[test]
fn a_draw_is_repeated_from_files_alone() {
    let temp_dir = TempDir::new();
    let buyers = write(&temp_dir.join("buyers"), &["alice", "bob", "carol", "dave", "erin"]);
    let order = write(&temp_dir.join("order"), &ORDER);
    let honest = [
        "--seed",
        SEED,
        "--commitment",
        COMMITMENT,
        "--participants",
        buyers.as_str(),
        "--order",
        order.as_str(),
    ];
    let output = verify(&temp_dir, &honest).stdout_of_success();
    assert!(output.starts_with(&format!("1\t{}\n2\t{}\n", ORDER[0], ORDER[1])), "{output}");
    assert!(output.ends_with("5 participants: the draw agrees with its commitment.\n"), "{output}");
    let other = write(&temp_dir.join("other"), &[ORDER[1], ORDER[0], ORDER[2], ORDER[3], ORDER[4]]);
    let known = ["--seed", SEED, "--participants", &buyers];
    let uncommitted = verify(&temp_dir, &known).stderr_of_failure(2);
    assert!(uncommitted.contains("--commitment"), "{uncommitted}");
    let more = ["--commitment", COMMITMENT, "--order", &other, "--json"];
    let wrong = verify(&temp_dir, &[&known[..], &more].concat());
    assert_eq!(wrong.code(), Some(1));
    assert_eq!(
        wrong.json()["findings"][0],
        json!(format!("rank 1 belongs to {}, but the claimed order has {}", ORDER[0], ORDER[1]))
    );
    let changed = verify(
        &temp_dir,
        &[
            "--seed",
            &SEED.replace("00", "ff"),
            "--commitment",
            COMMITMENT,
            "--participants",
            &buyers,
        ],
    );
    assert_eq!(changed.code(), Some(1));
    assert!(changed.out().contains("does not match the seed"), "{}", changed.out());
    assert!(verify(&temp_dir, &["--seed", SEED]).stderr_of_failure(2).contains("--participants"));
    let text = verify(&temp_dir, &["--item", "phone", "--key", "k"]).stderr_of_failure(2);
    assert!(text.contains("--sale <SALE>") && text.contains("--seed <HEX>"), "{text}");
}

#[test]
fn a_list_of_participants_may_be_longer_than_other_answers() {
    let temp_dir = TempDir::new();
    let url = stand_in(|path| match path {
        "/v1/sales/spring/draw" => json!({
            "commitment": COMMITMENT, "seed": SEED, "algorithm": "hmac-sha256",
            "participants": 5, "item": null
        })
        .to_string(),
        // The zeros before the first rank make the list longer than 64 MiB.
        "/v1/admin/sales/spring/draw.csv" => {
            let ranked = (1..).zip(ORDER).map(|(rank, buyer)| format!("{rank},{buyer}\r\n"));
            let zeros = "0".repeat(65 * 1024 * 1024);
            format!("rank,buyer\r\n{zeros}{}", ranked.collect::<String>())
        }
        other => panic!("{other} was requested"),
    });
    let read = verify(&temp_dir, &["--url", &url, "--sale", "spring", "--key", KEY]);
    let output = read.stdout_of_success();
    assert!(output.ends_with("5 participants: the draw agrees with its commitment.\n"), "{output}");
}

fn enter(temp_dir: &TempDir, test_server: &TestServer, buyer: &str) {
    let data_dir = test_server.data_dir().to_str().expect("a UTF-8 path");
    let token =
        run(program(temp_dir).args(["token", "buyer", "--data-dir", data_dir, "--", buyer]))
            .stdout_of_success();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let status = runtime.block_on(async {
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let request = client
            .post(format!("{}/v1/sales/spring/waiting-room", test_server.url()))
            .bearer_auth(token.trim());
        request.send().await.expect("the server answers").status()
    });
    assert_eq!(status, 201);
}

#[test]
fn a_draw_is_compared_with_the_servers_answer() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let item = json!({"id": "phone", "title": "Phone", "price": {"amount_minor": 10, "currency": "CNY"}, "stock": 1});
    let sale = json!({"id": "spring", "title": "Spring drop", "starts_at": "2100-01-01T10:00:00Z", "items": [item],
        "front_door": {"waiting_room": "always"}});
    let file = write(&temp_dir.join("spring.json"), &[&sale.to_string()]);
    test_server.ask(&temp_dir, &["sale", "create", "--file", &file]).stdout_of_success();
    test_server.ask(&temp_dir, &["sale", "schedule", "spring"]).stdout_of_success();
    for buyer in ["alice", "bob", "-carol"] {
        enter(&temp_dir, &test_server, buyer);
    }
    let early =
        test_server.ask(&temp_dir, &["draw", "verify", "--sale", "spring"]).stderr_of_failure(1);
    let commitment = early
        .split_once("sha256:")
        .and_then(|(_, rest)| rest.split_once(','))
        .expect("the seed is published")
        .0;
    test_server.ask(&temp_dir, &["sale", "open", "spring"]).stdout_of_success();
    let noted = format!("sha256:{commitment}");
    let output = test_server
        .ask(&temp_dir, &["draw", "verify", "--sale", "spring", "--commitment", &noted])
        .stdout_of_success();
    assert!(output.ends_with("3 participants: the draw agrees with its commitment.\n"), "{output}");
    // A buyer has no operator's key, so `draw verify` reads the participants from a file.
    let list = write(&temp_dir.join("list"), &["alice", "bob", "-carol"]);
    let verify_list = |list: &str| {
        verify(&temp_dir, &["--url", test_server.url(), "--sale", "spring", "--participants", list])
    };
    assert_eq!(verify_list(&list).stdout_of_success(), output);
    let short = verify_list(&write(&temp_dir.join("short"), &["alice", "bob"]));
    assert_eq!(short.code(), Some(1));
    assert!(
        short.out().contains("3 participants were published, but the list has 2"),
        "{}",
        short.out()
    );
}
