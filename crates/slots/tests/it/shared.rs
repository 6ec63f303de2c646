//! Tests the server that nodes share for data that may be lost: scripts, redirections, and an
//! unreachable server.
use std::time::{Duration, Instant};

use doorbuster_slots::{LimitCharge, ScriptReply, SharedRedis};

use super::cluster;
use super::server::Server;
use super::watch::Watch;

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
    // The first call notices the broken connection.
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
    let started = Watch::start();
    let error = shared.eval(COUNT, &key, &["2"]).await.expect_err("no answer comes");
    assert!(error.may_have_happened, "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    server.thaw();
    server.kill();
    let error = shared.get(&key[0]).await.expect_err("the server is down");
    assert!(!error.may_have_happened, "{error}");
    let started = Watch::start();
    for _ in 0..1_000 {
        shared.get(&key[0]).await.expect_err("the server is down");
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "calls fail at once: {:?}",
        started.elapsed()
    );
    server.restart();
    let until = Instant::now() + Duration::from_secs(60);
    while shared.get(&key[0]).await.is_err() {
        assert!(Instant::now() < until, "the restarted server is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_limit_is_charged_by_all_nodes_together_and_expires() {
    let server = Server::start(&[]);
    let [first, second] =
        [0, 1].map(|_| SharedRedis::new(&[server.url()], "shop").expect("an address"));
    let charge = |key, used_us| LimitCharge { key, used_us, burst_us: 60_000_000 };
    // A little of the charge is paid off before the next call.
    let near = |ahead: u64, expected: u64| {
        assert!((expected - 5_000_000..=expected).contains(&ahead), "{ahead}")
    };
    let charged = first.charge(&[charge(1, 20_000_000), charge(2, 0)]).await.expect("reachable");
    assert_eq!((charged[0], charged[1]), (20_000_000, 0));
    near(second.charge(&[charge(1, 10_000_000)]).await.expect("reachable")[0], 30_000_000);
    near(first.charge(&[charge(1, 0)]).await.expect("reachable")[0], 30_000_000);
    assert_eq!(
        second.charge(&[charge(1, 900_000_000)]).await.expect("reachable"),
        [120_000_000],
        "a state is ahead by at most twice the burst"
    );
    let key = first.key("limit", &format!("{:016x}", 1));
    let lives = server.ask::<i64>(&["PTTL", &key]);
    assert!((100_000..=120_000).contains(&lives), "{lives}");
    assert_eq!(
        server.ask::<i64>(&["EXISTS", &first.key("limit", &format!("{:016x}", 2))]),
        0,
        "an unused limit has no key"
    );
    assert_eq!(first.charge(&[charge(3, 5_000)]).await.expect("reachable"), [5_000]);
    let until = Instant::now() + Duration::from_secs(60);
    while server.ask::<i64>(&["EXISTS", &first.key("limit", &format!("{:016x}", 3))]) == 1 {
        assert!(Instant::now() < until, "the state does not expire");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(first.charge(&[]).await.expect("reachable"), Vec::<u64>::new());
    server.ask::<String>(&["SET", &first.key("limit", &format!("{:016x}", 4)), "nonsense"]);
    assert_eq!(
        first.charge(&[charge(4, 7_000)]).await.expect("reachable"),
        [7_000],
        "an invalid state counts as no state"
    );
}
