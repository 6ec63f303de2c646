//! Which servers may hold slots, and the errors for the others.
use doorbuster_core::{Epoch, GrantId};
use doorbuster_slots::Slots;
use doorbuster_slots::conformance::terms;

use super::faults::SLOT;
use super::server::{Server, options};

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
async fn a_password_is_required_where_it_is_set_and_never_shown() {
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
async fn servers_are_named_and_one_that_keeps_no_file_is_none_the_worse() {
    let (forgets, keeps) = (Server::start(&[]), Server::start(&["--appendonly", "yes"]));
    let slots = Slots::redis(options(vec![forgets.url(), keeps.url()], "shop"))
        .await
        .expect("may hold slots");
    let said = slots.evidence();
    assert_eq!((said.servers.len(), &*said.refusals), (2, &[][..]), "{said:?}");
}

#[tokio::test]
async fn a_replica_is_no_place_for_slots() {
    let primary = Server::start_on_port(&[]);
    let replica = Server::start_on_port(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    assert!(refusal(vec![replica.url()]).await.contains("replica"));
}
