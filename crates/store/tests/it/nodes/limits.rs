//! Tests rate limits that nodes share through PostgreSQL.

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall};
use tokio::task::JoinSet;

use super::two;
use crate::cluster;

/// Returns a call that takes `wanted` requests from a limit. The limit allows a burst of `burst`
/// requests, and then one request a minute.
fn call(wanted: u64, burst: u64) -> LimitCall {
    LimitCall {
        wanted_us: wanted * 60_000_000,
        cost_ns: 60_000_000_000,
        burst_us: burst * 60_000_000,
        ..LimitCall::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_together_take_no_more_of_a_limit_than_its_burst() {
    let (a, b, _) = two().await;
    let mut takers = JoinSet::new();
    for n in 0..8 {
        let store = if n % 2 == 0 { a.store.clone() } else { b.store.clone() };
        takers.spawn(async move {
            let mut granted = [0; 3];
            for _ in 0..10 {
                // All calls lock the same rows. Each task names the rows in a different sequence,
                // which could cause a deadlock.
                let mut calls: Vec<(u64, LimitCall)> =
                    (0..3).map(|key| (u64::MAX - key, call(1, 20))).collect();
                calls.rotate_left(n % 3);
                let answers = store.apply_limit_calls(calls.clone()).await.expect("writes");
                for ((key, _), LimitAnswer { granted_us, .. }) in calls.iter().zip(answers) {
                    granted[(u64::MAX - key) as usize] += granted_us / 60_000_000;
                }
            }
            granted
        });
    }
    let all = takers.join_all().await;
    for key in 0..3 {
        assert_eq!(all.iter().map(|granted| granted[key]).sum::<u64>(), 20);
    }
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}

#[tokio::test]
async fn a_limit_that_is_full_again_is_deleted_after_a_while() {
    let (a, b, database) = two().await;
    a.store.apply_limit_calls(vec![(1, call(1, 20)), (2, call(1, 20))]).await.expect("writes");
    let rows = || {
        let sql = "SELECT string_agg(key::text, ' ') FROM rate_limit";
        cluster::shared().psql(&database, sql).expect("a query").trim().to_owned()
    };
    assert_eq!(a.store.delete_unused_limits(10).await.expect("writes"), 0);
    let old = "UPDATE rate_limit SET state_us = state_us - 121000000 WHERE key = 1";
    cluster::shared().psql(&database, old).expect("a change");
    assert_eq!(a.store.delete_unused_limits(10).await.expect("writes"), 1);
    assert_eq!(rows(), "2");
    for fixture in [a, b] {
        fixture.store.close().await;
    }
}
