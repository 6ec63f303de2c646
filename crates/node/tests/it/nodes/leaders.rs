//! Tests two nodes that both act as leader all the time. Even then, the result must be correct.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::{PartitionChoice, Phase, Spread};
use doorbuster_engine::control::LEASE_MS;
use doorbuster_engine::purchase::PurchaseOutcome;

use super::fixture::{Deployment, TestNode, until};
use super::{TIMEOUT, is_sold, sell_out, sell_out_from};

const STOCK: u64 = 600;

async fn two_leaders(home: &mut Deployment, spread: Spread) -> [TestNode; 2] {
    home.all_lead = true;
    let nodes = [home.node(Roles::ALL).await, home.node(Roles::ALL).await];
    nodes[0].open_sale(STOCK, 10, spread).await;
    nodes[1].wait_for_phase(Phase::Open).await;
    nodes
}

fn both_led(nodes: [&TestNode; 2]) {
    assert_eq!(nodes.map(|node| node.engine.node.meter().leads.get()), [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_refill_and_repair_the_same_slots_consistently() {
    let mut home = Deployment::cluster();
    let spread = Spread {
        partitions: 4,
        auto: false,
        choose: PartitionChoice::Buyer,
        initial: 20,
        threshold: 10,
        refill: 10,
    };
    let [first, second] = two_leaders(&mut home, spread).await;
    let early = sell_out(&[&first, &second], STOCK / 2, TIMEOUT).await;
    assert!(
        [&first, &second].iter().all(|node| node.engine.node.meter().refills.get() > 0),
        "both leaders must refill slots"
    );
    // Every slot loses its memory. Both nodes detect this and repair the slots.
    home.redis().flush();
    let sold = sell_out_from(&[&first, &second], STOCK - early).await;
    is_sold(&first, STOCK, early + sold).await;
    let repairs = first.audit().await.repairs;
    assert!(repairs >= 4, "each slot must be repaired, but there were only {repairs} repairs");
    assert!(second.audit().await.findings.is_empty());
    both_led([&first, &second]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_leaders_reconcile_the_slots_of_both_and_of_a_dead_node() {
    let mut home = Deployment::postgres();
    let [first, second] = two_leaders(&mut home, Spread::default()).await;
    let third = home.node(Roles::ALL).await;
    third.wait_for_phase(Phase::Open).await;
    let selling = Arc::new(AtomicBool::new(false));
    let (buyer_client, is_selling) = (third.buyer_client(), selling.clone());
    let dying = tokio::spawn(async move {
        let bought = buyer_client.buy("kept", "k", 2).await;
        is_selling.store(true, Ordering::Release);
        bought
    });
    until("the third node sells", async || selling.load(Ordering::Acquire)).await;
    assert!(matches!(dying.await.expect("the task did not panic"), PurchaseOutcome::Created(_)));
    third.crash();
    let sold = sell_out(&[&first, &second], STOCK - 2, TIMEOUT + Duration::from_secs(12)).await;
    is_sold(&second, STOCK, sold + 2).await;
    both_led([&first, &second]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_renews_its_lease_while_it_closes_the_grants_of_a_dead_node() {
    let home = Deployment::postgres();
    let (leader, other) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    leader.open_sale(10, 1, Spread::default()).await;
    other.wait_for_phase(Phase::Open).await;
    let open_grants = || home.sql("SELECT count(*) FROM slot_grant WHERE open").trim().to_owned();
    until("each node has a grant", async || open_grants() == "2").await;
    // While the table is locked, no grant can be closed. So the takeover lasts until the test
    // releases the lock.
    let locked = home.lock_table("slot_grant");
    other.crash();
    let lease = async || {
        let nodes = leader.engine.node.store().nodes().await.expect("the store is available");
        let own = nodes.iter().find(|row| row.node == leader.engine.node.id());
        own.map_or(0, |row| row.lease_until.0)
    };
    let before = lease().await;
    // Within this time, the dead node's lease lapses. The leader's lease would lapse too if the
    // leader did not renew it.
    until("the lease is renewed", async || lease().await > before + 3 * LEASE_MS).await;
    locked.release();
    until("the dead node's grant is closed", async || open_grants() == "1").await;
    assert_eq!(leader.engine.node.meter().lapses.get(), 0, "the leader's lease must not lapse");
    leader.stop().await;
}
