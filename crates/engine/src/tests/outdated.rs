//! Tests operators' changes at a node that does not know the newest state of the sale.
use doorbuster_core::{PartitionChoice, Spread};
use doorbuster_store::SpreadOutcome;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_does_not_depend_on_an_outdated_catalogue() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(10), 10, 60_000).await;
    let store = engine.node.store();
    // The test takes the step `elsewhere` only in the store, as if another node took this step.
    for (elsewhere, here) in [(PhaseStep::Pause, PhaseStep::Resume)].repeat(2) {
        store.step_sale("spring", elsewhere).await.expect("the store is available");
        step(&engine, here).await;
        let row = store.sale("spring").await.expect("the store is available").expect("a sale");
        assert_eq!(row.phase, Phase::Open);
    }
    store.step_sale("spring", PhaseStep::Close).await.expect("the store is available");
    let late = engine.sales.step_sale("spring", PhaseStep::Pause).await;
    assert_eq!(late.expect("the store is available"), StepOutcome::WrongState(Phase::Closed));
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_change_keeps_the_number_of_partitions_that_the_server_chose() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    draft(&engine, Stock::Counted(100), 10, 60_000).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    let auto = |partitions, choose| Spread { partitions, auto: true, choose, ..item.row.spread };
    let set = async |spread| match engine.sales.set_spread(&item, spread, None).await {
        Ok(SpreadOutcome::Done(row)) => row.items[0].spread,
        other => panic!("{other:?}"),
    };
    let chosen = auto(8, PartitionChoice::Buyer);
    assert_eq!(set(chosen).await, chosen);
    // The operator's request is outdated: it names 4 partitions, because the server chose 8 only
    // later.
    let outdated = auto(4, PartitionChoice::RoundRobin);
    assert_eq!(set(outdated).await, auto(8, PartitionChoice::RoundRobin));
    let fixed = Spread { auto: false, ..outdated };
    assert_eq!(set(fixed).await, fixed);
    engine.stock.stop_node().await;
}
