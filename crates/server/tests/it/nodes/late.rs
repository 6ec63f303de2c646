//! What one node hears of another late, or cannot ask it at all: nobody is refused for it.
use std::time::Duration;

use doorbuster_core::order::Changed;
use doorbuster_core::{Phase, Spread};
use doorbuster_server::config::Roles;
use doorbuster_server::purchase::{Bought, Refusal};
use tokio::time::Instant;

use super::rig::{Home, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_at_the_limit_hears_so_at_a_node_that_does_not_lead() {
    let home = Home::cluster();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 1, Spread { partitions: 2, ..Spread::default() }).await;
    second.follows(Phase::Open).await;
    assert!(matches!(second.buy("anna", "k1", 1).await, Bought::Created(_)));
    let Bought::Created(order) = first.buy("bert", "k1", 1).await else { panic!("there are units") };
    let engine = first.engine.clone();
    let cancelled = first.run(async move { engine.cancel(order.id).await }).await;
    assert!(matches!(cancelled, Ok(Changed::Done(_))), "{cancelled:?}");
    until("the second node knows", async || second.gauge().counts().held == 1).await;
    for n in 2..6 {
        let asked = Instant::now();
        let told = second.buy("anna", &format!("k{n}"), 1).await;
        assert!(matches!(told, Bought::Refused(Refusal::LimitReached { limit: 1, used: 1 })), "{told:?}");
        assert!(asked.elapsed() < Duration::from_millis(900), "not after it was parked: {:?}", asked.elapsed());
    }
    assert!(matches!(second.buy("bert", "k2", 1).await, Bought::Created(_)), "whose order ended may buy again");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_undecided_at_one_node_never_hears_sold_out_at_another() {
    let home = Home::postgres();
    let first = home.node(Roles { settle: false, ..Roles::ALL }).await;
    first.open_sale(1, 1, Spread::default()).await;
    until("the first node has the unit", async || first.counts().await.in_slots == 1).await;
    let second = home.node(Roles::ALL).await;
    second.follows(Phase::Open).await;
    let shop = first.shop();
    let waiting = tokio::spawn(async move { shop.buy("anna", "k", 1).await });
    until("its ticket is cut", async || first.queued().await == 1).await;
    let told = second.buy("anna", "k", 1).await;
    assert!(matches!(told, Bought::Refused(Refusal::Unavailable { .. })), "{told:?}");
    assert!(matches!(waiting.await, Ok(Bought::Queued { .. })), "nothing is settled there");
    second.stop().await;
    first.crash();
}
