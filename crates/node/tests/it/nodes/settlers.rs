//! Tests that each slot has one settler, even when nodes start and stop.
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::Spread;
use doorbuster_engine::purchase::PurchaseOutcome;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::fixture::{Deployment, TestNode};
use super::servers::ServerCluster;
use super::until;
use crate::app::{TestApp, sale};
use crate::watch::Stopwatch;

const SLOTS: usize = 16;
/// How long slots may have no settler after a planned stop.
const AFTER_STOP: Duration = Duration::from_secs(2);
/// How long slots may have no settler after a node was killed.
const AFTER_KILL: Duration = Duration::from_secs(4);

/// Returns the slots that each live node settles.
async fn settled(node: &TestNode) -> Vec<Vec<String>> {
    let rows = node.engine.node.store().nodes().await.expect("the store is available");
    let open = node.engine.node.items_with_open_slots();
    let mut names = node.engine.node.live_nodes().settled_slot_names(&rows, &open);
    rows.iter().map(|row| names.remove(&row.node).unwrap_or_default()).collect()
}

async fn wait_for_shares(node: &TestNode, nodes: usize) {
    until("each slot has one settler", async || {
        let settled = settled(node).await;
        let mut all = settled.concat();
        let named = all.len();
        all.sort_unstable();
        all.dedup();
        settled.len() == nodes && named == SLOTS && all.len() == SLOTS
    })
    .await;
}

/// Returns the slots that each listed node settles.
fn listed(list: &Value) -> Vec<Vec<String>> {
    let nodes = list["nodes"].as_array().expect("a list");
    let slots = |node: &Value| serde_json::from_value(node["settles"].clone()).expect("names");
    nodes.iter().map(slots).collect()
}

async fn wait_for_list(app: &TestApp, nodes: usize, slots: usize) {
    let is_shared = |list: &Value| {
        let settled = listed(list);
        let mut all = settled.concat();
        let named = all.len();
        all.sort_unstable();
        all.dedup();
        let busy = settled.iter().filter(|slots| !slots.is_empty()).count();
        (busy, named, all.len()) == (nodes, slots, slots)
    };
    app.until("/v1/admin/nodes", "the list shows one settler for each slot", is_shared).await;
}

/// These tests measure how long slots have no settler, so few other tests run at the same time.
mod windows {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_slot_has_one_settler_while_nodes_come_and_go() {
        let home = Deployment::cluster();
        let first = home.node(Roles::ALL).await;
        let spread = Spread { partitions: SLOTS as u32, ..Spread::default() };
        first.open_sale(10_000, 1, spread).await;
        wait_for_shares(&first, 1).await;

        let (second, third) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
        let no_settler = home.node(Roles { settle: false, ..Roles::ALL }).await;
        wait_for_shares(&first, 4).await;
        let shares: Vec<usize> = settled(&first).await.iter().map(Vec::len).collect();
        assert_eq!(shares.iter().filter(|share| **share == 0).count(), 1, "{shares:?}");
        for (n, node) in
            [&first, &second, &third, &no_settler].into_iter().cycle().take(64).enumerate()
        {
            let answer = node.buy(&format!("shared-{n}"), "k", 1).await;
            assert!(matches!(answer, PurchaseOutcome::Created(_)), "{answer:?}");
        }

        let began = Stopwatch::start();
        third.stop().await;
        wait_for_shares(&first, 3).await;
        assert!(began.elapsed() < AFTER_STOP, "{:?}", began.elapsed());

        second.crash();
        let began = Stopwatch::start();
        // No purchase waits for another one, so the time is the longest wait of a single ticket.
        let purchases = (0..64).map(async |n| first.buy(&format!("killed-{n}"), "k", 1).await);
        for answer in join_all(purchases).await {
            assert!(matches!(answer, PurchaseOutcome::Created(_)), "{answer:?}");
        }
        assert!(began.elapsed() < AFTER_KILL, "{:?}", began.elapsed());
        wait_for_shares(&first, 2).await;
        let counts = first.counts().await;
        assert_eq!(counts.held, 128, "{counts:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn operators_see_one_settler_for_each_of_many_slots_while_nodes_come_and_go() {
        const ROLES: &str = "api,settle,control";
        let cluster = ServerCluster::start();
        let first = cluster.node(ROLES).await;
        for sale in ["spring", "summer", "autumn"] {
            first.make_sale(sale, 1_000.into(), 1).await;
            let path = format!("/v1/admin/sales/{sale}/items/phone/spread");
            let set = first.admin("PUT", &path, Some(json!({"partitions": 64}))).await;
            assert_eq!(set.verdict(), "200", "{}", set.text());
            first.step(sale, "open").await;
        }
        let slots = 3 * 64;
        wait_for_list(&first, 1, slots).await;
        let (killed, runtime) = cluster.node_in_runtime(ROLES).await;
        let second = cluster.node(ROLES).await;
        wait_for_list(&first, 3, slots).await;
        let began = Stopwatch::start();
        runtime.shutdown_background();
        wait_for_list(&first, 2, slots).await;
        assert!(began.elapsed() < AFTER_KILL, "{:?}", began.elapsed());
        drop(killed);
        let began = Stopwatch::start();
        second.stop().await;
        wait_for_list(&first, 1, slots).await;
        assert!(began.elapsed() < AFTER_STOP, "{:?}", began.elapsed());
        first.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_sales_with_too_many_slots_cannot_run_at_the_same_time() {
    const ITEMS: usize = 9;
    let cluster = ServerCluster::start();
    let node = cluster.node("api,settle,control").await;
    let at = |year: u32| json!(format!("{year}-01-01T00:00:00Z"));
    for (id, year) in [("spring", 2100), ("autumn", 2102)] {
        let mut body = sale(id, 1.into(), 1);
        let mut item = body["items"][0].take();
        let numbered = |n: usize| {
            item["id"] = json!(format!("phone{n}"));
            item.clone()
        };
        body["items"] = (0..ITEMS).map(numbered).collect();
        (body["starts_at"], body["ends_at"]) = (at(year), at(year + 1));
        let made = node.admin("POST", "/v1/admin/sales", Some(body)).await;
        assert_eq!(made.verdict(), "201", "{}", made.text());
        for n in 0..ITEMS {
            let path = format!("/v1/admin/sales/{id}/items/phone{n}/spread");
            let set = node.admin("PUT", &path, Some(json!({"partitions": 64}))).await;
            assert_eq!(set.verdict(), "200", "{}", set.text());
        }
        node.step(id, "schedule").await;
    }
    let change = async |sale: &str, times: Value| {
        let reply = node.admin("PATCH", &format!("/v1/admin/sales/{sale}"), Some(times)).await;
        reply.verdict()
    };
    let overlapping = json!({"starts_at": "2100-06-01T00:00:00Z"});
    assert_eq!(change("autumn", overlapping).await, "409 wrong_state");
    assert_eq!(change("spring", json!({"ends_at": null})).await, "409 wrong_state");
    let later = json!({"starts_at": at(2104), "ends_at": at(2105)});
    assert_eq!(change("autumn", later).await, "200");
    // An early opening is refused: `autumn` would be open from now until 2105, and overlap
    // `spring`.
    let opened = node.admin("POST", "/v1/admin/sales/autumn/open", None).await;
    assert_eq!(opened.verdict(), "409 wrong_state", "{}", opened.text());
    node.stop().await;
}
