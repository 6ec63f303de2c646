//! Tests of commands: the confirmations before a change, the output in JSON, and the errors if no
//! Doorbuster server answers at the address.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use doorbuster_harness::cluster::ClusterDir;
use serde_json::json;

use crate::test_server::{KEY, TempDir, TestServer, program, run, serve, stand_in};

#[test]
fn closing_a_sale_needs_a_confirmation_and_ends_changes_of_its_stock() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let ask = |words: &[&str]| test_server.ask(&temp_dir, words);
    let item = "id=phone,title=Phone,stock=100,price=0.10CNY";
    ask(&["sale", "create", "spring", "--title", "Spring", "--item", item]).stdout_of_success();
    ask(&["sale", "open", "spring"]).stdout_of_success();
    let prompt = ask(&["sale", "close", "spring"]).stderr_of_failure(2);
    assert!(prompt.contains("cannot be opened again") && prompt.contains("--yes"), "{prompt}");
    assert!(ask(&["sale", "show", "spring"]).stdout_of_success().contains("is open"));
    ask(&["sale", "close", "spring", "--yes"]).stdout_of_success();
    let late = ask(&["sale", "adjust", "spring", "phone", "5", "--reason", "found"]);
    assert!(late.stderr_of_failure(1).contains("the sale is closed"));
}

#[test]
fn an_address_that_does_not_answer_as_expected_is_explained() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let secure = test_server.url().replacen("http:", "https:", 1);
    let list =
        |url: &str| run(program(&temp_dir).args(["sale", "list", "--url", url, "--key", KEY]));
    let text = list(&secure).stderr_of_failure(1);
    assert!(text.contains("does not use TLS") && text.contains(test_server.url()), "{text}");
    let store = "postgres://doorbuster@127.0.0.1:1/doorbuster";
    let text = run(program(&temp_dir).args(["audit", "--store", store])).stderr_of_failure(1);
    assert!(text.to_lowercase().contains("connection refused"), "{text}");
    let nowhere = temp_dir.join("nowhere");
    let text =
        run(program(&temp_dir).args(["audit", "--data-dir"]).arg(nowhere)).stderr_of_failure(2);
    assert!(text.contains("nowhere") && text.contains("DOORBUSTER_DATA_DIR"), "{text}");
}

#[test]
fn an_audit_with_the_address_of_a_server_needs_the_option_that_asks_the_server() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let address = ["audit", "--url", test_server.url(), "--key", KEY];
    let text = run(program(&temp_dir).args(address)).stderr_of_failure(2);
    assert!(text.contains("--url and --key need --server"), "{text}");
    let audit = run(program(&temp_dir).args(address).arg("--server")).stdout_of_success();
    assert!(audit.contains("no findings"), "{audit}");
}

#[test]
fn commands_without_a_server_report_in_json() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let ask = |words: &[&str]| test_server.ask(&temp_dir, words);
    let item = "id=phone,title=Phone,stock=100,price=0.10CNY";
    ask(&["sale", "create", "spring", "--title", "Spring", "--item", item]).stdout_of_success();
    ask(&["sale", "open", "spring"]).stdout_of_success();
    let path = |name: &str| temp_dir.join(name).to_str().expect("a UTF-8 path").to_owned();
    let data_dir = test_server.data_dir().to_str().expect("a UTF-8 path").to_owned();
    let report =
        |words: &[&str]| ask(&[words, &["--json", "--data-dir", &data_dir]].concat()).json();

    let settings = report(&["config", "show"]);
    let settings = settings["settings"].as_array().expect("a list");
    let dir = settings.iter().find(|row| row["path"] == "data_dir").expect("a setting");
    assert!(dir["value"].as_str().is_some_and(|value| value.contains(&data_dir)), "{dir}");
    assert_eq!(report(&["config", "check"]), json!({"valid": true}));

    let token = report(&["token", "buyer", "alice", "--ttl", "15m"]);
    assert_eq!(token["buyer"], "alice");
    let ends: jiff::Timestamp =
        token["expires_at"].as_str().and_then(|time| time.parse().ok()).expect("a time");
    let left = ends.as_second() - jiff::Timestamp::now().as_second();
    assert!((800..=900).contains(&left), "the token is valid for {left} s");
    let text = token["token"].as_str().expect("a token");
    let (status, order) = test_server.send(text, "GET", "/v1/orders", "", "");
    assert_eq!(status, 200, "{order}");

    let file = path("copy.backup");
    let copied = json!({"file": file, "data_dir": data_dir, "secrets": true, "encrypted": false});
    assert_eq!(report(&["backup", &file]), copied);
    let html = path("brand.html");
    assert_eq!(report(&["page", "preview", "--out", &html]), json!({"file": html}));
    let site = path("site");
    let exported = report(&["export", &site]);
    assert_eq!((&exported["dir"], &exported["sales"]), (&json!(site), &json!(["spring"])));
    assert!(exported["files"].as_u64() > Some(10), "{exported}");

    let empty = path("new");
    let migrated = run(program(&temp_dir).args(["migrate", "--json", "--data-dir", &empty]));
    assert_eq!(migrated.json(), json!({"store": empty}));
    let mode = std::fs::metadata(&empty).expect("a directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // A server accepts the new store and its generated secrets.
    drop(TestServer::start(serve(&temp_dir, Path::new(&empty)), empty.into()));
    let dir = path("cluster");
    let down = || run(program(&temp_dir).args(["cluster", "down", "--json", "--dir", &dir]));
    assert!(down().stderr_of_failure(1).contains("there is no installation in"));
    ClusterDir::create(Path::new(&dir)).expect("a new directory");
    assert_eq!(down().json(), json!({"dir": dir, "stopped": [], "removed": true}));
}

#[test]
fn the_removal_of_a_webhook_endpoint_asks_first_and_says_what_is_lost() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let ask = |arguments: &[&str]| test_server.ask(&temp_dir, arguments);
    let add = ["webhook", "endpoint", "add", "https://shop.example/events", "--json"];
    let added = ask(&add).json();
    let id = added["id"].as_str().expect("an id");
    let text = ask(&["webhook", "endpoint", "remove", id]).stderr_of_failure(2);
    assert!(text.contains("undelivered events") && text.contains("--yes"), "{text}");
    let list = ["webhook", "endpoint", "list"];
    assert!(ask(&list).stdout_of_success().contains(id), "the endpoint must still exist");
    ask(&["webhook", "endpoint", "remove", id, "--yes"]).stdout_of_success();
    assert!(!ask(&list).stdout_of_success().contains(id));
}

#[test]
fn a_migration_writes_no_secret_while_another_process_uses_the_directory() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    DirBuilder::new().mode(0o700).create(&data_dir).expect("a new directory");
    let lock = File::create(data_dir.join("lock")).expect("a new file");
    lock.try_lock().expect("no other process uses the file");
    let text = run(program(&temp_dir).arg("migrate").arg("--data-dir").arg(&data_dir));
    let text = text.stderr_of_failure(1);
    assert!(text.contains("in use"), "{text}");
    let files = std::fs::read_dir(&data_dir).expect("the directory exists").count();
    assert_eq!(files, 1, "only the lock must exist: {text}");
}

#[test]
fn an_edge_has_no_store_to_migrate() {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let mut migrate = program(&temp_dir);
    migrate.arg("migrate").arg("--data-dir").arg(&data_dir).envs([
        ("DOORBUSTER_ROLES", "edge"),
        ("DOORBUSTER_SLOTS__URLS", "redis://127.0.0.1:1"),
        ("DOORBUSTER_EDGE__UPSTREAMS", "http://127.0.0.1:1"),
    ]);
    let text = run(&mut migrate).stderr_of_failure(2);
    assert!(text.contains("roles: an edge has no store"), "{text}");
    assert!(!data_dir.exists());
}

#[test]
fn a_path_that_is_not_text_and_a_full_standard_error_end_no_command_early() {
    let temp_dir = TempDir::new();
    let dir = temp_dir.join("pages").join(OsStr::from_bytes(b"\xff"));
    let report = run(program(&temp_dir).args(["man", "--json"]).arg(&dir)).json();
    assert_eq!(report["dir"], dir.display().to_string());
    let full = File::options().write(true).open("/dev/full").expect("the device exists");
    let mut check = program(&temp_dir);
    check.args(["config", "check", "--config", "nosuch"]).stderr(full);
    assert_eq!(run(&mut check).code(), Some(2));
}

#[test]
fn ids_are_completed_beside_a_word_that_is_not_text() {
    let temp_dir = TempDir::new();
    let url = stand_in(|_| json!({"sales": [], "next_cursor": null}).to_string());
    let mut command = program(&temp_dir);
    command.args(["--", "doorbuster", "csv", "orders", "--output"]).arg(OsStr::from_bytes(b"\xff"));
    command.args(["--sale", "sp"]).env("DOORBUSTER_URL", url).env("DOORBUSTER_ADMIN_KEY", KEY);
    command.env("_DOORBUSTER_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "6");
    assert_eq!(run(&mut command).stdout_of_success(), "");
}

#[test]
fn a_key_that_no_header_can_contain_is_refused_without_a_request() {
    let temp_dir = TempDir::new();
    let adjust = ["sale", "adjust", "spring", "phone", "5", "--reason", "found"];
    // A key from a settings file with Windows line ends can have a carriage return at its end.
    for (key, more, option) in [
        ("key\r", &["sale", "list"][..], "--key"),
        ("key\r", &adjust[..], "--key"),
        (KEY, &[&adjust[..], &["--idempotency-key", "a\r"]].concat()[..], "--idempotency-key"),
    ] {
        let mut command = program(&temp_dir);
        command.args(more).env("DOORBUSTER_ADMIN_KEY", key);
        command.env("DOORBUSTER_URL", "http://127.0.0.1:1");
        let refused = run(&mut command).stderr_of_failure(2);
        assert!(refused.contains(option), "{refused}");
        assert!(!refused.contains("To repeat"), "{refused}");
    }
}

#[test]
fn a_password_in_an_address_is_refused_and_not_printed() {
    let temp_dir = TempDir::new();
    let site = temp_dir.join("site").display().to_string();
    let commands: [&[&str]; 5] = [
        &["sale", "list", "--key", KEY, "--url"],
        &["draw", "verify", "--sale", "spring", "--key", KEY, "--url"],
        &["export", &site, "--url"],
        &["export", &site, "--api"],
        &["storm", "--sale", "spring", "--item", "phone", "--buyers", "1", "--url"],
    ];
    for url in [
        "http://ann:hunter2@127.0.0.1:1",
        "ftp://:hunter2@127.0.0.1:1",
        "http://ann:hunter2@127.0.0.1:99999",
        "ann:hunter2@127.0.0.1:1",
        "//ann:hunter2@127.0.0.1:1",
    ] {
        for words in commands {
            let failed = run(program(&temp_dir).args(words).arg(url));
            let text = failed.stderr_of_failure(2);
            assert!(text.contains("must not contain") && !text.contains("hunter2"), "{text}");
        }
        let mut list = program(&temp_dir);
        list.args(["sale", "list", "--key", KEY]).env("DOORBUSTER_URL", url);
        let text = run(&mut list).stderr_of_failure(2);
        assert!(text.contains("must not contain") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_full_standard_error_does_not_stop_a_change_of_many_orders() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let file = temp_dir.join("orders");
    std::fs::write(&file, "ord_a\nord_b\nord_c\n").expect("a file");
    let full = File::options().write(true).open("/dev/full").expect("the device exists");
    let mut cancel = program(&temp_dir);
    cancel.args(["order", "cancel", "--yes", "--json", "--url", test_server.url(), "--key", KEY]);
    let cancelled = run(cancel.arg("--file").arg(&file).stderr(full));
    assert_eq!(cancelled.code(), Some(1), "{}", cancelled.out());
    let refused = cancelled.json()["refused"].as_array().map(Vec::len);
    assert_eq!(refused, Some(3), "{}", cancelled.out());
}

#[test]
fn an_id_that_no_path_can_contain_is_refused_without_a_request() {
    let temp_dir = TempDir::new();
    let server = ["--url", "http://127.0.0.1:1", "--key", KEY];
    for words in [["sale", "show", ".."], ["sale", "open", "."], ["order", "show", ""]] {
        let text = run(program(&temp_dir).args(words).args(server)).stderr_of_failure(2);
        assert!(text.contains(&format!("{:?} is not a valid id", words[2])), "{text}");
    }
}

#[test]
fn a_command_that_changes_none_of_the_dead_letters_fails() {
    let temp_dir = TempDir::new();
    for (done, code) in [(0, 1), (2, 0)] {
        let url =
            stand_in(move |_| json!({"done": done, "skipped": 3, "next_cursor": null}).to_string());
        for format in [&[][..], &["--json"]] {
            let mut command = program(&temp_dir);
            command.args(["dead-letter", "retry", "--all"]).args(format);
            command.env("DOORBUSTER_URL", &url).env("DOORBUSTER_ADMIN_KEY", KEY);
            let ran = run(&mut command);
            assert_eq!(ran.code(), Some(code), "{}{}", ran.out(), ran.err());
            assert!(ran.out().contains('3'), "{}", ran.out());
        }
    }
}
