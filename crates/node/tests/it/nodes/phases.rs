//! Tests operators who change the same sale at two nodes at once.
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Phase, Spread};
use doorbuster_engine::purchase::PurchaseOutcome;
use doorbuster_store::{SaleRow, StepOutcome};

use super::fixture::{Deployment, SALE, TestNode, until};
use crate::watch::Watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_pause_a_sale_at_once_do_not_wait_for_each_other() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    for (n, node) in [&first, &second].into_iter().cycle().take(6).enumerate() {
        assert!(matches!(node.buy(&format!("b{n}"), "k", 1).await, PurchaseOutcome::Created(_)));
    }
    let began = Watch::start();
    let pause = async |node: &TestNode| {
        let engine = node.engine.clone();
        node.run(async move { engine.step_sale(SALE, PhaseStep::Pause).await }).await
    };
    let paused = tokio::join!(pause(&first), pause(&second));
    assert!(
        matches!(paused, (Ok(StepOutcome::Done { .. }), Ok(StepOutcome::Done { .. }))),
        "{paused:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    first.step(PhaseStep::Resume).await;
    second.wait_for_phase(Phase::Open).await;
    until("the sale sells again", async || {
        matches!(second.buy("anna", "k", 1).await, PurchaseOutcome::Created(_))
    })
    .await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_changes_while_it_is_closed_is_drained_again() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(10, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    for (node, buyer) in [(&first, "anna"), (&second, "bert")] {
        assert!(matches!(node.buy(buyer, "k", 1).await, PurchaseOutcome::Created(_)));
    }
    let store = first.engine.store().clone();
    let sale = async || store.sale(SALE).await.expect("reads").expect("created");
    let before = sale().await;
    // The close waits for the dead node's slot until the node's lease lapses.
    second.crash();
    let engine = first.engine.clone();
    let closing = first.run(async move { engine.step_sale(SALE, PhaseStep::Close).await });
    let others = async {
        until("the drain is announced", async || sale().await.draining_until.is_some()).await;
        let patch = |sale: &mut SaleRow| {
            sale.title = "New".to_owned();
            Ok(())
        };
        store.patch_sale(SALE, None, Box::new(patch)).await.expect("writes");
    };
    let (closed, ()) = tokio::join!(closing, others);
    let Ok(StepOutcome::Done { sale: closed, changed: true }) = closed else {
        panic!("{closed:?}")
    };
    assert_eq!((closed.phase, closed.version), (Phase::Closed, before.version + 2));
    assert_eq!(closed.draining_until, None);
    assert!(first.audit().await.findings.is_empty());
    first.stop().await;
}
