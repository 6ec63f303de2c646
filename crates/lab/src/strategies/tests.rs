//! Tests of strategies at their weak points. The servers are real.

use std::time::Duration;

use redis::{Script, cmd, pipe};

use crate::backends::Backends;
use crate::contract::{Answer, Strategy, StrategyEntry, StrategyKind};
use crate::servers::{Servers, WorkDir, wait_until};

const REQUESTS: i64 = 2_000;
const STOCK: i64 = 1_000;

fn strategy(entry: &StrategyEntry, backends: &Backends) -> Box<dyn Strategy> {
    let StrategyKind::Worker(make) = entry.kind else { panic!("{} has a worker", entry.id) };
    make(backends)
}

/// Runs two consumers at the same time. This can happen for a moment when a consumer is killed: its
/// last commit can overlap with the work of the next consumer.
#[test]
fn two_consumers_of_one_queue_do_not_oversell() {
    let dir = WorkDir::create().expect("a directory");
    let servers = Servers::start(&dir).expect("PostgreSQL and Redis start");
    let make = |own: &Backends| strategy(&super::single_consumer_queue::ENTRY, own);
    // Each consumer has its own connections, as if it ran in its own process.
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
        assert!(all_answered.await, "each request must get an answer");
        make(&own).orders(&own).await.expect("PostgreSQL runs")
    });
    assert_eq!(i64::try_from(orders.len()), Ok(STOCK));
}

/// Returns the number of buyers who got units.
async fn sell_all(strategy: &dyn Strategy, units: i64) -> i64 {
    for buyer in 1.. {
        let mut answer = Answer::Busy;
        let decided = wait_until(Duration::from_secs(10), async || {
            answer = strategy.take(buyer, units).await.expect("the servers run");
            answer != Answer::Busy
        });
        assert!(decided.await, "buyer {buyer}, who wants {units} units, must get an answer");
        if answer == Answer::SoldOut {
            return buyer - 1;
        }
    }
    unreachable!("the stock ends")
}

#[test]
fn sub_domains_sell_from_the_pool_and_from_both_sub_domains() {
    let dir = WorkDir::create().expect("a directory");
    let servers = Servers::start(&dir).expect("PostgreSQL and Redis start");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // In the first case, there is enough stock for partitions of 400 units. In the other cases, the
    // stock is smaller or each buyer wants more units. So a partition or a refill may have too few
    // units for one buyer.
    for (stock, units) in [(1_700, 1), (3_000, 500), (9, 2), (1, 1), (0, 1)] {
        runtime.block_on(async {
            let own = Backends::new(&servers.addresses(4)).expect("valid addresses");
            own.clear().await.expect("the servers run");
            let sub_domains = strategy(&super::sub_domains::ENTRY, &own);
            sub_domains.prepare(stock).await.expect("empty servers");
            let scheduler = strategy(&super::sub_domains::ENTRY, &own);
            let task = tokio::spawn(async move { while scheduler.background().await.is_ok() {} });
            assert_eq!(sell_all(&*sub_domains, units).await, stock / units, "{stock} {units}");
            let is_written = wait_until(Duration::from_secs(10), async || {
                sub_domains.waiting().await.is_ok_and(|waiting| waiting == 0)
            });
            assert!(is_written.await, "the details of {stock} units must be written");
            task.abort();
            let orders = sub_domains.orders(&own).await.expect("PostgreSQL runs");
            let sold: i64 = orders.iter().map(|order| order.units).sum();
            let count = async |sql: &str| own.count(sql).await.expect("PostgreSQL runs");
            let left = count("SELECT available FROM stock").await;
            assert_eq!((sold, left), (stock - stock % units, (stock % units).unsigned_abs()));
            if units == 1 && stock > 1 {
                let places = count("SELECT count(DISTINCT (partition, domain)) FROM details").await;
                let writes = count("SELECT count(DISTINCT xmin::text) FROM details").await;
                // The scheduler writes the 1,700 records (`details`) in transactions of at most
                // 100.
                assert!(places == 4 && writes >= 17, "{places} places, {writes} writes");
            }
        });
    }
}

#[test]
fn the_classic_script_returns_the_codes_of_the_articles() {
    let dir = WorkDir::create().expect("a directory");
    let servers = Servers::start(&dir).expect("PostgreSQL and Redis start");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let own = Backends::new(&servers.addresses(1)).expect("valid addresses");
        let script = Script::new(include_str!("redis_lua.lua"));
        let book = async |buyer: i64, units: &str| {
            let mut call = script.key("item");
            own.redis().script::<i64>(call.key("orders").arg(buyer).arg(units)).await
        };
        let stocked = async |total: i64| {
            own.redis().stock_item(total).await.expect("Redis runs");
        };
        assert_eq!(book(1, "1").await.ok(), Some(-3), "an unknown item must give -3");
        stocked(5).await;
        assert_eq!(book(1, "3").await.ok(), Some(2), "two units must be left");
        assert_eq!(book(1, "3").await.ok(), Some(2), "a repeat must book nothing");
        assert_eq!(book(2, "3").await.ok(), Some(-2), "too few units must give -2");
        assert_eq!(book(2, "2").await.ok(), Some(0), "no unit must be left");
        for wrong in ["0", "-1", "1.5", "many"] {
            assert!(book(3, wrong).await.is_err(), "{wrong}");
        }
        own.clear().await.expect("the servers run");
        stocked(-1).await;
        assert_eq!((book(1, "9").await.ok(), book(1, "9").await.ok()), (Some(-1), Some(-1)));
    });
}

#[test]
fn a_slow_connection_makes_a_lock_end_during_the_work() {
    let dir = WorkDir::create().expect("a directory");
    let mut servers = Servers::start(&dir).expect("PostgreSQL and Redis start");
    servers.start_slow_proxy(1, 2).expect("the proxy starts");
    // All traffic of the slow server goes through the slow proxy, over one connection.
    let slow = Backends::new(&servers.worker_addresses(1)).expect("valid addresses");
    let fast = Backends::new(&servers.addresses(1)).expect("valid addresses");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let entry = &super::redis_lock_unsafe::ENTRY;
        let (slow_server, fast_server) = (strategy(entry, &slow), strategy(entry, &fast));
        fast_server.prepare(5).await.expect("empty servers");
        let late = tokio::spawn(async move { slow_server.take(1, 1).await });
        let is_locked =
            async || fast.redis().run::<bool>(cmd("EXISTS").arg("lock")).await.expect("Redis runs");
        assert!(
            wait_until(Duration::from_secs(10), is_locked).await,
            "the slow server must take the lock"
        );
        let answer = fast_server.take(2, 1).await.expect("the servers run");
        assert!(answer == Answer::Sold && !late.is_finished(), "the fast server must sell first");
        assert_eq!(late.await.expect("no panic").expect("the servers run"), Answer::Sold);
        assert!(servers.slow_chunks() > 0);
    });
}
