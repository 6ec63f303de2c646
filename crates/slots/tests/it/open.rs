//! Which servers may hold slots, and what is said of them.
use std::time::{Duration, Instant};

use doorbuster_core::slot::TicketAnswer;
use doorbuster_core::{Epoch, GrantId};
use doorbuster_slots::conformance::{request, terms};
use doorbuster_slots::{RedisOptions, Slots};

use super::faults::SLOT;
use super::server::{Server, options};

/// How long a replica may need to catch up.
const WITHIN: Duration = Duration::from_secs(10);

async fn refusal(urls: Vec<String>) -> String {
    Slots::redis(options(urls, "shop")).await.expect_err("refused").reason
}

#[tokio::test]
async fn a_server_that_evicts_is_refused() {
    let evicts = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let said = refusal(vec![evicts.url()]).await;
    assert!(said.contains("noeviction"), "{said}");
    let bounded = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"]);
    let said = refusal(vec![bounded.url(), evicts.url()]).await;
    assert!(said.contains("noeviction"), "{said}");
    Slots::redis(options(vec![bounded.url()], "shop")).await.expect("it refuses before it evicts");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_refused() {
    let server = Server::start(&[]);
    let said = refusal(vec![server.url(), "redis://127.0.0.1:1".to_owned()]).await;
    assert!(said.contains("127.0.0.1:1"), "{said}");
    assert!(refusal(Vec::new()).await.contains("no server"));
    assert!(refusal(vec!["http://127.0.0.1".to_owned()]).await.contains("slots.urls"));
}

#[tokio::test]
async fn a_password_is_needed_where_it_is_set_and_told_nowhere() {
    let server = Server::start_on_port(&[]);
    let _: () = server.ask(&["CONFIG", "SET", "requirepass", "tulip"]);
    let url = |password: &str| vec![format!("redis://:{password}@127.0.0.1:{}", server.port())];
    let slots = Slots::redis(options(url("tulip"), "shop")).await.expect("may hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), 10)).await.expect("reachable");
    assert!(!format!("{slots:?} {:?}", slots.evidence()).contains("tulip"));
    let said = refusal(url("daisy")).await;
    assert!(!said.contains("daisy") && said.contains("127.0.0.1"), "{said}");
    assert!(refusal(vec![server.url()]).await.contains("127.0.0.1"));
}

#[tokio::test]
async fn a_server_that_keeps_no_file_is_warned_of() {
    let forgets = Server::start(&[]);
    let keeps = Server::start(&["--appendonly", "yes"]);
    let slots = Slots::redis(options(vec![forgets.url(), keeps.url()], "shop")).await.expect("may hold slots");
    let said = slots.evidence();
    assert_eq!((said.servers.len(), said.warnings.len()), (2, 1), "{said:?}");
}

#[tokio::test]
async fn a_ticket_can_wait_for_its_replica_and_a_replica_is_no_place_for_slots() {
    let primary = Server::start_on_port(&[]);
    let one = RedisOptions { wait_replicas: 1, ..options(vec![primary.url()], "shop") };
    let slots = Slots::redis(one).await.expect("may hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), 10)).await.expect("reachable");
    let alone = slots.ticket(SLOT, &request("a", "k", 1, 9)).await;
    assert!(alone.as_ref().is_err_and(|e| e.may_have_happened), "{alone:?}");
    let replica = Server::start_on_port(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let until = Instant::now() + WITHIN;
    while !primary.ask::<String>(&["INFO", "replication"]).contains("state=online") {
        assert!(Instant::now() < until, "the replica follows");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A confirmation that comes too late is asked for again, as any answer is.
    let confirmed = async |buyer: &str| loop {
        match slots.ticket(SLOT, &request(buyer, "k", 1, 9)).await {
            Ok(answer) => break answer,
            Err(error) => assert!(Instant::now() < until && error.may_have_happened, "{error}"),
        }
    };
    assert!(matches!(confirmed("a").await, TicketAnswer::Again(_)));
    assert!(matches!(confirmed("b").await, TicketAnswer::Cut(_) | TicketAnswer::Again(_)));
    assert_eq!(replica.ask::<String>(&["HGET", "shop:{7#2}:term", "n"]), "2");
    assert!(refusal(vec![replica.url()]).await.contains("replica"));
}
