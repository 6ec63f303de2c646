//! How long an order waits for its provider, as a program of the version before writes it: it is found too early, left as it is, and written anew.
use doorbuster_core::TicketId;
use doorbuster_core::limits::{PROVIDER_ASK_WITHIN_MS, PROVIDER_GRACE_MS};
use doorbuster_core::money::{Checkout, CheckoutKept};
use doorbuster_store::PutOff;
use doorbuster_store::conformance::{HOLD_MS, Rig};

use crate::cluster;
use crate::rig::{Dir, open, open_postgres};

const SESSION: &str = "session";

async fn expire(rig: &Rig) -> Vec<TicketId> {
    rig.store.expire_due(9).await.expect("writes").into_iter().map(|order| order.id).collect()
}

async fn ask_in_vain(rig: &Rig, order: TicketId) {
    let it = PutOff { order, session: SESSION.to_owned(), ms: 300, in_vain: true };
    assert_eq!(rig.store.put_off_checkouts(vec![it]).await.expect("writes"), 1);
}

/// `run` runs SQL beside the store.
async fn is_written_anew(rig: Rig, run: impl Fn(&str)) {
    let next_due = async || rig.store.next_due().await.expect("reads");
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 1).await;
    let checkout = Checkout {
        order: order.id,
        provider: "paybank".to_owned(),
        session: SESSION.to_owned(),
        url: "https://pay.example/session".to_owned(),
        expires_at: order.pay_by,
        open: true,
        at: rig.clock.now(),
        asked_at: None,
    };
    assert!(matches!(rig.store.keep_checkout(checkout).await, Ok(CheckoutKept::Kept(_))));
    run("UPDATE orders SET ask_ms = 120000");
    assert_eq!(next_due().await, Some(order.pay_by.plus(PROVIDER_GRACE_MS)));
    rig.clock.pass(HOLD_MS + PROVIDER_GRACE_MS);
    assert_eq!(expire(&rig).await, [], "nobody could ask yet");
    assert_eq!(
        next_due().await,
        Some(order.pay_by.plus(PROVIDER_ASK_WITHIN_MS)),
        "and it is not found again and again"
    );
    ask_in_vain(&rig, order.id).await;
    assert_eq!(next_due().await, Some(rig.clock.now().plus(PROVIDER_GRACE_MS)));
    // More time, as that version gives it: what was asked before stands in the row, and does not count.
    let pay_by = rig.clock.now().plus(60_000);
    run(&format!("UPDATE orders SET pay_by = {}", pay_by.0));
    rig.clock.pass(60_000 + 2 * PROVIDER_GRACE_MS);
    assert_eq!(expire(&rig).await, []);
    assert_eq!(next_due().await, Some(pay_by.plus(PROVIDER_ASK_WITHIN_MS)));
    ask_in_vain(&rig, order.id).await;
    rig.clock.pass(PROVIDER_GRACE_MS - 1);
    assert_eq!(expire(&rig).await, []);
    rig.clock.pass(1);
    assert_eq!(expire(&rig).await, [order.id]);
    rig.adds_up().await;
    rig.store.close().await;
}

#[tokio::test]
async fn in_sqlite_a_wait_of_the_version_before_is_written_anew() {
    let dir = Dir::new();
    let rig = open(dir.path());
    is_written_anew(rig, |sql| dir.shell().execute_batch(sql).expect("a change")).await;
}

#[tokio::test]
async fn in_postgresql_a_wait_of_the_version_before_is_written_anew() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let rig = open_postgres(&cluster.url(&database), 1).await;
    is_written_anew(rig, |sql| drop(cluster.psql(&database, sql).expect("a change"))).await;
}
