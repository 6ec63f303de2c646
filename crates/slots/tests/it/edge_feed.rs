//! Tests the feed that edges follow.
use std::time::{Duration, Instant};

use doorbuster_core::edge::FeedPosition;
use doorbuster_slots::{FEED_ENTRIES_MAX, FEED_REQUESTS_MAX, FeedChange, FeedPart, SharedRedis};

use super::server::Server;

fn shared(server: &Server) -> SharedRedis {
    SharedRedis::new(&[server.url()], "feed-test").expect("a valid address")
}

fn entry(name: &str, content: &str) -> (String, Vec<u8>) {
    (name.to_owned(), content.as_bytes().to_vec())
}

async fn read(shared: &SharedRedis, at: FeedPosition) -> FeedPart {
    shared.read_feed(at).await.expect("reachable").expect("there is a feed")
}

fn names(part: &FeedPart) -> Vec<(u64, &str, &[u8])> {
    part.entries.iter().map(|entry| (entry.seq, &*entry.name, &*entry.content)).collect()
}

#[tokio::test]
async fn a_reader_gets_what_changed_since_its_position() {
    let server = Server::start_on_port(&[]);
    let shared = shared(&server);
    let start = FeedPosition::default();
    assert_eq!(shared.read_feed(start).await.expect("reachable"), None);
    assert!(shared.begin_feed(3, 77).await.expect("reachable"));
    assert_eq!(
        shared.read_feed(start).await.expect("reachable"),
        None,
        "a feed without a head must not be read"
    );

    let begun = FeedPosition { generation: 77, ..start };
    let entries = [entry("a", "1"), entry("b", "2")];
    let change = FeedChange { before: begun, head: "one", requests: &[5, 6], entries: &entries };
    assert!(shared.write_feed(change).await.expect("reachable"));
    let part = read(&shared, start).await;
    assert_eq!((part.generation, &*part.head, part.from), (77, &b"one"[..], begun));
    assert_eq!(part.requests, [5, 6]);
    assert_eq!(names(&part), [(1, "a", &b"1"[..]), (2, "b", b"2")]);

    let at = FeedPosition { generation: 77, seq: 2, requests: 2 };
    let entries = [entry("a", "3")];
    let change = FeedChange { before: at, head: "two", requests: &[u64::MAX], entries: &entries };
    assert!(shared.write_feed(change).await.expect("reachable"));
    assert!(
        !shared.write_feed(change).await.expect("reachable"),
        "a repeated write must change nothing"
    );
    let part = read(&shared, at).await;
    assert_eq!((&*part.head, part.from, &*part.requests), (&b"two"[..], at, &[u64::MAX][..]));
    assert_eq!(names(&part), [(3, "a", &b"3"[..])]);
    let part = read(&shared, FeedPosition { generation: 76, ..at }).await;
    assert_eq!(
        (part.from, part.requests.len()),
        (begun, 3),
        "another generation must be read whole"
    );
    assert_eq!(names(&part), [(2, "b", &b"2"[..]), (3, "a", b"3")]);
}

#[tokio::test]
async fn a_writer_notices_that_the_feed_was_lost_or_that_another_node_writes_it() {
    let server = Server::start_on_port(&[]);
    let shared = shared(&server);
    assert!(shared.begin_feed(3, 77).await.expect("reachable"));
    assert!(
        !shared.begin_feed(2, 78).await.expect("reachable"),
        "a writer with an older fencing number must be refused"
    );
    assert!(shared.begin_feed(3, 79).await.expect("reachable"));
    let write = async |generation, requests: &[u64]| {
        let before = FeedPosition { generation, ..FeedPosition::default() };
        let change = FeedChange { before, head: "head", requests, entries: &[] };
        shared.write_feed(change).await.expect("reachable")
    };
    assert!(!write(77, &[1]).await, "a write to another writer's generation must be refused");
    assert!(write(79, &[1]).await);
    assert!(!write(79, &[2]).await, "a writer that lacks one of the requests must be refused");
    server.ask::<String>(&["FLUSHALL"]);
    let after = FeedPosition { generation: 79, seq: 0, requests: 1 };
    let change = FeedChange { before: after, head: "head", requests: &[], entries: &[] };
    assert!(
        !shared.write_feed(change).await.expect("reachable"),
        "a write to a lost feed must be refused"
    );
    assert_eq!(shared.read_feed(after).await.expect("reachable"), None);
}

#[tokio::test]
async fn a_long_feed_is_read_in_parts_also_from_a_replica() {
    let primary = Server::start_on_port(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::start_on_port(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let writer = shared(&primary);
    assert!(writer.begin_feed(1, 9).await.expect("reachable"));
    let mut at = FeedPosition { generation: 9, ..FeedPosition::default() };
    let requests: Vec<u64> = (0..FEED_REQUESTS_MAX as u64).collect();
    for round in 0..2 {
        let entries: Vec<_> =
            (0..FEED_ENTRIES_MAX).map(|i| entry(&format!("{round}-{i}"), "x")).collect();
        let change = FeedChange { before: at, head: "h", requests: &requests, entries: &entries };
        assert!(writer.write_feed(change).await.expect("reachable"));
        at.seq += entries.len() as u64;
        at.requests += requests.len() as u64;
    }
    let reader = shared(&replica);
    let started = Instant::now();
    let (mut at, mut read, mut parts) = (FeedPosition::default(), (0, 0), 0);
    while read != (2 * FEED_REQUESTS_MAX, 2 * FEED_ENTRIES_MAX) {
        assert!(started.elapsed() < Duration::from_mins(1), "the replica did not copy {at:?}");
        let part = reader.read_feed(at).await.ok().flatten();
        let part = part.filter(|part| !part.requests.is_empty() || !part.entries.is_empty());
        let Some(part) = part else {
            // The replica has not copied the next part yet.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        read = (read.0 + part.requests.len(), read.1 + part.entries.len());
        at = FeedPosition {
            generation: part.generation,
            seq: part.entries.last().map_or(part.from.seq, |entry| entry.seq),
            requests: part.from.requests + part.requests.len() as u64,
        };
        parts += 1;
    }
    assert!(parts >= 2);
}
