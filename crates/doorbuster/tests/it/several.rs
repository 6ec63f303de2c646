//! Several nodes on this machine, with a private PostgreSQL and a private Redis Cluster: started, sold over, broken, removed.

use std::path::Path;

use serde_json::{Value, json};

use crate::house::{Ran, Scratch, program, run};

/// Whether what these tests start is installed; where it is not, they say so and are passed over.
pub fn installed() -> bool {
    let redis = ["/usr/bin/redis-server", "/usr/sbin/redis-server", "/usr/local/bin/redis-server"];
    let missing = [
        (!redis.iter().any(|file| Path::new(file).exists())).then_some("redis-server"),
        (!Path::new("/usr/lib/postgresql").exists()).then_some("postgresql"),
    ];
    let missing: Vec<&str> = missing.into_iter().flatten().collect();
    if !missing.is_empty() {
        println!(
            "passed over, as these packages are missing (scripts/setup installs them): {}",
            missing.join(", ")
        );
    }
    missing.is_empty()
}

fn cluster(scratch: &Scratch, words: &[&str]) -> Ran {
    let dir = scratch.join("cluster").display().to_string();
    run(program(scratch).arg("cluster").args(words).args(["--dir", &dir]))
}

/// Stops what a failing test would leave running.
struct Down<'a>(&'a Scratch);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        let _ = cluster(self.0, &["down"]).code();
    }
}

#[test]
fn an_installation_is_started_once_shown_and_removed() {
    if !installed() {
        return;
    }
    let scratch = Scratch::new();
    assert!(cluster(&scratch, &["status"]).refused(1).contains("no installation"));
    let down = Down(&scratch);
    cluster(&scratch, &["up", "--json"]).fine();
    let shown = cluster(&scratch, &["up", "--json"]);
    shown.fine();
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
    let told = cluster(&scratch, &["up"]).fine();
    assert!(told.starts_with("It is up already"));
    let password = found["store_url"]
        .as_str()
        .and_then(|url| url.split([':', '@']).nth(2))
        .expect("a password");
    assert!(password.len() > 8 && !told.contains(password), "{told}");
    let key =
        std::fs::read_to_string(found["admin_key_file"].as_str().expect("a path")).expect("a key");
    let list = run(program(&scratch)
        .args(["sale", "list"])
        .env("DOORBUSTER_URL", found["url"].as_str().expect("an address"))
        .env("DOORBUSTER_ADMIN_KEY", key));
    assert!(list.fine().contains("no such sales"));
    the_store_is_looked_after(&scratch, &found);
    cluster(&scratch, &["status"]).fine();
    assert!(cluster(&scratch, &["down"]).fine().contains("front, node-2, node-1"));
    assert!(!scratch.join("cluster").exists());
    drop(down);
}

/// `migrate`, `backup` and `token` know where a store in PostgreSQL is, and leave the data directory alone.
fn the_store_is_looked_after(scratch: &Scratch, found: &Value) {
    let url = found["store_url"].as_str().expect("an address");
    let ask = |words: &[&str]| {
        let nobodys = scratch.join("nobodys");
        run(program(scratch)
            .args(words)
            .args(["--data-dir", &nobodys.display().to_string()])
            .envs([("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url)]))
    };
    assert_eq!(ask(&["migrate"]).fine(), "The store in PostgreSQL is as this program wants it.\n");
    let said = ask(&["backup", "copy"]).refused(2);
    assert!(said.contains("pg_dump"), "{said}");
    // Its nodes were given theirs.
    let said = ask(&["token", "buyer", "alice"]).refused(2);
    assert!(said.contains("no buyer_secret in the database of store.url"), "{said}");
    assert!(!scratch.join("nobodys").exists() && !scratch.join("copy").exists());
}

fn demo(shape: &str) {
    if !installed() {
        return;
    }
    let scratch = Scratch::new();
    let ran = run(program(&scratch).args(["demo", "--json", "--buyers", "3000", "--shape", shape]));
    ran.fine();
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
    assert!(scratch.entries().is_empty(), "nothing is left behind");
}

#[test]
fn a_demo_over_two_nodes_with_postgresql_adds_up() {
    demo("postgres");
}

#[test]
fn a_demo_over_two_nodes_with_redis_adds_up() {
    demo("cluster");
}
