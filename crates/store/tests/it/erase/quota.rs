//! Tests the erasure of a quota row that has no order.

use std::collections::BTreeSet;

use doorbuster_core::Stock;
use doorbuster_core::sale::PhaseStep;
use doorbuster_store::conformance::Fixture;
use doorbuster_store::{BuyerTraces, Erased, RetainReason};

use super::shell::Shell;
use super::{BUYER, erase, held, on_postgres, on_sqlite, step, traces};

/// The buyer's ticket did not become an order, but it left a row with the buyer's quota.
async fn erases_quota(fixture: Fixture, shell: Shell) -> Shell {
    let item = fixture.item(Stock::Counted(1), 1).await.0;
    shell.ask(&format!("INSERT INTO quota (buyer, item_id, used) VALUES ('{BUYER}', {item}, 0)"));
    let on = traces(&fixture).await;
    assert_eq!(
        (on.other, &on.held_back[..]),
        (0, &[held("sale-0", RetainReason::NotClosed, 0, 1)][..])
    );
    assert_eq!(erase(&fixture).await, Erased::default(), "the row of an open sale must stay");
    step(&fixture, "sale-0", PhaseStep::Close).await;
    assert_eq!(traces(&fixture).await, BuyerTraces { other: 1, ..BuyerTraces::default() });
    assert_eq!(erase(&fixture).await, Erased { orders: 0, other: 1 });
    assert_eq!(traces(&fixture).await, BuyerTraces::default());
    assert_eq!(shell.holding(BUYER), BTreeSet::new());
    shell
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_row_without_an_order_is_erased_in_sqlite() {
    on_sqlite(erases_quota).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_row_without_an_order_is_erased_in_postgres() {
    on_postgres(erases_quota).await;
}
