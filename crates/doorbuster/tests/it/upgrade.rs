//! Tests upgrades from version 0.1.0, and from a build before 0.1.0. `tests/stores` has stores of
//! version 0.1.0 and of this build. The present version and every later version must migrate these
//! stores and continue their sale.
//!
//! The test `a_store_of_this_version` made these stores. To keep the stores of another version, run
//! that test by hand with `--ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use doorbuster_harness::cluster::{ClusterDir, Postgres};
use doorbuster_testkit::postgres::programs;
use serde_json::{Value, json};

use crate::several::require_servers;
use crate::test_server::{KEY, TempDir, TestServer, program, run, serve, until};

const BUYER_SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";
const ID_KEY: &str = "5f1d7a9c3e5b7082946c8ad0e2f41b3d5f1d7a9c3e5b7082946c8ad0e2f41b3d";
const ITEM: &str = "id=phone,title=Phone,stock=5,price=1.00CNY,hold=1m";

/// The directories in `tests/stores`. The first directory has stores from a build before the
/// release of 0.1.0.
const KEPT: [&str; 2] = ["0.1.0-schema-14", NEWEST];
/// The directory into which `a_store_of_this_version` writes its stores.
const NEWEST: &str = "0.1.0";

fn stores(kept: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores").join(kept)
}

fn start(temp_dir: &TempDir, data_dir: &Path, postgres: Option<&Postgres>) -> TestServer {
    let mut command = serve(temp_dir, data_dir);
    command
        .env("DOORBUSTER_AUTH__BUYER_SECRET", BUYER_SECRET)
        .env("DOORBUSTER_AUTH__ID_KEY", ID_KEY)
        .env("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true")
        .env("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    if let Some(postgres) = postgres {
        let url = postgres.url(postgres.port());
        command.env("DOORBUSTER_SHAPE", "postgres").env("DOORBUSTER_STORE__URL", url);
    }
    TestServer::start(command, data_dir.to_owned())
}

fn token(temp_dir: &TempDir, buyer: &str) -> String {
    let mut command = program(temp_dir);
    command.args(["token", "buyer", buyer]).env("DOORBUSTER_AUTH__BUYER_SECRET", BUYER_SECRET);
    run(&mut command).stdout_of_success().trim().to_owned()
}

fn buy(server: &TestServer, temp_dir: &TempDir, buyer: &str) -> (u16, Value) {
    let lines = "Idempotency-Key: k\r\nContent-Type: application/json\r\n";
    let body = r#"{"sale":"spring","item":"phone","units":1}"#;
    server.send(&token(temp_dir, buyer), "POST", "/v1/orders", lines, body)
}

/// Writes sales, orders, a payment and an endpoint into the server's store. Returns an object with
/// each buyer's order id.
fn fill(server: &TestServer, temp_dir: &TempDir) -> Value {
    let operate = |arguments: &[&str]| server.ask(temp_dir, arguments).stdout_of_success();
    operate(&["sale", "create", "spring", "--title", "Spring", "--item", ITEM]);
    operate(&["sale", "create", "autumn", "--title", "Autumn", "--item", ITEM]);
    operate(&["webhook", "endpoint", "add", "http://127.0.0.1:9/events", "--type", "order.paid"]);
    operate(&["sale", "open", "spring"]);
    let order = |buyer: &str| {
        let (status, body) = buy(server, temp_dir, buyer);
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().expect("an order").to_owned()
    };
    let (alice, bob, carl) = (order("alice"), order("bob"), order("carl"));
    operate(&["order", "cancel", &bob, "--yes"]);
    pay(server, temp_dir, &carl);
    operate(&["sale", "adjust", "spring", "phone", "1", "--reason", "one more was found"]);
    json!({"alice": alice, "bob": bob, "carl": carl})
}

fn pay(server: &TestServer, temp_dir: &TempDir, order: &str) {
    let mut command = program(temp_dir);
    command
        .args(["payment", "trigger", order])
        .env("DOORBUSTER_URL", server.url())
        .env("DOORBUSTER_ADMIN_KEY", KEY)
        .env("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    run(&mut command).stdout_of_success();
}

/// Checks that the orders are unchanged, that the sale continues, and that no unit is sold twice.
fn check(server: &TestServer, temp_dir: &TempDir, store: &str, orders: &Value) {
    let show = |buyer: &str| {
        let id = orders[buyer].as_str().expect("an order");
        let (status, order) =
            server.send(&token(temp_dir, buyer), "GET", &format!("/v1/orders/{id}"), "", "");
        assert_eq!(status, 200, "{order}");
        order["state"].clone()
    };
    // The kept store was made longer ago than an order may wait for its payment. So alice's unpaid
    // order expires.
    until("alice's order expires", || (show("alice") == "expired").then_some(()));
    assert_eq!([show("bob"), show("carl")], ["cancelled", "paid"]);
    let (status, again) = buy(server, temp_dir, "alice");
    assert_eq!(
        (status, &again["id"]),
        (200, &orders["alice"]),
        "the same request must return the same order"
    );
    let mut late = Value::Null;
    for number in 0..5 {
        let (status, body) = buy(server, temp_dir, &format!("late-{number}"));
        assert_eq!(status, 201, "{body}");
        late = body;
    }
    assert_eq!(
        buy(server, temp_dir, "too-late").0,
        409,
        "a purchase must fail, because all six units are sold"
    );
    pay(server, temp_dir, late["id"].as_str().expect("an order"));
    let audit = run(program(temp_dir).args(["audit", "--json", "--store", store])).json();
    assert_eq!(audit["ok"], true, "{audit}");
}

fn kept_orders(kept: &str, name: &str) -> Value {
    let text = fs::read_to_string(stores(kept).join(name)).expect("the kept orders");
    serde_json::from_str(&text).expect("JSON")
}

fn postgres(temp_dir: &TempDir) -> Postgres {
    let dir = ClusterDir::create(&temp_dir.join("cluster")).expect("a directory");
    Postgres::create(&dir, true).expect("PostgreSQL starts")
}

#[test]
fn a_sqlite_store_of_version_0_1_0_is_migrated_and_sells_on() {
    for kept in KEPT {
        sqlite_store_sells_on(kept);
    }
}

fn sqlite_store_sells_on(kept: &str) {
    let temp_dir = TempDir::new();
    let data_dir = temp_dir.join("data");
    let file = stores(kept).join("doorbuster.backup");
    let mut restore = program(&temp_dir);
    run(restore.arg("restore").arg(file).arg("--data-dir").arg(&data_dir)).stdout_of_success();
    let server = start(&temp_dir, &data_dir, None);
    server.ask(&temp_dir, &["sale", "resume", "spring"]).stdout_of_success();
    let store = data_dir.to_str().expect("a UTF-8 path");
    check(&server, &temp_dir, store, &kept_orders(kept, "sqlite.json"));
}

#[test]
fn a_postgresql_store_of_version_0_1_0_is_migrated_and_sells_on() {
    require_servers();
    for kept in KEPT {
        postgresql_store_sells_on(kept);
    }
}

fn postgresql_store_sells_on(kept: &str) {
    let temp_dir = TempDir::new();
    let postgres = postgres(&temp_dir);
    let dump = fs::read_to_string(stores(kept).join("postgres.dump")).expect("the kept store");
    let file = temp_dir.join("cluster/store.sql");
    fs::write(&file, dump).expect("writable");
    postgres.load(&file).expect("the dump is valid");
    let server = start(&temp_dir, &temp_dir.join("data"), Some(&postgres));
    // The node detects that the dump comes from another database cluster, so it has paused the
    // sale.
    let phase = || server.send(KEY, "GET", "/v1/admin/sales/spring", "", "").1["phase"].clone();
    until("the sale is paused", || (phase() == "paused").then_some(()));
    server.ask(&temp_dir, &["sale", "resume", "spring"]).stdout_of_success();
    let store = postgres.url(postgres.port());
    check(&server, &temp_dir, &store, &kept_orders(kept, "postgres.json"));
}

#[test]
#[ignore = "writes tests/stores; run it by hand to keep the stores of a version"]
fn a_store_of_this_version() {
    let temp_dir = TempDir::new();
    fs::create_dir_all(stores(NEWEST)).expect("writable");
    let write = |name: &str, text: String| {
        fs::write(stores(NEWEST).join(name), text + "\n").expect("writable");
    };
    let data_dir = temp_dir.join("data");
    let server = start(&temp_dir, &data_dir, None);
    write("sqlite.json", fill(&server, &temp_dir).to_string());
    assert_eq!(server.terminate().0, Some(0));
    let mut backup = program(&temp_dir);
    backup.arg("backup").arg(stores(NEWEST).join("doorbuster.backup"));
    run(backup.arg("--data-dir").arg(&data_dir)).stdout_of_success();

    let postgres = postgres(&temp_dir);
    let server = start(&temp_dir, &temp_dir.join("node"), Some(&postgres));
    write("postgres.json", fill(&server, &temp_dir).to_string());
    assert_eq!(server.terminate().0, Some(0));
    let dump = Command::new(programs().join("pg_dump"))
        .arg("--no-owner")
        .arg(postgres.url(postgres.port()))
        .output()
        .expect("pg_dump starts");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8(dump.stdout).expect("text");
    // Removes the commands `\restrict` and `\unrestrict`, which other versions of psql do not know.
    let is_plain =
        |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    let lines: Vec<&str> = dump.trim_end().lines().filter(is_plain).collect();
    write("postgres.dump", lines.join("\n"));
}
