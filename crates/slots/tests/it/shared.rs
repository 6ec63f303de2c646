//! Tests the calls to the Redis server that nodes share: scripts, redirects, and an unreachable
//! server.
use std::time::{Duration, Instant};

use doorbuster_core::gate::shared_limit::{LimitAnswer, LimitCall};
use doorbuster_slots::{ScriptReply, SharedRedis};
use proptest::strategy::{Strategy, ValueTree};

use super::cluster;
use super::server::Server;
use super::watch::Stopwatch;

const COUNT: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

async fn counts(shared: &SharedRedis, expected: i64) {
    let key = [shared.key("limit", "a")];
    let reply = shared.eval(COUNT, &key, &["2"]).await.expect("reachable");
    assert_eq!(reply, ScriptReply::Number(expected));
}

#[tokio::test]
async fn a_script_runs_also_on_a_server_that_forgot_it() {
    let server = Server::start(&[]);
    let shared = SharedRedis::new(&[server.url()], "shop").expect("an address");
    counts(&shared, 2).await;
    server.ask::<String>(&["SCRIPT", "FLUSH"]);
    counts(&shared, 4).await;
    shared.set(&shared.key("status", "s"), b"x", Duration::from_secs(60)).await.expect("reachable");
    assert_eq!(
        shared.get(&shared.key("status", "s")).await.expect("reachable"),
        Some(b"x".to_vec())
    );
    assert!(server.ask::<i64>(&["PTTL", "shop:{shared}:status:s"]) > 1_000);
    assert_eq!(shared.get(&shared.key("status", "t")).await.expect("reachable"), None);
}

#[tokio::test]
async fn a_clusters_redirect_is_followed_to_the_server_with_the_keys() {
    let servers = cluster::start();
    for server in &servers {
        let shared = SharedRedis::new(&[server.url()], &format!("shop{}", server.port()))
            .expect("an address");
        counts(&shared, 2).await;
        counts(&shared, 4).await;
    }
    // From here on, these servers leave out their host in a redirect.
    for server in &servers {
        let unknown = ["CONFIG", "SET", "cluster-preferred-endpoint-type", "unknown-endpoint"];
        let _: () = server.ask(&unknown);
    }
    for server in &servers {
        let prefix = format!("shop{}", server.port());
        let shared = SharedRedis::new(&[server.url()], &prefix).expect("an address");
        counts(&shared, 6).await;
    }
}

#[tokio::test]
async fn the_next_server_is_used_only_while_the_first_is_unreachable() {
    let mut servers = [Server::start_on_port(&[]), Server::start_on_port(&[])];
    servers.sort_by_key(Server::url);
    let urls: Vec<String> = servers.iter().rev().map(Server::url).collect();
    let shared = SharedRedis::new(&urls, "shop").expect("addresses");
    counts(&shared, 2).await;
    servers[0].kill();
    let key = [shared.key("limit", "a")];
    // The result is ignored: the first call only notices the broken connection.
    drop(shared.eval(COUNT, &key, &["2"]).await);
    counts(&shared, 2).await;
    servers[0].restart();
    let until = Instant::now() + Duration::from_secs(60);
    while servers[0].ask::<Option<i64>>(&["GET", &key[0]]).is_none() {
        assert!(Instant::now() < until, "the first server is not used again");
        shared.eval(COUNT, &key, &["2"]).await.expect("one server is reachable");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_unreachable_or_silent_server_fails_calls_in_bounded_time() {
    let mut server = Server::start_on_port(&[]);
    let shared = SharedRedis::new(&[server.url()], "shop").expect("an address");
    counts(&shared, 2).await;
    server.freeze();
    let key = [shared.key("limit", "a")];
    let started = Stopwatch::start();
    let error = shared.eval(COUNT, &key, &["2"]).await.expect_err("no answer comes");
    assert!(error.may_have_happened, "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    server.thaw();
    server.kill();
    let error = shared.get(&key[0]).await.expect_err("the server is down");
    assert!(!error.may_have_happened, "{error}");
    let started = Stopwatch::start();
    for _ in 0..1_000 {
        shared.get(&key[0]).await.expect_err("the server is down");
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "calls must fail at once: {:?}",
        started.elapsed()
    );
    server.restart();
    let until = Instant::now() + Duration::from_secs(60);
    while shared.get(&key[0]).await.is_err() {
        assert!(Instant::now() < until, "the restarted server is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The limit allows one request every 10 seconds, and a burst of six requests.
fn limit_call(used_us: u64, wanted_us: u64) -> LimitCall {
    let (cost_ns, burst_us) = (10_000_000_000, 60_000_000);
    LimitCall { used_us, wanted_us, cost_ns, burst_us, reserved_us: 0 }
}

#[tokio::test]
async fn all_nodes_together_take_no_more_of_a_limit_than_its_burst() {
    let server = Server::start(&[]);
    let [first, second] =
        [0, 1].map(|_| SharedRedis::new(&[server.url()], "shop").expect("an address"));
    let take = async |node: &SharedRedis, key, call| {
        node.apply_limit_calls(&[(key, call)]).await.expect("reachable")[0]
    };
    // Compares with a tolerance, because `ahead_us` falls while time passes between two calls.
    let near = |answer: LimitAnswer, ahead_us: u64, granted_us: u64| {
        assert!((ahead_us - 5_000_000..=ahead_us).contains(&answer.ahead_us), "{answer:?}");
        assert_eq!(answer.granted_us, granted_us);
    };
    near(take(&first, 1, limit_call(0, 20_000_000)).await, 20_000_000, 20_000_000);
    near(take(&second, 1, limit_call(10_000_000, 0)).await, 30_000_000, 0);
    near(take(&first, 1, limit_call(0, 50_000_000)).await, 60_000_000, 30_000_000);
    near(take(&second, 1, limit_call(0, 10_000_000)).await, 60_000_000, 0);
    near(take(&second, 1, limit_call(900_000_000, 0)).await, 120_000_000, 0);
    let key = |key: u64| first.key("limit", &format!("{key:016x}"));
    let lives = server.ask::<i64>(&["PTTL", &key(1)]);
    assert!((100_000..=120_000).contains(&lives), "{lives}");
    assert_eq!(take(&first, 2, limit_call(0, 0)).await, LimitAnswer::default());
    assert_eq!(server.ask::<i64>(&["EXISTS", &key(2)]), 0, "an unused limit must not have a key");
    near(take(&first, 3, limit_call(5_000_000, 0)).await, 5_000_000, 0);
    take(&first, 4, LimitCall { burst_us: 5_000, ..limit_call(5_000, 0) }).await;
    let until = Instant::now() + Duration::from_secs(60);
    while server.ask::<i64>(&["EXISTS", &key(4)]) == 1 {
        assert!(Instant::now() < until, "the limit's state does not expire");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(first.apply_limit_calls(&[]).await.expect("reachable").is_empty());
    server.ask::<String>(&["SET", &key(5), "nonsense"]);
    near(take(&first, 5, limit_call(7_000_000, 0)).await, 7_000_000, 0);
}

#[tokio::test]
async fn the_script_of_limits_decides_as_the_rule_in_the_core() {
    let server = Server::start(&[]);
    let shared = SharedRedis::new(&[server.url()], "shop").expect("an address");
    // All amounts are multiples of ten minutes. The test is much shorter, so the time that passes
    // during the test changes no decision.
    const UNIT_US: u64 = 600_000_000;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let number = |most: u64| proptest::num::u64::ANY.prop_map(move |n| n % (most + 1));
    let any = (number(6), number(8), number(3), number(12), number(4));
    let mut states = [0; 4];
    for n in 0..400 {
        let (used, wanted, cost, burst, reserved) =
            any.new_tree(&mut runner).expect("a value").current();
        let key = n % states.len();
        let call = LimitCall {
            used_us: used * UNIT_US,
            wanted_us: wanted * UNIT_US,
            cost_ns: (cost + 1) * UNIT_US * 1_000,
            burst_us: burst * UNIT_US,
            reserved_us: reserved * UNIT_US,
        };
        let (state, expected) = call.apply(states[key], 0);
        states[key] = state;
        let request = [(key as u64, call)];
        let answer = shared.apply_limit_calls(&request).await.expect("reachable")[0];
        assert_eq!(answer.granted_us, expected.granted_us, "{call:?}");
        let passed = expected.ahead_us - answer.ahead_us.min(expected.ahead_us);
        assert!(answer.ahead_us <= expected.ahead_us && passed < UNIT_US / 2, "{call:?}");
    }
}
