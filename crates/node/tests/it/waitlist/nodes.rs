//! Tests that all nodes share one waitlist.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{TIMEOUT, id};
use crate::app::TestApp;
use crate::events::{next, socket};
use crate::money::{self, captured, send_message};
use crate::nodes::redis::Redis;
use crate::postgres::Cluster;

async fn node(home: &Cluster, database: &str) -> TestApp {
    let url = crate::several_servers::address(home, database);
    TestApp::with(&[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())])
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_share_one_waitlist() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let nodes = [node(&home, &database).await, node(&home, &database).await];
    let first = nodes[0].held_out(1, 3, 900).await;
    let mut entries = Vec::new();
    for (n, buyer) in ["b", "c", "e", "f"].into_iter().enumerate() {
        let begun = Instant::now();
        let id = loop {
            // A node may show the unit as free until it learns that another node sold the unit.
            let reply = nodes[(n + 1) % 2].join(buyer, "line").await;
            if reply.status == 201 {
                break id(&reply.json());
            }
            assert!(
                reply.verdict() != "500 internal" && begun.elapsed() < TIMEOUT,
                "{}",
                reply.text()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let there = nodes[n % 2].waiting_entry(buyer, &id).await;
        assert_eq!(
            (&there["state"], &there["ahead"]),
            (&json!("waiting"), &json!(n)),
            "the entry must be the same at the other node"
        );
        entries.push((buyer, id));
    }
    // Each buyer who got a unit cancels at one node. The next buyer must get the event at the other
    // node.
    let mut held = ("a", first);
    for (n, (buyer, id)) in entries.iter().enumerate() {
        let (here, there) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let mut events = socket(here, buyer, "").await;
        there.cancel(held.0, &held.1).await;
        for node in [here, there] {
            let reply = node.buy("d", &format!("k{n}"), "spring", "phone", 1).await;
            assert!(
                matches!(&*reply.verdict(), "409 sold_out" | "503 unavailable"),
                "{}",
                reply.text()
            );
        }
        loop {
            let event = next(&mut events).await;
            if event["order"]["id"] == **id {
                assert_eq!(event["order"]["state"], "reserved", "{event}");
                break;
            }
        }
        here.becomes(buyer, id, "reserved").await;
        held = (buyer, id.clone());
    }
    nodes[0].is_well().await;
    let row = nodes[1].row().await;
    assert_eq!((&row["held"], &row["waiting"], &row["kept"]), (&json!(4), &json!(0), &json!(0)));
}

async fn in_cluster(home: &Cluster, database: &str, slots: &str) -> TestApp {
    let (url, secret) =
        (crate::several_servers::address(home, database), money::secret(money::KEY));
    TestApp::with(&[
        ("DOORBUSTER_SHAPE", "cluster"),
        ("DOORBUSTER_STORE__URL", url.as_str()),
        ("DOORBUSTER_SLOTS__URLS", slots),
        ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET", secret.as_str()),
    ])
    .await
}

/// Starts two nodes of one deployment. Returns the leader, and then the other node.
async fn pair(home: &Cluster, slots: &str) -> (TestApp, TestApp) {
    let database = home.database();
    let (one, other) =
        (in_cluster(home, &database, slots).await, in_cluster(home, &database, slots).await);
    let begun = Instant::now();
    loop {
        let leads = async |app: &TestApp| {
            app.get("/metrics").await.text().lines().any(|l| l == "doorbuster_is_leader 1")
        };
        match (leads(&one).await, leads(&other).await) {
            (true, false) => return (one, other),
            (false, true) => return (other, one),
            _ => {
                assert!(begun.elapsed() < TIMEOUT, "timed out; expected: one server is the leader")
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Joins the waitlist at a node. Repeats the request, because the node may not know yet that the
/// item is sold out.
async fn joined_at(app: &TestApp, buyer: &str) -> String {
    let begun = Instant::now();
    loop {
        let reply = app.join(buyer, "line").await;
        if reply.status == 201 {
            return id(&reply.json());
        }
        assert!(reply.status < 500 && begun.elapsed() < TIMEOUT, "{}", reply.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_an_expired_hold_reaches_the_node_of_the_next_waiting_buyer() {
    let (home, (_redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let (leader, here) = pair(&home, &slots).await;
    let first = leader.held_out(1, 0, 8).await;
    let b = joined_at(&here, "b").await;
    let mut events = socket(&here, "b", "").await;
    let begun = Instant::now();
    loop {
        let event = next(&mut events).await;
        assert!(begun.elapsed() < TIMEOUT, "b got no event about the entry: {event}");
        if event["order"]["id"] == *b {
            assert_eq!(event["order"]["state"], "reserved", "{event}");
            break;
        }
    }
    assert_eq!(leader.waiting_entry("a", &first).await["state"], "expired");
    assert_eq!(
        here.buy("d", "k", "spring", "phone", 1).await.verdict(),
        "409 sold_out",
        "the returned unit must not be for sale"
    );
    leader.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_skipped_buyer_is_notified_at_their_own_node() {
    let (home, (_redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let (leader, here) = pair(&home, &slots).await;
    leader.open_sale("spring", 2.into(), 1).await;
    let ended = money::order(&leader, "b", "k", 1).await;
    let a = money::order(&leader, "a", "k", 1).await;
    leader.cancel("b", &ended).await;
    let begun = Instant::now();
    let e = loop {
        let reply = leader.buy("e", "k", "spring", "phone", 1).await;
        if reply.status == 201 {
            break id(&reply.json());
        }
        assert!(begun.elapsed() < TIMEOUT, "{}", reply.text());
    };
    let (b, c) = (joined_at(&here, "b").await, joined_at(&here, "c").await);
    let mut events = socket(&here, "b", "").await;
    // While the sale is paused, a payment for the cancelled order takes the kept unit.
    leader.step("spring", "pause").await;
    leader.cancel("a", &a).await;
    assert_eq!(
        send_message(&leader, "evt_late", &captured("pay_late", &ended, 10)).await.verdict(),
        "200"
    );
    leader.becomes("b", &ended, "paid").await;
    leader.step("spring", "resume").await;
    leader.cancel("e", &e).await;
    here.becomes("c", &c, "reserved").await;
    let begun = Instant::now();
    loop {
        let event = next(&mut events).await;
        // Other events arrive every second, so the wait for the next event never times out. The
        // loop therefore has its own timeout.
        assert!(begun.elapsed() < TIMEOUT, "b got no event about the entry: {event}");
        if event["order"]["id"] == *b {
            let ending = (&event["order"]["state"], &event["order"]["code"]);
            assert_eq!(ending, (&json!("refused"), &json!("limit_reached")), "{event}");
            break;
        }
    }
    leader.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_buyer_still_waiting_at_the_end_is_notified_at_their_own_node() {
    let (home, (_redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let (leader, here) = pair(&home, &slots).await;
    leader.held_out(1, 1, 900).await;
    let b = joined_at(&here, "b").await;
    let mut events = socket(&here, "b", "").await;
    here.step("spring", "close").await;
    let begun = Instant::now();
    loop {
        let event = next(&mut events).await;
        assert!(begun.elapsed() < TIMEOUT, "b got no event about the entry: {event}");
        if event["order"]["id"] == *b {
            let ending = (&event["order"]["state"], &event["order"]["code"]);
            assert_eq!(ending, (&json!("refused"), &json!("ended")), "{event}");
            break;
        }
    }
    let over = |found: &serde_json::Value| found["items"][0]["waiting"] == 0;
    here.until("/v1/admin/sales/spring/stock", "the waitlist ends", over).await;
    leader.is_well().await;
}
