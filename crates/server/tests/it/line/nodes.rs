//! A line is one over all nodes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{PATIENCE, id};
use crate::app::TestApp;
use crate::events::{next, socket};
use crate::postgres::Cluster;

/// A server of shape `postgres` on this database.
async fn node(home: &Cluster, database: &str) -> TestApp {
    let url = crate::several::address(home, database);
    TestApp::with(&[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_one_over_all_nodes() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let nodes = [node(&home, &database).await, node(&home, &database).await];
    let first = nodes[0].held_out(1, 1, 900).await;
    let mut places = Vec::new();
    for (n, buyer) in ["b", "c", "e", "f"].into_iter().enumerate() {
        let begun = Instant::now();
        let id = loop {
            // A node may show the unit as free for the moment until it hears that it was sold elsewhere.
            let told = nodes[(n + 1) % 2].join(buyer, "line").await;
            if told.status == 201 {
                break id(&told.json());
            }
            assert!(told.verdict() != "500 internal" && begun.elapsed() < PATIENCE, "{}", told.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let there = nodes[n % 2].stands(buyer, &id).await;
        assert_eq!((&there["state"], &there["ahead"]), (&json!("waiting"), &json!(n)), "the same at the other node");
        places.push((buyer, id));
    }
    // Whoever is served at whichever node gives it up at the other one, and the next hears of it there.
    let mut held = ("a", first);
    for (n, (buyer, id)) in places.iter().enumerate() {
        let (here, there) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let mut events = socket(here, buyer, "").await;
        there.cancel(held.0, &held.1).await;
        for node in [here, there] {
            let told = node.buy("d", &format!("k{n}"), "spring", "phone", 1).await;
            assert!(matches!(&*told.verdict(), "409 sold_out" | "503 unavailable"), "{}", told.text());
        }
        loop {
            let event = next(&mut events).await;
            if event["order"]["id"] == **id {
                assert_eq!(event["order"]["state"], "reserved", "{event}");
                break;
            }
        }
        here.becomes(buyer, id, "reserved").await;
        held = (buyer, id.clone());
    }
    nodes[0].is_well().await;
    let row = nodes[1].row().await;
    assert_eq!((&row["held"], &row["waiting"], &row["kept"]), (&json!(1), &json!(0), &json!(0)));
}
