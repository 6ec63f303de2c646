//! Tests that the periodic queries of an idle node in PostgreSQL use indexes, even if the tables
//! are long.
use std::collections::BTreeMap;
use std::time::Duration;

use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_store::conformance::{Fixture, HOLD_MS};

use crate::cluster;
use crate::fixture::open_postgres;
use crate::watch::Stopwatch;

/// The number of rows in each table. None of the rows is due.
const ROWS: u64 = 2_000;
/// The number of pending deliveries among the rows.
const PENDING: u64 = 5;
const ROUNDS: i64 = 20;
/// Each table, and the index that its query must use.
const INDEXES: [(&str, &str); 4] = [
    ("order_due", "order_due_pkey"),
    ("checkout", "checkout_due"),
    ("refund", "refund_due"),
    ("delivery", "delivery_pending"),
];

/// Selects how many rows of each table were read by sequential scans, and how often each index was
/// used.
const READ: &str = "SELECT relname, seq_tup_read FROM pg_stat_user_tables
     UNION ALL SELECT indexrelname, idx_scan FROM pg_stat_user_indexes";
const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend'
     AND pid <> pg_backend_pid()";
/// The longest time until the sessions of a closed store end.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Inserts orders, checkouts, refunds and deliveries that become due in an hour.
async fn fill(fixture: &Fixture, database: &str) {
    let grant = fixture.slot(ROWS, ROWS, 4).await;
    let tickets: Vec<_> =
        (1..=ROWS).map(|n| fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1)).collect();
    for batch in tickets.chunks(SETTLE_BATCH_MAX) {
        fixture.store.settle(batch.to_vec()).await.expect("settles");
    }
    let (now, later, each) =
        (fixture.clock.now().0, fixture.clock.now().0 + HOLD_MS, ROWS / PENDING);
    let sql = format!(
        "INSERT INTO checkout (grant_id, n, order_id, provider, session, url, expires_at, open, at,
         due)
             SELECT grant_id, n, id, 'paybank', 'cs_' || n, 'https://pay.example', pay_by, TRUE,
             reserved_at, pay_by
             FROM orders;
         INSERT INTO payment (id, provider, order_id, amount_minor, currency, state, at)
             SELECT 'pay_' || n, 'paybank', 'basket ' || n, 1999, 'EUR', 'refunded', {now}
             FROM generate_series(1, {ROWS}) AS n;
         INSERT INTO refund (id, payment_id, provider, order_id, amount_minor, currency, cause,
         state, accepted, tries,
                             next_at, at)
             SELECT 'ref_' || n, 'pay_' || n, 'paybank', 'basket ' || n, 1999, 'EUR',
             'unknown_order', 'pending', TRUE,
                    0, {later} + n, {now}
             FROM generate_series(1, {ROWS}) AS n;
         INSERT INTO endpoint (id, kind, url, types, secrets, position, enabled, created_at)
             VALUES ('end_1', 'webhook', 'https://shop.example/hook', '[\"*\"]', '[]', {ROWS}, TRUE,
             {now});
         INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, at)
             SELECT 'end_1', n, 'order ' || n, CASE WHEN n % {each} = 0 THEN 'pending' ELSE 'dead'
             END, 1,
                    {later}, {now}
             FROM generate_series(1, {ROWS}) AS n"
    );
    // PostgreSQL runs ANALYZE by itself only after some time. So the test runs it now.
    for sql in [sql.as_str(), "ANALYZE"] {
        cluster::shared().psql(database, sql).expect("valid SQL");
    }
}

async fn run_queries(fixture: &Fixture) {
    let store = &fixture.store;
    for _ in 0..ROUNDS {
        assert!(store.expire_due(100).await.expect("writes").is_empty());
        assert!(store.next_due().await.expect("reads").is_some());
        assert!(store.checkouts_to_close(100).await.expect("reads").is_empty());
        assert!(store.refunds_due(100).await.expect("reads").is_empty());
        assert!(store.next_refund_due().await.expect("reads").is_some());
        assert_eq!(
            store.pending_deliveries("end_1", 100).await.expect("reads").len() as u64,
            PENDING
        );
    }
}

/// Returns the reads of all sessions so far. First waits until the other sessions have ended,
/// because a session reports its last reads when it ends.
async fn read_so_far(database: &str) -> BTreeMap<String, i64> {
    let psql = |sql: &str| cluster::shared().psql(database, sql).expect("a query");
    let since = Stopwatch::start();
    while psql(SESSIONS).trim() != "0" {
        assert!(since.elapsed() < GONE_WITHIN, "the sessions of the closed store do not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut read = BTreeMap::new();
    for line in psql(READ).lines() {
        let (name, number) = line.split_once('|').expect("two columns");
        read.insert(name.to_owned(), number.parse().expect("a number"));
    }
    read
}

#[tokio::test]
async fn queries_of_an_idle_node_use_an_index() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let url = cluster.url(&database);
    let fixture = open_postgres(&url, 1).await;
    fill(&fixture, &database).await;
    fixture.store.close().await;
    let filled = read_so_far(&database).await;
    // The opening of a store also reads tables. The test measures these reads here, and subtracts
    // them below.
    open_postgres(&url, 2).await.store.close().await;
    let opened = read_so_far(&database).await;
    let fixture = open_postgres(&url, 3).await;
    run_queries(&fixture).await;
    fixture.store.close().await;
    let queried = read_so_far(&database).await;
    for (table, index) in INDEXES {
        let more = |name: &str| (queried[name] - opened[name]) - (opened[name] - filled[name]);
        assert!(more(table) < ROWS as i64, "{table} was read row by row: {}", more(table));
        assert!(more(index) >= ROUNDS, "{index} was used only {} times", more(index));
    }
}
