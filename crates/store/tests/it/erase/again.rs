//! Tests a second erasure of the same buyer.

use std::collections::BTreeSet;

use doorbuster_core::Stock;
use doorbuster_core::order::EndReason;
use doorbuster_core::sale::PhaseStep;
use doorbuster_store::conformance::Fixture;

use super::shell::Shell;
use super::{BUYER, end, erase, grant, on_postgres, on_sqlite, reserve, step};

/// After an erasure, the buyer buys again with the same request key, and is erased again.
async fn erases_again(fixture: Fixture, shell: Shell) -> Shell {
    for sale in 0..2 {
        let item = fixture.item(Stock::Counted(1), 1).await;
        let grant = grant(&fixture, item, 1).await;
        let order = reserve(&fixture, &grant, 1).await;
        end(&fixture, &order, EndReason::Cancel).await;
        step(&fixture, &format!("sale-{sale}"), PhaseStep::Close).await;
        assert_eq!(erase(&fixture).await.orders, 1);
        assert_eq!(shell.holding(BUYER), BTreeSet::new());
    }
    shell
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_is_erased_again_after_using_a_key_again_in_sqlite() {
    on_sqlite(erases_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_is_erased_again_after_using_a_key_again_in_postgres() {
    on_postgres(erases_again).await;
}
