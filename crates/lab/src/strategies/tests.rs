//! Tests of strategies at their weak points. The servers are real.

use std::time::Duration;

use redis::{cmd, pipe};

use crate::backends::Backends;
use crate::contract::StrategyKind;
use crate::servers::{Servers, WorkDir, wait_until};

/// Requests in the queue, and units on sale.
const REQUESTS: i64 = 2_000;
const STOCK: i64 = 1_000;

/// After the kill of a consumer, its last commit can overlap with the work of the next consumer.
#[test]
fn two_consumers_of_one_queue_do_not_oversell() {
    let dir = WorkDir::create().expect("a directory");
    let servers = Servers::start(&dir).expect("PostgreSQL and Redis start");
    let StrategyKind::Worker(make) = super::single_consumer_queue::ENTRY.kind else {
        panic!("the strategy has a worker")
    };
    // Each consumer has its own connections, as in a process of its own.
    let backends = || Backends::new(&servers.addresses(2)).expect("valid addresses");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let orders = runtime.block_on(async {
        let own = backends();
        make(&own).prepare(STOCK).await.expect("empty servers");
        let mut push = cmd("LPUSH");
        push.arg("queue");
        for buyer in 1..=REQUESTS {
            push.arg(format!("{buyer}:1"));
        }
        own.redis().run::<()>(&push).await.expect("Redis runs");
        for consumer in [make(&backends()), make(&backends())] {
            tokio::spawn(async move { while consumer.background().await.is_ok() {} });
        }
        let mut look = pipe();
        look.cmd("DBSIZE").cmd("EXISTS").arg("queue");
        let all_answered = wait_until(Duration::from_secs(60), async || {
            let (keys, queue): (i64, i64) = own.redis().run_all(&look).await.expect("Redis runs");
            keys - queue == REQUESTS
        });
        assert!(all_answered.await, "each request has an answer");
        make(&own).orders().await.expect("PostgreSQL runs")
    });
    assert_eq!(i64::try_from(orders.len()), Ok(STOCK));
}
