//! Tests that a block at one node also ends a waitlist entry that the buyer got at another node.

use doorbuster_config::Roles;
use doorbuster_core::{BuyerId, Phase, RequestKey, Spread};
use doorbuster_engine::purchase::PurchaseOutcome;
use doorbuster_engine::waitlists::JoinResult;
use doorbuster_store::ItemCounts;

use super::fixture::{Deployment, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_ends_a_waitlist_entry_that_its_node_does_not_know_yet() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(1, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    assert!(matches!(first.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
    until("the first node knows that the unit is held", async || first.gauge().counts().held == 1)
        .await;
    let bert = BuyerId::new("bert").expect("a buyer");
    let key = RequestKey::new("line").expect("a key");
    let joined = first.engine.waitlists.join_waitlist(&first.item(), &bert, &key).await;
    assert!(
        matches!(joined, Ok(JoinResult::WaitlistEntry { is_new: true, .. })),
        "the buyer must join: {joined:?}"
    );
    let knows = async || second.gauge().counts().waiting == 1;
    until("the second node knows of the entry", knows).await;
    // Reset the second node's counts, as if the node did not know of the entry yet. The next call
    // follows immediately, before the node reads the counts again.
    second.gauge().publish(ItemCounts { waiting: 0, ..second.gauge().counts() });
    let left = second.engine.waitlists.leave_all_waitlists(&bert).await;
    assert!(left.is_ok(), "{left:?}");
    assert_eq!(home.sql("SELECT state FROM waitlist").trim(), "left");
    first.stop().await;
    second.stop().await;
}
