//! Tests what an HTTP flood costs the shared services. Requests for unknown ids read the store, and
//! status requests read the slots.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::number;
use super::redis::Redis;
use crate::app::{TIMEOUT, TestApp, bearer};
use crate::http::{Connection, request};
use crate::postgres::Cluster;
use crate::several_servers::address;
use crate::watch::Stopwatch;

/// Connections to each node.
const CONNECTIONS: usize = 32;
/// The number of requests with unknown ids, at two nodes together.
const MISSES: u64 = 10_000;
/// The shortest time between two reads for unknown ids. With Redis, this time applies to all nodes
/// together, and the shared marker for unknown ids expires after this time. Without Redis, this
/// time applies to each node by itself.
const MARKER_TTL: Duration = Duration::from_millis(10);
/// The longest time that a node waits while another node reads the store.
const PEER_READ_MAX: Duration = Duration::from_millis(50);
/// The number of sales that are created during the flood.
const SALES: u32 = 4;
/// The maximum number of reads of the store for each new sale. The operator's requests and the
/// nodes' notifications cause these reads.
const READINGS_A_SALE: u64 = 20;
/// A request must find a new sale within this time, even without a notification. Normally this
/// takes 20 ms, but reads may be slow on a busy machine.
const KNOWN_WITHIN: Duration = Duration::from_secs(8);
/// The number of status requests on each connection.
const LOOKS: u64 = 150;
/// The shortest time between two renderings of a status.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// The largest number of scripts that one node runs per second while the node gets no requests. The
/// scripts read the slots and publish counts.
const CALLS_A_SECOND: u64 = 40;

/// Starts a node of shape `cluster`, or of shape `postgres` if there are no shared slots.
async fn node(home: &Cluster, database: &str, slots: Option<&str>) -> TestApp {
    let store = address(home, database);
    let mut settings = vec![("DOORBUSTER_STORE__URL", store.as_str())];
    match slots {
        Some(slots) => {
            settings.extend([("DOORBUSTER_SHAPE", "cluster"), ("DOORBUSTER_SLOTS__URLS", slots)])
        }
        None => settings.push(("DOORBUSTER_SHAPE", "postgres")),
    }
    TestApp::with(&settings).await
}

async fn readings(nodes: &[&TestApp]) -> u64 {
    let mut all = 0;
    for app in nodes {
        all += number(app, "doorbuster_catalogue_reads_total").await;
    }
    all
}

struct Flood {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    crowd: JoinSet<()>,
}

impl Flood {
    async fn start(nodes: &[&TestApp]) -> Self {
        let mut flood = Self { stop: Arc::default(), asked: Arc::default(), crowd: JoinSet::new() };
        for app in nodes {
            for _ in 0..CONNECTIONS {
                let connection = app.connect().await;
                flood.crowd.spawn(ask_for_nothing(
                    connection,
                    flood.stop.clone(),
                    flood.asked.clone(),
                ));
            }
        }
        flood
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.crowd.join_all().await;
    }
}

async fn ask_for_nothing(mut connection: Connection, stop: Arc<AtomicBool>, asked: Arc<AtomicU64>) {
    let bearer = bearer("robot");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Idempotency-Key", "k"),
        ("Content-Type", "application/json"),
    ];
    while !stop.load(Ordering::Acquire) {
        let sale = format!("s{:016x}", rand::random::<u64>());
        let body = json!({"sale": sale, "item": "phone", "units": 1}).to_string();
        let look = request("GET", &format!("/v1/sales/{sale}"), &[], b"");
        for bytes in [look, request("POST", "/v1/orders", &headers, body.as_bytes())] {
            connection.send(&bytes).await;
            let reply = connection.reply(false).await.expect("an answer");
            assert_eq!(reply.verdict(), "404 not_found");
            asked.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Creates a sale, and checks that a request that names the sale finds it. The node gets no
/// notification of the sale, and its polls mistake the change for the node's own change.
async fn is_found_by_asking(app: &TestApp, (home, database): (&Cluster, &str), nth: u32) {
    let id = format!("new{nth}");
    app.make_sale(&id, 20.into(), 10).await;
    let is_known = async || match nth % 2 {
        0 => app.get(&format!("/v1/sales/{id}")).await.status == 200,
        _ => app.buy("anna", "k", &id, "phone", 1).await.verdict() == "409 not_started",
    };
    assert!(!is_known().await, "buyers must not see a draft");
    let announced = format!(
        "BEGIN; UPDATE sale SET phase = 'scheduled', starts_at = 4000000000000 WHERE id = '{id}';
         UPDATE catalogue SET changed = pg_current_xact_id(); COMMIT"
    );
    home.psql(database, &announced).expect("the sale exists");
    let timer = Stopwatch::start();
    while !is_known().await {
        assert!(
            timer.elapsed() < KNOWN_WITHIN,
            "the node does not find {id}, although a request names the sale"
        );
    }
}

/// Checks that the nodes write the shared marker for unknown ids, and that the marker expires
/// within 10 ms.
fn marker_is_short(redis: &Redis) {
    let command = redis.next_command(&["\"SET\" ", ":catalogue:mark\""], TIMEOUT);
    let lives =
        command.rsplit_once("\"PX\" \"").and_then(|(_, ms)| ms.trim_end_matches('"').parse().ok());
    assert!(lives.is_some_and(|ms: u64| (1..=10).contains(&ms)), "{command}");
}

/// Floods two nodes and creates sales. Returns the number of reads of the store, and the time.
async fn flood(
    nodes: &[&TestApp; 2],
    (home, database): (&Cluster, &str),
    redis: Option<&Redis>,
) -> (u64, Duration) {
    let (before, began) = (readings(nodes).await, Instant::now());
    let flood = Flood::start(nodes).await;
    for nth in 0..SALES {
        is_found_by_asking(nodes[1], (home, database), nth).await;
    }
    if let Some(redis) = redis {
        tokio::task::block_in_place(|| marker_is_short(redis));
    }
    let timer = Stopwatch::start();
    while flood.asked.load(Ordering::Acquire) < MISSES {
        assert!(timer.elapsed() < 4 * TIMEOUT, "the requests were not answered in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = flood.asked.clone();
    flood.end().await;
    let (read, took) = (readings(nodes).await - before, began.elapsed());
    println!(
        "{} unknown ids in {took:?}: the store was read {read} times",
        asked.load(Ordering::Acquire)
    );
    (read, took)
}

/// Returns how many times the nodes may read the store in the time `took`. The nodes may read the
/// store once in each `pause`, and [`READINGS_A_SALE`] times for each new sale.
fn at_most(took: Duration, pause: Duration) -> u64 {
    u64::try_from(took.as_millis() / pause.as_millis()).unwrap_or(u64::MAX)
        + READINGS_A_SALE * u64::from(SALES)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_unknown_ids_reads_the_store_seldom_and_hides_no_new_sale() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database, None).await, node(&home, &database, None).await);
    let (read, took) = flood(&[&first, &second], (&home, &database), None).await;
    assert!(
        (1..=2 * at_most(took, MARKER_TTL)).contains(&read),
        "the store was read {read} times in {took:?}"
    );
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_one_node_reads_the_store_for_a_flood_of_unknown_ids_at_two() {
    let (home, (redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let database = home.database();
    let (first, second) = (
        node(&home, &database, Some(slots.as_str())).await,
        node(&home, &database, Some(slots.as_str())).await,
    );
    let (read, took) = flood(&[&first, &second], (&home, &database), Some(&redis)).await;
    // If the other node's read takes longer than [`PEER_READ_MAX`], a node reads the store itself.
    let most = at_most(took, MARKER_TTL) + at_most(took, PEER_READ_MAX);
    assert!((1..=most).contains(&read), "the store was read {read} times in {took:?}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_status_requests_query_the_slots_a_few_times_a_second() {
    let (home, (redis, slots)) = (Cluster::start(&[]), Redis::start_on_port());
    let app = node(&home, &home.database(), Some(slots.as_str())).await;
    app.open_sale("spring", 20.into(), 10).await;
    // A node does not read slots without units, so the test first waits until the slots have units.
    app.until("/v1/admin/sales/spring/stock", "the slots are full", |stock| {
        stock["items"][0]["in_slots"] == 20
    })
    .await;
    let made = async || number(&app, "doorbuster_status_renders_total").await;
    let (calls, pictures, began) = (redis.script_calls(), made().await, Instant::now());
    let mut crowd = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = app.connect().await;
        crowd.spawn(async move {
            for _ in 0..LOOKS {
                connection.send(&request("GET", "/v1/sales/spring/status", &[], b"")).await;
                let reply = connection.reply(false).await.expect("an answer");
                assert_eq!(reply.verdict(), "200");
            }
        });
    }
    crowd.join_all().await;
    let (calls, pictures, took) =
        (redis.script_calls() - calls, made().await - pictures, began.elapsed());
    println!(
        "{} status requests in {took:?}: {pictures} renderings, {calls} scripts",
        CONNECTIONS as u64 * LOOKS
    );
    // The 2 counts the first rendering, and one more rendering if the node reads the sale again.
    let most =
        u64::try_from(took.as_millis() / STATUS_INTERVAL.as_millis()).expect("a short test") + 2;
    assert!((1..=most).contains(&pictures), "{pictures} renderings in {took:?}");
    let by_itself = CALLS_A_SECOND * (took.as_secs() + 1);
    assert!((1..=pictures + by_itself).contains(&calls), "{calls} scripts in {took:?}");
    app.stop().await;
}
