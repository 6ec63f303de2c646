//! Tests that each slot has one settler, even when nodes start and stop.
use std::time::Duration;

use doorbuster_core::Spread;
use doorbuster_server::config::Roles;
use doorbuster_server::purchase::PurchaseOutcome;
use serde_json::Value;

use super::fixture::{Deployment, TestNode};
use super::until;
use crate::watch::Watch;

const SLOTS: usize = 16;
/// How long slots may have no settler after a planned stop.
const AFTER_STOP: Duration = Duration::from_secs(2);
/// How long slots may have no settler after a node was killed.
const AFTER_KILL: Duration = Duration::from_secs(4);

/// Returns the slots that each live node settles, from the nodes' own descriptions.
async fn settled(node: &TestNode) -> Vec<Vec<String>> {
    let rows = node.engine.store().nodes().await.expect("the store is available");
    let slots = |about: &str| -> Vec<String> {
        let about: Value = serde_json::from_str(about).expect("JSON");
        serde_json::from_value(about["settles"].clone())
            .expect("the description has a list of names")
    };
    rows.iter().map(|row| slots(&row.about)).collect()
}

/// Waits until this many nodes share all slots, and each slot has one settler.
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
    for (n, node) in [&first, &second, &third, &no_settler].into_iter().cycle().take(64).enumerate()
    {
        let answer = node.buy(&format!("shared-{n}"), "k", 1).await;
        assert!(matches!(answer, PurchaseOutcome::Created(_)), "{answer:?}");
    }

    let began = Watch::start();
    third.stop().await;
    wait_for_shares(&first, 3).await;
    assert!(began.elapsed() < AFTER_STOP + Duration::from_secs(1), "{:?}", began.elapsed());

    second.crash();
    let began = Watch::start();
    for n in 0..64 {
        let answer = first.buy(&format!("killed-{n}"), "k", 1).await;
        assert!(matches!(answer, PurchaseOutcome::Created(_)), "{answer:?}");
    }
    assert!(began.elapsed() < AFTER_KILL + Duration::from_secs(1), "{:?}", began.elapsed());
    wait_for_shares(&first, 2).await;
    let counts = first.counts().await;
    assert_eq!(counts.held, 128, "{counts:?}");
}
