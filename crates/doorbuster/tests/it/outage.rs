//! Tests the log lines and the metrics of nodes while the database is unavailable.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorbuster_harness::cluster::{Cluster, ClusterPlan, Shape, http};
use serde_json::{Value, json};

use crate::several::require_servers;
use crate::test_server::TempDir;

const WITHIN: Duration = Duration::from_secs(90);
/// The page of metrics must be complete within this time. During an outage, one read of the store
/// takes longer, so the page must not wait for a read.
const METRICS_WITHIN: Duration = Duration::from_millis(3_500);
/// The largest number of log lines that a node may write during an outage. These lines report the
/// outage, one failed request, and the end of the leases of both nodes.
const LINES_MAX: usize = 12;

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < WITHIN, "timed out; expected: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn admin(cluster: &Cluster, path: &str, body: &Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    wait_for(path, || {
        let reply = cluster.admin("POST", path, &body).ok()?;
        (reply.status / 100 == 2).then_some(())
    });
}

fn log(cluster: &Cluster, node: usize) -> Vec<String> {
    let file = cluster.cluster_dir.log_file(cluster.nodes[node].name());
    let text = std::fs::read_to_string(file).expect("a log");
    text.lines().map(str::to_owned).collect()
}

fn count(lines: &[String], event: &str) -> usize {
    lines.iter().filter(|line| line.contains(&format!("event=\"{event}\""))).count()
}

fn ask(cluster: &Cluster, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        for node in &cluster.nodes {
            let key = format!("Authorization: Bearer {}\r\n", cluster.admin_key());
            let _ =
                http::send_request(node.addr(), "GET", "/v1/admin/orders?sale=spring", &key, "");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_database_outage_is_a_few_lines_in_the_log_of_each_node() {
    require_servers();
    let temp_dir = TempDir::new();
    let program = Path::new(env!("CARGO_BIN_EXE_doorbuster"));
    let plan = ClusterPlan::new(program, &temp_dir.join("cluster"), Shape::Postgres);
    let mut cluster = Cluster::start(&plan).unwrap_or_else(|error| panic!("{error}"));
    let price = json!({"amount_minor": 100, "currency": "EUR"});
    let item = json!({"id": "phone", "title": "Phone", "price": price, "stock": 100});
    let sale = json!({"id": "spring", "title": "Spring", "items": [item]});
    admin(&cluster, "/v1/admin/sales", &sale);
    admin(&cluster, "/v1/admin/sales/spring/open", &Value::Null);
    admin(
        &cluster,
        "/v1/admin/webhook-endpoints",
        &json!({"url": "https://shop.example/events", "types": ["*"]}),
    );
    let before: Vec<usize> = (0..2).map(|node| log(&cluster, node).len()).collect();
    cluster.postgres.crash().expect("the server can be killed");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| ask(&cluster, &stop));
        for node in 0..2 {
            wait_for("the outage continues", || {
                (count(&log(&cluster, node), "database.outage_continues") > 0).then_some(())
            });
        }
        stop.store(true, Ordering::Release);
    });
    cluster.postgres.start().expect("the database starts");
    for (node, before) in before.iter().enumerate() {
        wait_for("the outage ends", || {
            (count(&log(&cluster, node), "database.outage_ended") > 0).then_some(())
        });
        let lines: Vec<String> = log(&cluster, node).split_off(*before);
        assert_eq!(count(&lines, "database.outage_began"), 1, "{lines:#?}");
        assert_eq!(count(&lines, "database.outage_ended"), 1, "{lines:#?}");
        assert!(lines.len() <= LINES_MAX, "{} lines: {lines:#?}", lines.len());
        let failed = lines.iter().filter(|line| line.contains("_failed\"")).count();
        assert!(failed <= 1, "{lines:#?}");
    }
    cluster.stop().expect("it stops");
}

#[test]
fn metrics_report_a_database_outage_in_time() {
    require_servers();
    let temp_dir = TempDir::new();
    let program = Path::new(env!("CARGO_BIN_EXE_doorbuster"));
    let plan = ClusterPlan::new(program, &temp_dir.join("cluster"), Shape::Postgres);
    let mut cluster = Cluster::start(&plan).unwrap_or_else(|error| panic!("{error}"));
    cluster.postgres.crash().expect("the server can be killed");
    for node in &cluster.nodes {
        let get = |path: &str| http::send_request(node.addr(), "GET", path, "", "");
        wait_for("the node is not ready", || {
            get("/readyz").ok().filter(|reply| reply.status == 503)
        });
        wait_for("the metrics report the outage", || {
            let begun = Instant::now();
            let page = get("/metrics").expect("an answer in time").body;
            assert!(begun.elapsed() < METRICS_WITHIN, "{:?}", begun.elapsed());
            page.contains("\ndoorbuster_store_up 0\n").then_some(())
        });
    }
    cluster.stop().expect("it stops");
}
