//! Tests which servers can hold slots, and the errors for other servers.
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
    let reason = refusal(vec![evicts.url()]).await;
    assert!(reason.contains("noeviction"), "{reason}");
    let bounded = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction"]);
    let reason = refusal(vec![bounded.url(), evicts.url()]).await;
    assert!(reason.contains("noeviction"), "{reason}");
    Slots::redis(options(vec![bounded.url()], "shop")).await.expect("a server with `noeviction`");
}

#[tokio::test]
async fn an_unreachable_server_is_refused() {
    let server = Server::start(&[]);
    let reason = refusal(vec![server.url(), "redis://127.0.0.1:1".to_owned()]).await;
    assert!(reason.contains("127.0.0.1:1"), "{reason}");
    assert!(refusal(Vec::new()).await.contains("no server"));
    assert!(refusal(vec!["http://127.0.0.1".to_owned()]).await.contains("slots.urls"));
}

#[tokio::test]
async fn a_password_is_required_where_it_is_set_and_never_shown() {
    let server = Server::start_on_port(&[]);
    let _: () = server.ask(&["CONFIG", "SET", "requirepass", "tulip"]);
    let url = |password: &str| vec![format!("redis://:{password}@127.0.0.1:{}", server.port())];
    let slots =
        Slots::redis(options(url("tulip"), "shop")).await.expect("the server can hold slots");
    slots.init(SLOT, terms(GrantId(1), Epoch(1), 10)).await.expect("reachable");
    assert!(!format!("{slots:?} {:?}", slots.evidence()).contains("tulip"));
    let reason = refusal(url("daisy")).await;
    assert!(!reason.contains("daisy") && reason.contains("127.0.0.1"), "{reason}");
    assert!(refusal(vec![server.url()]).await.contains("127.0.0.1"));
}

#[tokio::test]
async fn servers_are_identified_and_one_without_persistence_is_accepted() {
    let (forgets, keeps) = (Server::start(&[]), Server::start(&["--appendonly", "yes"]));
    let slots = Slots::redis(options(vec![forgets.url(), keeps.url()], "shop"))
        .await
        .expect("the server can hold slots");
    let evidence = slots.evidence();
    assert_eq!((evidence.servers.len(), &*evidence.refusals), (2, &[][..]), "{evidence:?}");
}

#[tokio::test]
async fn a_replica_is_refused() {
    let primary = Server::start_on_port(&[]);
    let replica = Server::start_on_port(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    assert!(refusal(vec![replica.url()]).await.contains("replica"));
}
