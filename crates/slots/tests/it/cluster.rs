//! Tests slots on a Redis Cluster of three primaries: the conformance suite, and hash slots that
//! move to other servers.
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use doorbuster_core::edge::FeedPosition;
use doorbuster_core::{Epoch, GrantId, ItemId, SlotKey};
use doorbuster_slots::conformance::{self, terms};
use doorbuster_slots::{DequeuedTicket, FeedChange, SharedRedis, Slots};

use super::burst::burst;
use super::server::{Server, options};

/// Longest time until the servers agree.
const READY_WITHIN: Duration = Duration::from_secs(60);
const PRIMARIES: usize = 3;
const HASH_SLOTS: usize = 16_384;
/// If a server sends no message for this many milliseconds, the other servers treat it as failed,
/// or forget it if it has just joined. The time is long, because a busy machine may pause all
/// servers. A test that replaces a server sets a shorter time.
const MISSED_AFTER_MS: &str = "30000";
const REPLACED_AFTER_MS: &str = "4000";

fn start_with(replicas: usize) -> Vec<Server> {
    let arguments = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        MISSED_AFTER_MS,
        "--repl-diskless-sync-delay",
        "0",
    ];
    let servers: Vec<Server> =
        (0..PRIMARIES * (replicas + 1)).map(|_| Server::start_on_port(&arguments)).collect();
    let (primaries, others) = servers.split_at(PRIMARIES);
    for (i, server) in primaries.iter().enumerate() {
        let (first, last) = (i * HASH_SLOTS / PRIMARIES, (i + 1) * HASH_SLOTS / PRIMARIES - 1);
        let _: () = server.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        let _: () =
            server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
    }
    for server in &servers[1..] {
        let _: () = servers[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &server.port().to_string()]);
    }
    let all = format!("cluster_known_nodes:{}\r", servers.len());
    let says =
        |server: &Server, what: &str| server.ask::<String>(&["CLUSTER", "INFO"]).contains(what);
    wait_until("the servers know each other", || servers.iter().all(|server| says(server, &all)));
    for (i, server) in others.iter().enumerate() {
        let id: String = primaries[i % PRIMARIES].ask(&["CLUSTER", "MYID"]);
        // The command fails as long as the replica does not know its primary.
        wait_until("a replica follows", || {
            server.try_ask::<()>(&["CLUSTER", "REPLICATE", &id]).is_ok()
        });
    }
    let whole = |server: &Server| {
        server
            .ask::<String>(&["CLUSTER", "NODES"])
            .lines()
            .filter(|line| line.contains("slave"))
            .count()
            == others.len()
    };
    wait_until("the servers agree", || {
        servers.iter().all(|s| says(s, "cluster_state:ok\r") && whole(s))
    });
    for server in servers.iter().filter(|_| replicas > 0) {
        let _: () = server.ask(&["CONFIG", "SET", "cluster-node-timeout", REPLACED_AFTER_MS]);
    }
    servers
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + READY_WITHIN;
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts three primaries.
pub fn start() -> Vec<Server> {
    start_with(0)
}

async fn slots(test: &str) -> Slots {
    static SERVERS: OnceLock<Vec<Server>> = OnceLock::new();
    let servers = SERVERS.get_or_init(start);
    // One URL is enough: the client asks this server for the addresses of the other servers.
    Slots::redis(options(vec![servers[0].url()], test)).await.expect("the servers can hold slots")
}

crate::conforms!(slots);

/// Slots that are spread over all three servers.
const SLOTS: [SlotKey; 8] = {
    let mut slots = [SlotKey { item: ItemId(5), index: 0 }; 8];
    let mut i = 1;
    while i < slots.len() {
        slots[i].index = i as u32;
        i += 1;
    }
    slots
};
const STOCK: u64 = 200;

async fn stocked(servers: &[Server], prefix: &str) -> Slots {
    let slots = Slots::redis(options(vec![servers[0].url()], prefix))
        .await
        .expect("the servers can hold slots");
    for (i, &slot) in SLOTS.iter().enumerate() {
        slots.init(slot, terms(GrantId(i as u64 + 1), Epoch(1), STOCK)).await.expect("reachable");
    }
    slots
}

#[tokio::test]
async fn requests_for_many_slots_are_batched_and_every_unit_is_issued_once() {
    let servers = start();
    let slots = stocked(&servers, "shop").await;
    slots.serve(&SLOTS).expect("eight slots");
    let outcome = burst(&slots, &SLOTS, 2_000).await;
    assert_eq!(
        (outcome.issued.len(), outcome.short, outcome.failed.len()),
        (1_600, 400, 0),
        "{:?}",
        outcome.failed.first()
    );
    let mut taken = Vec::new();
    while taken.len() < 1_600 {
        let more = tokio::time::timeout(READY_WITHIN, slots.take(500)).await;
        taken.extend(more.expect("tickets are waiting").expect("reachable"));
    }
    let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
    slots.acknowledge(&done).await.expect("reachable");
    for slot in SLOTS {
        assert_eq!(outcome.numbers_of(slot), (1..=STOCK).collect::<Vec<_>>());
        let view = slots.view(slot).await.expect("reachable").expect("the slot has an epoch");
        assert_eq!((view.available, view.unacknowledged), (0, 0));
    }
}

#[tokio::test]
async fn a_slot_that_moves_under_load_is_followed() {
    let servers = start();
    let slots = stocked(&servers, "shop").await;
    let slot = SLOTS[0];
    let over = [slot];
    slots.serve(&over).expect("one slot");
    let (outcome, _servers) = tokio::join!(burst(&slots, &over, 3_000), async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let moving = tokio::task::spawn_blocking(move || {
            move_hash_slot(&servers, "shop:{5#0}");
            servers
        });
        let servers = moving.await.expect("moved");
        let home = servers
            .iter()
            .filter(|s| !s.ask::<Vec<String>>(&["KEYS", "shop:{5#0}:term"]).is_empty());
        assert_eq!(home.count(), 1);
        // After the move, not only purchases must find the slot's new server: `view` and the reader
        // of the queue must find it too.
        let view = slots.view(slot).await.expect("reachable").expect("the slot has an epoch");
        assert!(view.n.0 > 0);
        let taken = tokio::time::timeout(READY_WITHIN, slots.take(1)).await;
        taken.expect("tickets are waiting").expect("reachable");
        servers
    });
    let failed = &outcome.failed;
    assert!(
        failed.iter().all(|e| !e.may_have_happened),
        "calls to the wrong server must have no effect: {failed:?}"
    );
    let numbers = outcome.numbers_of(slot);
    assert_eq!(numbers, (1..=STOCK).collect::<Vec<_>>(), "{} calls failed", failed.len());
}

#[tokio::test]
async fn a_replica_that_takes_over_from_a_dead_primary_is_found_and_reported() {
    take_over(Server::kill).await;
}

#[tokio::test]
async fn a_replica_that_takes_over_from_a_silent_primary_is_found_and_reported() {
    take_over(|server| server.freeze()).await;
}

async fn take_over(from: impl Fn(&mut Server)) {
    let mut servers = start_with(1);
    let has = |s: &&Server| !s.ask::<Vec<String>>(&["KEYS", "shop:{5#0}:queue"]).is_empty();
    let slots = stocked(&servers, "shop").await;
    let slot = SLOTS[0];
    slots.serve(&[slot]).expect("one slot");
    let issued = burst(&slots, &[slot], 50).await.issued.len() as u64;
    assert_eq!(issued, 50);
    wait_until("the replica has the tickets", || {
        let lengths = servers.iter().filter(has).map(|s| s.ask::<String>(&["INFO", "replication"]));
        let offset = |info: &String| {
            let line = info.lines().find(|line| line.starts_with("master_repl_offset:"));
            line.map(str::to_owned)
        };
        let offsets: Vec<_> = lengths.map(|info| offset(&info)).collect();
        offsets.len() == 2 && offsets[0] == offsets[1]
    });
    let seen = slots.evidence().changes;
    let is_primary = |s: &Server| s.ask::<String>(&["INFO", "replication"]).contains("role:master");
    let primary =
        servers.iter().position(|s| has(&s) && is_primary(s)).expect("a primary has the slot");
    from(&mut servers[primary]);
    tokio::time::timeout(READY_WITHIN, slots.wait_for_change(seen))
        .await
        .expect("another server has the slot");
    let until = Instant::now() + READY_WITHIN;
    let view = loop {
        match slots.view(slot).await {
            Ok(view) => break view.expect("the replica has the epoch"),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
    };
    assert_eq!((view.n.0, view.available), (issued, STOCK - issued));
    let more = burst(&slots, &[slot], 3_000).await;
    let last = more.numbers_of(slot).last().copied();
    assert_eq!(
        (more.again, last),
        (50, Some(STOCK)),
        "not all units are sold: {:?}",
        more.failed.first()
    );
    let mut taken = std::collections::BTreeSet::new();
    while taken.len() < STOCK as usize {
        let some = tokio::time::timeout(READY_WITHIN, slots.take(500)).await;
        taken.extend(
            some.expect("tickets are waiting")
                .expect("reachable")
                .iter()
                .map(|t| t.delivery.ticket.n.0),
        );
    }
}

/// The arguments of a server that sends its data to a new replica without a delay.
const ALONE: [&str; 4] = ["--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0"];

fn start_alone() -> Server {
    let server = Server::start_on_port(&ALONE);
    let last = (HASH_SLOTS - 1).to_string();
    let _: () = server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", &last]);
    wait_until("the server has all hash slots", || {
        server.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok\r")
    });
    server
}

async fn open_all(servers: &[Server]) -> Slots {
    let urls = servers.iter().map(Server::url).collect();
    let slots = Slots::redis(options(urls, "shop")).await.expect("the servers can hold slots");
    slots.init(SLOTS[0], terms(GrantId(1), Epoch(1), STOCK)).await.expect("reachable");
    slots
}

async fn expect_found(slots: &Slots) {
    let until = Instant::now() + READY_WITHIN;
    while let Err(error) = slots.view(SLOTS[0]).await {
        assert!(Instant::now() < until, "{error}");
    }
}

#[tokio::test]
async fn a_cluster_whose_primaries_all_changed_is_found_again_by_its_urls() {
    let mut servers = [start_alone(), start_alone()];
    let slots = open_all(&servers).await;
    let has = |s: &Server| !s.ask::<Vec<String>>(&["KEYS", "*"]).is_empty();
    let used = servers.iter().position(has).expect("a server has the slot");
    servers[used].kill();
    expect_found(&slots).await;
}

#[tokio::test]
async fn a_replica_of_the_only_primary_is_found() {
    let mut primary = start_alone();
    let replica = Server::start_on_port(&ALONE);
    let _: () = replica.ask(&["CLUSTER", "MEET", "127.0.0.1", &primary.port().to_string()]);
    let id: String = primary.ask(&["CLUSTER", "MYID"]);
    wait_until("the replica follows", || {
        replica.try_ask::<()>(&["CLUSTER", "REPLICATE", &id]).is_ok()
    });
    let listed = format!("int({})", replica.port());
    wait_until("the primary lists the replica", || {
        format!("{:?}", primary.ask::<redis::Value>(&["CLUSTER", "SLOTS"])).contains(&listed)
    });
    let slots = open_all(std::slice::from_ref(&primary)).await;
    primary.kill();
    let _: () = replica.ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    expect_found(&slots).await;
}

#[tokio::test]
async fn a_server_of_a_cluster_that_evicts_is_refused_whether_or_not_it_is_named() {
    let servers = start();
    let open = |named: Vec<String>| Slots::redis(options(named, "shop"));
    let evict = |server: &Server, policy: &str| {
        let _: () =
            server.ask(&["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", policy]);
    };
    let all: Vec<String> = servers.iter().map(Server::url).collect();
    for evicts in [&servers[0], &servers[2]] {
        evict(evicts, "allkeys-lru");
        for named in [all.clone(), all[..1].to_vec(), all[1..2].to_vec()] {
            let reason = open(named.clone()).await.expect_err("refused").reason;
            assert!(
                reason.contains(&evicts.port().to_string()) && reason.contains("noeviction"),
                "{named:?}: {reason}"
            );
        }
        evict(evicts, "noeviction");
    }
    // The server no longer meets the conditions for slots. This must be reported once, and the
    // other servers must continue.
    let slots = open(all).await.expect("no server evicts keys");
    let seen = slots.evidence();
    assert_eq!(seen.refusals, Vec::<String>::new());
    evict(&servers[1], "volatile-ttl");
    let changes = tokio::time::timeout(READY_WITHIN, slots.wait_for_change(seen.changes))
        .await
        .expect("the change is noticed");
    let now = slots.evidence();
    assert_eq!(
        (changes, now.changes, now.refusals.len()),
        (seen.changes + 1, seen.changes + 1, 1),
        "{now:?}"
    );
    assert!(now.refusals[0].contains("volatile-ttl"), "{now:?}");
    evict(&servers[1], "noeviction");
    tokio::time::timeout(READY_WITHIN, slots.wait_for_change(now.changes))
        .await
        .expect("the change is noticed");
    assert_eq!(slots.evidence().refusals, Vec::<String>::new());
}

#[tokio::test]
async fn a_named_server_of_a_cluster_may_be_unreachable() {
    let mut servers = start();
    servers[0].kill();
    let named = servers.iter().map(Server::url).collect();
    Slots::redis(options(named, "shop")).await.expect("the others answer");
}

/// Moves the hash slot of a tag, with its keys, to another server.
fn move_hash_slot(servers: &[Server], tag: &str) {
    let at: u16 = servers[0].ask(&["CLUSTER", "KEYSLOT", tag]);
    let at = at.to_string();
    let has =
        |s: &&Server| !s.ask::<Vec<String>>(&["CLUSTER", "GETKEYSINSLOT", &at, "9"]).is_empty();
    let from = servers.iter().find(has).expect("a server has the slot");
    let to = servers.iter().find(|s| s.port() != from.port()).expect("another server");
    let (from_id, to_id): (String, String) =
        (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
    let _: () = to.ask(&["CLUSTER", "SETSLOT", &at, "IMPORTING", &from_id]);
    let _: () = from.ask(&["CLUSTER", "SETSLOT", &at, "MIGRATING", &to_id]);
    let port = to.port().to_string();
    loop {
        let keys: Vec<String> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &at, "1"]);
        let Some(key) = keys.first() else { break };
        let _: String = from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
    }
    for server in [to, from] {
        let _: () = server.ask(&["CLUSTER", "SETSLOT", &at, "NODE", &to_id]);
    }
}

#[tokio::test]
async fn a_replica_answers_an_edge_without_the_primary() {
    let mut servers = start_with(1);
    let writer = SharedRedis::new(&[servers[0].url()], "feed-test").expect("a valid address");
    assert!(writer.begin_feed(1, 9).await.expect("reachable"));
    let before = FeedPosition { generation: 9, ..FeedPosition::default() };
    let change = FeedChange { before, head: "head", requests: &[5], entries: &[] };
    assert!(writer.write_feed(change).await.expect("reachable"));
    let slot: usize = servers[0].ask(&["CLUSTER", "KEYSLOT", &writer.key("feed", "head")]);
    let shard = (0..PRIMARIES)
        .find(|i| slot < (i + 1) * HASH_SLOTS / PRIMARIES)
        .expect("every slot has a primary");
    let replica = servers[PRIMARIES + shard].url();
    let readers = SharedRedis::readers(&[replica], "feed-test").expect("a valid address");
    let start = FeedPosition::default();
    let read = async || readers[0].read_feed(start).await.ok().flatten();
    let until = Instant::now() + READY_WITHIN;
    // The replica needs a moment to copy the feed.
    while read().await.is_none() {
        assert!(Instant::now() < until, "the replica has no feed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    servers[shard].freeze();
    assert_eq!(read().await.map(|part| part.requests), Some(vec![5]));
    servers[shard].thaw();
}
