//! Tests `backup` and `restore` of a whole deployment. No unit is sold twice after a restore, and
//! no server opens a store with another deployment's key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::test_server::{KEY, TempDir, TestServer, program, run, serve};

const ITEM: &str = "id=phone,title=Phone,stock=2,price=0.10CNY";

/// Returns the status and the order's id.
fn buy(test_server: &TestServer, token: &str, key: &str) -> (u16, String) {
    let lines = format!("Idempotency-Key: {key}\r\nContent-Type: application/json\r\n");
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    let (status, body) = test_server.send(token, "POST", "/v1/orders", &lines, body);
    (status, body["id"].as_str().unwrap_or_default().to_owned())
}

fn restore(temp_dir: &TempDir, file: &Path, data_dir: &Path, more: &[&str]) -> String {
    let mut command = program(temp_dir);
    run(command.arg("restore").arg(file).arg("--data-dir").arg(data_dir).args(more))
        .stdout_of_success()
}

const HOW_TO: &str = "docs/how-to/back-up-and-restore.md";

/// Checks that both texts name the how-to page, and the two commands whose lists an operator must
/// compare. Checks that the unpaid order `order` is in the list of orders and not in the list of
/// payments.
fn tells_how_to_compare(server: &TestServer, temp_dir: &TempDir, texts: [&str; 2], order: &str) {
    for text in texts {
        for step in ["doorbuster csv orders", "doorbuster csv payments", HOW_TO] {
            assert!(text.contains(step), "{step}: {text}");
        }
    }
    for list in ["orders", "payments"] {
        let output = temp_dir.join(list).display().to_string();
        server.ask(temp_dir, &["csv", list, "--output", &output]).stdout_of_success();
        let text = fs::read_to_string(&output).expect("a list");
        assert_eq!(text.contains(order), list == "orders", "{list}: {text}");
    }
    server.ask(temp_dir, &["reconcile"]).stdout_of_success();
}

#[test]
fn a_restored_sale_sells_nothing_until_it_is_resumed() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let operate = |arguments: &[&str]| test_server.ask(&temp_dir, arguments).stdout_of_success();
    operate(&["sale", "create", "spring", "--title", "T", "--item", ITEM]);
    operate(&[
        "sale",
        "create",
        "autumn",
        "--title",
        "T",
        "--item",
        ITEM,
        "--starts-at",
        "2036-11-20T10:00:00Z",
    ]);
    operate(&["sale", "schedule", "autumn"]);
    operate(&["sale", "open", "spring"]);
    let token = |name: &str| test_server.token(&temp_dir, name);
    let (alice, bob) = (token("alice"), token("bob"));
    let (status, first) = buy(&test_server, &alice, "a");
    assert_eq!(status, 201);
    let file = temp_dir.join("friday.backup");
    let backup = |file: &Path| {
        let mut command = program(&temp_dir);
        run(command.arg("backup").arg(file).arg("--data-dir").arg(test_server.data_dir()))
            .stdout_of_success();
    };
    backup(&file);
    assert_eq!(
        buy(&test_server, &bob, "b").0,
        201,
        "after the backup, the buyer must get the last unit"
    );
    drop(test_server);

    let data_dir = temp_dir.join("restored");
    let output = restore(&temp_dir, &file, &data_dir, &[]);
    for part in ["Sale spring was open and is paused.", "Sale autumn was scheduled and is paused."]
    {
        assert!(output.contains(part), "{output}");
    }
    let log = fs::File::create(temp_dir.join("log")).expect("a log file");
    let mut command = serve(&temp_dir, &data_dir);
    command.env_remove("DOORBUSTER_LOG__FILTER").stderr(log);
    let restored = TestServer::start(command, data_dir);
    let log = fs::read_to_string(temp_dir.join("log")).expect("the log exists");
    assert!(log.contains("restored from a backup") && log.contains("spring"), "{log}");
    tells_how_to_compare(&restored, &temp_dir, [&output, &log], &first);
    let (status, _) = buy(&restored, &bob, "c");
    assert_ne!(status, 201, "the paused sale must not sell");
    let (status, order) = restored.send(&alice, "GET", &format!("/v1/orders/{first}"), "", "");
    assert_eq!((status, order["state"].as_str()), (200, Some("reserved")), "{order}");
    let audit = restored.send(KEY, "GET", "/v1/admin/audit", "", "").1;
    let notice = audit["notices"]
        .as_array()
        .and_then(|all| all.iter().find(|notice| notice["kind"] == "store_restored"))
        .unwrap_or_else(|| panic!("{audit}"));
    let detail = notice["detail"].as_str().expect("a text");
    assert!(detail.contains("spring (open)") && detail.contains("autumn (scheduled)"), "{detail}");
    restored
        .ask(&temp_dir, &["sale", "adjust", "spring", "phone", "-1", "--reason", "sold before"])
        .stdout_of_success();
    restored.ask(&temp_dir, &["sale", "resume", "spring"]).stdout_of_success();
    assert_eq!(
        buy(&restored, &bob, "d").0,
        409,
        "the unit that was sold after the backup must not be sold again"
    );
}

#[test]
fn a_start_with_another_id_key_is_refused() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let data_dir = test_server.data_dir().to_owned();
    drop(test_server);
    let refused = |setting: Option<&str>| {
        let mut command = serve(&temp_dir, &data_dir);
        if let Some(key) = setting {
            command.env("DOORBUSTER_AUTH__ID_KEY", key);
        }
        run(&mut command).stderr_of_failure(2)
    };
    let stderr = refused(Some(&"ab".repeat(32)));
    assert!(stderr.contains("the id_key does not fit the store"), "{stderr}");
    let kept = temp_dir.join("kept");
    fs::rename(data_dir.join("id_key"), &kept).expect("the file is moved");
    let stderr = refused(None);
    assert!(stderr.contains("no id_key") && stderr.contains("auth.id_key"), "{stderr}");
    assert!(!data_dir.join("id_key").exists(), "the refused start must not create a new key");
    fs::rename(&kept, data_dir.join("id_key")).expect("the file is moved");
    for name in ["id_key", "pass_key", "buyer_secret", "webhook_secret"] {
        let path = data_dir.join(name);
        let key = fs::read(&path).expect("a key");
        fs::write(&path, &key[..10]).expect("the file is truncated");
        let stderr = refused(None);
        assert!(stderr.contains(&format!("the {name} in ")), "{stderr}");
        fs::write(&path, key).expect("the file is put back");
    }
    let pass_key = fs::read(data_dir.join("pass_key")).expect("a key");
    fs::write(data_dir.join("pass_key"), "ab".repeat(32)).expect("another key");
    let stderr = refused(None);
    assert!(stderr.contains("the pass_key does not fit the store"), "{stderr}");
    fs::write(data_dir.join("pass_key"), pass_key).expect("the file is put back");
    drop(TestServer::open(&temp_dir));

    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o777))
        .expect("it belongs to the test");
    let stderr = refused(None);
    assert!(stderr.contains("other users can write") && stderr.contains("chmod 700"), "{stderr}");
}

#[test]
fn a_secret_that_is_missing_beside_a_store_is_created_with_a_warning() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let data_dir = test_server.data_dir().to_owned();
    drop(test_server);
    fs::remove_file(data_dir.join("pass_key")).expect("the file is removed");
    let log = temp_dir.join("log");
    let mut command = serve(&temp_dir, &data_dir);
    command.env_remove("DOORBUSTER_LOG__FILTER");
    command.stderr(fs::File::create(&log).expect("a log file"));
    drop(TestServer::start(command, data_dir));
    let log = fs::read_to_string(&log).expect("a log file");
    assert!(log.contains("secret.created_again") && log.contains("earlier passes"), "{log}");
    // The store has accepted the new key, so another start must succeed.
    let test_server = TestServer::open(&temp_dir);
    // A second server cannot start, because the first server has locked the store. The failed start
    // must not leave a new key file.
    let data_dir = test_server.data_dir().to_owned();
    let kept = fs::read(data_dir.join("pass_key")).expect("a key");
    fs::remove_file(data_dir.join("pass_key")).expect("the file is removed");
    run(&mut serve(&temp_dir, &data_dir)).stderr_of_failure(1);
    assert!(!data_dir.join("pass_key").exists(), "the failed start must not leave its new key");
    drop(test_server);
    fs::write(data_dir.join("pass_key"), kept).expect("the file is put back");
    drop(TestServer::open(&temp_dir));
}

#[test]
fn a_restore_prints_json_and_refuses_what_it_would_overwrite() {
    let temp_dir = TempDir::new();
    let test_server = TestServer::open(&temp_dir);
    let file = temp_dir.join("friday.backup");
    let mut backup = program(&temp_dir);
    run(backup.arg("backup").arg(&file).arg("--data-dir").arg(test_server.data_dir()))
        .stdout_of_success();
    let mode = fs::metadata(&file).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let data_dir = temp_dir.join("restored");
    let output = restore(&temp_dir, &file, &data_dir, &["--json"]);
    let output: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let files = output["files"].as_array().expect("a list");
    assert!(files.iter().any(|file| file == "id_key"), "{output}");
    let kept = |dir: &Path| fs::read(dir.join("id_key")).expect("it exists");
    assert_eq!(kept(&data_dir), kept(test_server.data_dir()));
    let again = |file: &Path, dir: &Path| {
        let mut command = program(&temp_dir);
        run(command.arg("restore").arg(file).arg("--data-dir").arg(dir)).stderr_of_failure(1)
    };
    let stderr = again(&file, &data_dir);
    assert!(stderr.contains("contains a store already"), "{stderr}");
    let stderr = again(&data_dir.join("doorbuster.sqlite3"), &temp_dir.join("other"));
    assert!(stderr.contains("is not a backup"), "{stderr}");
    let open = temp_dir.join("open");
    fs::create_dir(&open).expect("a directory");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("it belongs to the test");
    let mut command = program(&temp_dir);
    let refused = run(command.arg("restore").arg(&file).arg("--data-dir").arg(&open));
    let stderr = refused.stderr_of_failure(2);
    assert!(stderr.contains("other users can write"), "{stderr}");
    assert_eq!(
        fs::read_dir(&open).expect("a directory").count(),
        0,
        "the refused restore must write nothing"
    );
}
