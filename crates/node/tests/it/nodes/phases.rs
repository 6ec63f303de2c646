//! Tests operators who change the same sale at two nodes at the same time.
use std::time::Duration;

use doorbuster_config::Roles;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Phase, Spread};
use doorbuster_engine::purchase::PurchaseOutcome;
use doorbuster_store::StepOutcome;

use super::fixture::{Deployment, SALE, TestNode, until};
use crate::watch::Stopwatch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_pause_a_sale_at_once_do_not_wait_for_each_other() {
    let home = Deployment::postgres();
    let (first, second) = (home.node(Roles::ALL).await, home.node(Roles::ALL).await);
    first.open_sale(100, 1, Spread::default()).await;
    second.wait_for_phase(Phase::Open).await;
    for (n, node) in [&first, &second].into_iter().cycle().take(6).enumerate() {
        assert!(matches!(node.buy(&format!("b{n}"), "k", 1).await, PurchaseOutcome::Created(_)));
    }
    let began = Stopwatch::start();
    let pause = async |node: &TestNode| {
        let engine = node.engine.clone();
        node.run(async move { engine.sales.step_sale(SALE, PhaseStep::Pause).await }).await
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

/// Creates a trigger on announcements of a drain. For each announcement, it adds a row to the table
/// `drain_announced`. After each of the first `changes` announcements, it also changes the sale, as
/// another node could.
fn change_after_announcements(home: &Deployment, changes: u32) {
    home.sql(&format!(
        "CREATE TABLE drain_announced (sale text);
         CREATE FUNCTION change_sale() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO drain_announced VALUES (NEW.id);
             IF (SELECT count(*) FROM drain_announced) <= {changes} THEN
                 UPDATE sale SET version = version + 1 WHERE id = NEW.id;
             END IF;
             RETURN NULL;
         END $$;
         CREATE TRIGGER change_sale AFTER UPDATE OF draining_until ON sale FOR EACH ROW
             WHEN (NEW.draining_until IS NOT NULL) EXECUTE FUNCTION change_sale()"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_other_nodes_change_is_drained_again_at_most_three_times() {
    for (changes, drains) in [(0, "1"), (1, "2"), (100, "3")] {
        let home = Deployment::postgres();
        let node = home.node(Roles::ALL).await;
        node.open_sale(10, 1, Spread::default()).await;
        assert!(matches!(node.buy("anna", "k", 1).await, PurchaseOutcome::Created(_)));
        change_after_announcements(&home, changes);
        let engine = node.engine.clone();
        let closed =
            node.run(async move { engine.sales.step_sale(SALE, PhaseStep::Close).await }).await;
        let Ok(StepOutcome::Done { sale: closed, changed: true }) = closed else {
            panic!("{changes} changes: {closed:?}")
        };
        assert_eq!((closed.phase, closed.draining_until), (Phase::Closed, None));
        assert_eq!(home.sql("SELECT count(*) FROM drain_announced").trim(), drains);
        assert!(node.audit().await.findings.is_empty());
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_another_node_took_first_returns_the_newest_version() {
    let home = Deployment::postgres();
    let node = home.node(Roles::ALL).await;
    node.open_sale(10, 1, Spread::default()).await;
    // The trigger pauses the sale after the drain's first announcement, as another node could.
    home.sql(
        "CREATE FUNCTION pause_sale() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             UPDATE sale SET phase = 'paused', version = version + 1
             WHERE id = NEW.id AND phase = 'open';
             RETURN NULL;
         END $$;
         CREATE TRIGGER pause_sale AFTER UPDATE OF draining_until ON sale FOR EACH ROW
             WHEN (NEW.draining_until IS NOT NULL) EXECUTE FUNCTION pause_sale()",
    );
    let engine = node.engine.clone();
    let paused =
        node.run(async move { engine.sales.step_sale(SALE, PhaseStep::Pause).await }).await;
    let Ok(StepOutcome::Done { sale: paused, changed: false }) = paused else {
        panic!("{paused:?}")
    };
    let stored = node.engine.node.store().sale(SALE).await.expect("reads").expect("created");
    assert_eq!((paused.phase, paused.version), (Phase::Paused, stored.version));
    assert_eq!(stored.draining_until, None);
    let catalogue = node.engine.node.catalogue();
    let sale = catalogue.sale(SALE).expect("known");
    assert!(!sale.is_draining());
    drop(catalogue);
    node.stop().await;
}
