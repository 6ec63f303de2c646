//! Tests several nodes on this machine, with a private PostgreSQL and a private Redis Cluster.

use doorbuster_testkit::tool;
use serde_json::{Value, json};

use crate::test_server::{CommandRun, TempDir, program, run};

/// Fails the test if this machine lacks a program that an installation needs.
pub fn require_servers() {
    tool::program("postgres");
    tool::program("redis-server");
}

/// Runs a command on the installation in this directory.
pub fn cluster(temp_dir: &TempDir, words: &[&str]) -> CommandRun {
    let dir = temp_dir.join("cluster").display().to_string();
    run(program(temp_dir).arg("cluster").args(words).args(["--dir", &dir]))
}

/// Stops the nodes when the test ends, even if the test fails.
pub struct Down<'a>(pub &'a TempDir);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = cluster(self.0, &["down"]).code();
    }
}

#[test]
fn an_installation_is_started_once_shown_and_removed() {
    require_servers();
    let temp_dir = TempDir::new();
    assert!(cluster(&temp_dir, &["status"]).stderr_of_failure(1).contains("no installation"));
    let down = Down(&temp_dir);
    cluster(&temp_dir, &["up", "--json"]).stdout_of_success();
    let shown = cluster(&temp_dir, &["up", "--json"]);
    shown.stdout_of_success();
    let found = shown.json();
    let names: Vec<&str> = found["parts"]
        .as_array()
        .expect("parts")
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    let due = [
        "postgres", "redis-1", "redis-2", "redis-3", "redis-4", "redis-5", "redis-6", "node-1",
        "node-2", "front",
    ];
    assert_eq!(names, due);
    let output = cluster(&temp_dir, &["up"]).stdout_of_success();
    assert!(output.starts_with("The installation is already running"));
    let password = found["store_url"]
        .as_str()
        .and_then(|url| url.split([':', '@']).nth(2))
        .expect("a password");
    assert!(password.len() > 8 && !output.contains(password), "{output}");
    let key =
        std::fs::read_to_string(found["admin_key_file"].as_str().expect("a path")).expect("a key");
    let list = run(program(&temp_dir)
        .args(["sale", "list"])
        .env("DOORBUSTER_URL", found["url"].as_str().expect("an address"))
        .env("DOORBUSTER_ADMIN_KEY", key));
    assert!(list.stdout_of_success().contains("No sales found"));
    the_store_is_maintained(&temp_dir, &found);
    cluster(&temp_dir, &["status"]).stdout_of_success();
    assert!(cluster(&temp_dir, &["down"]).stdout_of_success().contains("front, node-2, node-1"));
    assert!(!temp_dir.join("cluster").exists());
    drop(down);
}

/// Checks that `migrate`, `backup` and `token` use the store in PostgreSQL and do not touch the
/// data directory.
fn the_store_is_maintained(temp_dir: &TempDir, found: &Value) {
    let url = found["store_url"].as_str().expect("an address");
    let ask = |words: &[&str]| {
        let nobodys = temp_dir.join("nobodys");
        run(program(temp_dir)
            .args(words)
            .args(["--data-dir", &nobodys.display().to_string()])
            .envs([("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url)]))
    };
    assert_eq!(
        ask(&["migrate"]).stdout_of_success(),
        "The store in PostgreSQL has this program's schema.\n"
    );
    let stderr = ask(&["backup", "copy"]).stderr_of_failure(2);
    assert!(stderr.contains("pg_dump"), "{stderr}");
    // The secret of buyers' tokens is in the nodes' settings, not in the database. The command
    // looks only in the database, so it fails.
    let stderr = ask(&["token", "buyer", "alice"]).stderr_of_failure(2);
    assert!(stderr.contains("no buyer_secret in the database of store.url"), "{stderr}");
    assert!(!temp_dir.join("nobodys").exists() && !temp_dir.join("copy").exists());
}

fn demo(shape: &str) {
    require_servers();
    let temp_dir = TempDir::new();
    let ran =
        run(program(&temp_dir).args(["demo", "--json", "--buyers", "3000", "--shape", shape]));
    ran.stdout_of_success();
    let report = ran.json();
    let due: [(&str, Value); 5] = [
        ("orders", json!(10)),
        ("units_sold", json!(100)),
        ("answers", json!({"reserved": 10, "sold_out": 2990})),
        ("lost_answers", json!(0)),
        ("audit", json!({"ok": true, "findings": []})),
    ];
    for (member, value) in due {
        assert_eq!(report[member], value, "{member}");
    }
    assert!(temp_dir.entries().is_empty(), "`cluster down` must remove all files");
}

#[test]
fn a_demo_over_two_nodes_with_postgresql_adds_up() {
    demo("postgres");
}

#[test]
fn a_demo_over_two_nodes_with_redis_adds_up() {
    demo("cluster");
}
