//! Tests digests. A node learns from digests which requests hold orders, and reads only the orders
//! that it needs.

use std::collections::BTreeSet;
use std::time::Duration;

use doorbuster_core::digest::{OrderDigest, buyer_tag};
use doorbuster_core::event::Attribution;
use doorbuster_core::order::EndReason;
use doorbuster_core::{Order, OrderState, SlotKey, Stock, Verdict};
use doorbuster_store::conformance::{Fixture, id_key};
use doorbuster_store::{Committed, RetentionCutoffs};

use tokio::task::JoinSet;

use super::{KNOWN_WITHIN, for_node, wait};
use crate::cluster;
use crate::fixture::{open_postgres, open_postgres_following};

/// Opens two nodes. The first node settles tickets. The second node reads other nodes' orders only
/// for the buyer Anna.
async fn two() -> (Fixture, Fixture, String) {
    let cluster = cluster::shared();
    let database = cluster.database();
    let url = cluster.url(&database);
    let follower = open_postgres_following(&url, 2, &[buyer_tag("anna")]).await;
    (open_postgres(&url, 1).await, follower, database)
}

fn request(order: &Order) -> u64 {
    id_key().request_hash(order.buyer.as_str(), order.key.as_str()).low_64_bits()
}

fn digests(all: &[Committed]) -> Vec<&OrderDigest> {
    all.iter().flat_map(|committed| &committed.digests).collect()
}

fn orders(all: &[Committed]) -> Vec<&Order> {
    all.iter().flat_map(|committed| &committed.orders).collect()
}

#[tokio::test]
async fn a_node_reads_only_its_own_orders_and_those_of_buyers_it_follows() {
    let (a, b, _) = two().await;
    let grant = a.slot(100, 50, 5).await;
    let bert = a.reserve(&grant, 1, "bert", 2).await;
    let all = wait(&b, KNOWN_WITHIN, |all| !digests(all).is_empty()).await;
    let [digest] = digests(&all)[..] else { panic!("expected one digest: {all:?}") };
    assert_eq!((digest.request, digest.item), (request(&bert), bert.item));
    assert_eq!((digest.grant, digest.n, digest.ended), (bert.grant, bert.n, false));
    assert!(orders(&all).is_empty(), "{all:?}");

    let anna = a.reserve(&grant, 2, "anna", 1).await;
    let all = wait(&b, KNOWN_WITHIN, |all| !orders(all).is_empty()).await;
    assert_eq!((orders(&all), digests(&all)), (vec![&anna], vec![]));
    assert!(all.iter().all(|committed| committed.verdicts.is_empty()), "{all:?}");

    let ticket = for_node(&a.ticket(&grant, 3, "carl", "k", 1), 2);
    let resolved = a.settle(&ticket).await;
    let all = wait(&b, KNOWN_WITHIN, |all| all.iter().any(|c| !c.verdicts.is_empty())).await;
    let verdicts: Vec<_> = all.iter().flat_map(|committed| &committed.verdicts).collect();
    let [(token, settled)] = verdicts[..] else { panic!("expected one verdict: {all:?}") };
    assert_eq!(
        (*token, settled.verdict, &settled.order),
        (ticket.token, Verdict::Reserved, &resolved.order)
    );

    let cancel = EndReason::Cancel;
    for order in [&bert, &anna] {
        a.store.end_order(order.id, cancel, Attribution::BUYER.clone()).await.expect("writes");
    }
    let both = |all: &[Committed]| !digests(all).is_empty() && !orders(all).is_empty();
    let all = wait(&b, KNOWN_WITHIN, both).await;
    let [digest] = digests(&all)[..] else { panic!("expected one digest: {all:?}") };
    assert_eq!((digest.request, digest.ended), (request(&bert), true));
    let [order] = orders(&all)[..] else { panic!("expected one order: {all:?}") };
    assert_eq!((order.id, order.state), (anna.id, OrderState::Cancelled));
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

#[tokio::test]
async fn counts_include_only_published_orders_and_digests() {
    let (a, b, _) = two().await;
    let grant = a.slot(1_000, 500, 1).await;
    let (mut known, mut published, mut reserved) = (0, 0, 0);
    let mut check = |all: &[Committed]| {
        for committed in all {
            known += committed.orders.len() + committed.digests.len();
            for counts in &committed.counts {
                assert!(
                    counts.held <= known as u64,
                    "only {known} orders are published, but the counts are {counts:?}"
                );
                published = counts.held;
            }
        }
        published
    };
    while reserved < 200 {
        for _ in 0..20 {
            reserved += 1;
            let buyer = if reserved % 50 == 0 { "anna".into() } else { format!("b{reserved}") };
            if reserved <= 50 || reserved % 50 != 0 {
                a.reserve(&grant, reserved, &buyer, 1).await;
            }
        }
        check(&b.commits.take());
    }
    let held = a.counts(grant.slot.item).await.held;
    if check(&[]) < held {
        let has_last = |c: &Committed| c.counts.iter().any(|counts| counts.held == held);
        check(&wait(&b, KNOWN_WITHIN, |all| all.iter().any(has_last)).await);
    }
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// A node settles large batches faster than it polls. The node must publish the orders at once,
/// even if their counts follow later.
#[tokio::test]
async fn a_large_batch_is_published_without_a_poll_and_its_counts_follow() {
    let (a, b, _) = two().await;
    let grant = a.slot(1_000, 500, 1).await;
    a.store.set_refresh_interval(Duration::from_millis(100));
    let batch = async |first: u64| {
        let tickets: Vec<_> = (first..first + 20)
            .map(|n| a.ticket(&grant, n, &format!("buyer-{n}"), "k", 1))
            .collect();
        a.store.settle(tickets).await.expect("settles");
        a.commits.take()
    };
    let (mut counted, mut early) = (0, 0);
    for round in 1..=10 {
        let seen = batch(20 * round - 19).await;
        assert_eq!(orders(&seen).len(), 20, "the orders must be published before the answer");
        counted = seen.iter().flat_map(|c| &c.counts).map(|c| c.held).fold(counted, u64::max);
        early += usize::from(counted < 20 * round);
    }
    assert!(early > 0, "no batch was published before a poll");
    let has_all = |all: &[Committed]| all.iter().flat_map(|c| &c.counts).any(|c| c.held == 200);
    if counted < 200 {
        wait(&a, KNOWN_WITHIN, has_all).await;
    }
    wait(&b, KNOWN_WITHIN, has_all).await;
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

/// During an upgrade, a newer node may write digests in a format that an older node cannot read.
/// The older node must then read the orders themselves.
#[tokio::test]
async fn if_a_digest_has_an_unknown_format_a_node_reads_the_orders_and_continues() {
    let (a, b, database) = two().await;
    let grant = a.slot(100, 50, 5).await;
    let bert = a.reserve(&grant, 1, "bert", 2).await;
    wait(&b, KNOWN_WITHIN, |all| !digests(all).is_empty()).await;
    let newer = "BEGIN; UPDATE orders SET changed = pg_current_xact_id();
         INSERT INTO commit_digest (at, orders) SELECT max(at), '\\x02'::bytea
         FROM commit_digest; COMMIT";
    cluster::shared().psql(&database, newer).expect("a change");
    // This commit has no notification, so the node finds it at its next poll.
    let all = wait(&b, 10 * KNOWN_WITHIN, |all| !orders(all).is_empty()).await;
    let found: Vec<_> = orders(&all).iter().map(|order| order.id).collect();
    assert_eq!((found, digests(&all)), (vec![bert.id], vec![]));
    let carl = a.reserve(&grant, 2, "carl", 1).await;
    let all = wait(&b, KNOWN_WITHIN, |all| !digests(all).is_empty()).await;
    let [digest] = digests(&all)[..] else { panic!("expected one digest: {all:?}") };
    assert_eq!(digest.request, request(&carl));
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

#[tokio::test]
async fn digests_are_deleted_after_some_minutes() {
    let (a, b, database) = two().await;
    let grant = a.slot(100, 50, 5).await;
    a.reserve(&grant, 1, "bert", 1).await;
    a.clock.advance(601_000);
    a.reserve(&grant, 2, "carl", 1).await;
    let count = || {
        let sql = "SELECT count(*) FROM commit_digest";
        cluster::shared().psql(&database, sql).expect("a query").trim().to_owned()
    };
    assert_eq!(count(), "2");
    let none = RetentionCutoffs::NONE;
    a.store.delete_expired(none, 100).await.expect("writes");
    assert_eq!(count(), "1", "the newer digest must be kept");
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn published_orders_are_complete_up_to_the_counts() {
    let (a, b, _) = super::two().await;
    let item = a.item(Stock::Counted(2_000), 3).await;
    let mut settlers = JoinSet::new();
    for index in 0..4 {
        let grant = a.open(SlotKey { item, index }, 500).await;
        let batches: Vec<Vec<_>> = (0..25)
            .map(|batch| {
                (1..=10)
                    .map(|i| {
                        a.ticket(
                            &grant,
                            batch * 10 + i,
                            &format!("buyer-{index}-{batch}-{i}"),
                            "k",
                            1,
                        )
                    })
                    .collect()
            })
            .collect();
        let store = if index == 3 { b.store.clone() } else { a.store.clone() };
        settlers.spawn(async move {
            for batch in batches {
                store.settle(batch).await.expect("settles");
            }
        });
    }
    settlers.join_all().await;
    let done = |all: &[Committed]| {
        all.iter().flat_map(|c| &c.counts).any(|c| c.item == item && c.held == 1_000)
    };
    for fixture in [&a, &b] {
        let mut known = BTreeSet::new();
        for committed in wait(fixture, KNOWN_WITHIN, done).await {
            known.extend(committed.orders.iter().map(|o| o.id));
            for counts in committed.counts.iter().filter(|c| c.item == item) {
                assert!(
                    counts.held <= known.len() as u64,
                    "the counts are {counts:?}, but only {} orders are known",
                    known.len()
                );
            }
        }
    }
    a.store.close().await;
    b.store.close().await;
}
