//! Tests slots whose memory of requests is full. Such a slot drains and continues with the next
//! epoch.
use doorbuster_config::Roles;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{Phase, Spread};
use doorbuster_engine::purchase::PurchaseOutcome;

use super::fixture::{Deployment, TestNode, until};
use super::{TIMEOUT, is_sold, sell_out_from};

/// The number of requests that one slot remembers in this test.
const REQUESTS: usize = 50;
const STOCK: u64 = 220;

async fn sells_on(mut home: Deployment) {
    home.bounds = SlotBounds { requests: REQUESTS, ..SlotBounds::default() };
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(STOCK, 10, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    // Each buyer buys one unit, so there are more requests than a slot remembers.
    let sold = sell_out_from(&[&first, &second], STOCK).await;
    is_sold(&first, STOCK, sold).await;
    let rolled = async |node: &TestNode| {
        let closed = node.engine.node.store().closings().await.expect("the store is available");
        closed
            .iter()
            .find(|(cause, _)| *cause == doorbuster_core::CloseCause::Rolled)
            .map_or(0, |(_, times)| *times)
    };
    assert!(rolled(&first).await >= STOCK / REQUESTS as u64 / 2, "{}", rolled(&first).await);
    assert_eq!(first.audit().await.repairs, 0, "full memory must not count as a fault");
    // A repeated request must still get its order, although an earlier epoch of the slot issued the
    // ticket.
    until("the other node knows that all units are sold", async || {
        second.gauge().free().free == Some(0)
    })
    .await;
    for node in [&first, &second] {
        let again = node.buy("late1", "k", 1).await;
        assert!(matches!(again, PurchaseOutcome::Replayed(_)), "{again:?}");
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_slot_that_nodes_share_goes_on_under_the_next_epoch() {
    tokio::time::timeout(TIMEOUT, sells_on(Deployment::cluster()))
        .await
        .expect("the stock is sold in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_slot_in_a_nodes_memory_goes_on_under_the_next_epoch() {
    tokio::time::timeout(TIMEOUT, sells_on(Deployment::postgres()))
        .await
        .expect("the stock is sold in time");
}
