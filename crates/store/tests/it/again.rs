//! Tests which rows a node reads again after its database session ended. A node without a usable
//! position reads every order. After a restore, the node must not publish the rows of the dump at
//! every poll.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use doorbuster_store::conformance::Fixture;

use crate::cluster::{self, Cluster};
use crate::fixture::open_postgres;

/// The number of orders. A node needs more than two pages to read so many orders.
const ORDERS: usize = 11_000;
const WITHIN: Duration = Duration::from_secs(120);

/// Waits until this many orders were published to the node, and returns their keys.
async fn wait_for_orders(fixture: &Fixture, orders: usize) -> BTreeSet<String> {
    let (since, mut keys) = (Instant::now(), BTreeSet::new());
    while keys.len() < orders {
        assert!(since.elapsed() < WITHIN, "only {} of {orders} orders were published", keys.len());
        keys.extend(
            fixture
                .commits
                .take()
                .iter()
                .flat_map(|c| &c.orders)
                .map(|order| order.key.as_str().to_owned()),
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    keys
}

/// Inserts `ORDERS` copies of the only order, each with its own request key.
fn copy_orders(cluster: &Cluster, database: &str) {
    let sql = format!(
        "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
         reserved_at, pay_by, node, writer)
         SELECT id, buyer, 'copy-' || copy, item_id, units, state, -copy, 1, reserved_at, pay_by,
         99, 0
         FROM orders, generate_series(1, {ORDERS}) copy"
    );
    cluster.psql(database, &sql).expect("psql runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_position_reads_every_order_and_refuses_no_buyer_meanwhile() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let grant = fixture.slot(100, 100, 50).await;
    fixture.reserve(&grant, 1, "anna", 1).await;
    copy_orders(cluster, &database);
    // After its session ends, a node continues at a position that is at least
    // `DIGEST_POLL_REWIND_MS` old. This node is too young to have such a position, so it reads
    // every order.
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
    cluster.psql(&database, kill).expect("psql runs");
    let since = Instant::now();
    while fixture.store.staleness() < Duration::from_secs(60) {
        assert!(since.elapsed() < WITHIN, "the published state does not become outdated");
        tokio::task::yield_now().await;
    }
    wait_for_orders(&fixture, ORDERS + 1).await;
    while fixture.store.staleness() > Duration::from_secs(2) {
        assert!(since.elapsed() < WITHIN, "the published state stays outdated");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fixture.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_from_a_dump_are_not_published_at_every_poll() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let grant = fixture.slot(100, 100, 50).await;
    fixture.reserve(&grant, 1, "anna", 1).await;
    fixture.store.close().await;
    // These rows get a transaction id that is ahead of this server's counter, like rows of a
    // restored dump.
    for table in ["catalogue", "item", "slot_grant", "orders"] {
        cluster
            .psql(&database, &format!("UPDATE {table} SET changed = '900000000000'::xid8"))
            .expect("writes");
    }
    let again = open_postgres(&cluster.url(&database), 2).await;
    for table in ["item", "slot_grant", "orders"] {
        let ahead = format!(
            "SELECT count(*) FROM {table}
             WHERE changed >= pg_snapshot_xmax(pg_current_snapshot())"
        );
        assert_eq!(cluster.psql(&database, &ahead).expect("psql runs").trim(), "0", "{table}");
    }
    again.commits.forget();
    // The store must rewrite the rows from the dump when it starts. If it did not, each of these
    // three polls would publish these rows.
    for n in 2..5 {
        let made = again.reserve(&grant, n, "bert", 1).await;
        let commits = again.commits.take();
        let keys: Vec<_> = commits.iter().flat_map(|c| &c.orders).map(|order| order.id).collect();
        assert_eq!(keys, [made.id]);
        assert!(commits.iter().all(|c| !c.sales), "an unchanged sale must not be published");
    }
    again.check_invariants().await;
    again.store.close().await;
}

/// Undoes the part of migration 24 that stores due times, so that the next start of a node migrates
/// again.
const SCHEMA_23: &str = "DROP TRIGGER orders_add_due ON orders;
     DROP TRIGGER orders_change_due ON orders;
     DROP FUNCTION add_order_due; DROP FUNCTION change_order_due; DROP TABLE order_due;
     CREATE INDEX orders_due ON orders ((pay_by + ask_ms)) WHERE state = 'reserved';
     CREATE INDEX orders_changed ON orders (changed);
     DELETE FROM schema_migration WHERE version >= 24";

/// A node of the previous version has an open transaction when the migration begins. The order of
/// this transaction must still get a due time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_commits_during_the_migration_has_a_due_time() {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let grant = fixture.slot(100, 100, 50).await;
    fixture.reserve(&grant, 1, "anna", 1).await;
    fixture.store.close().await;
    cluster.psql(&database, SCHEMA_23).expect("the schema changes");
    let of = database.clone();
    let older = std::thread::spawn(move || {
        let insert = "BEGIN;
             INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
             reserved_at, pay_by, node, writer)
             SELECT id, buyer, 'copy', item_id, units, state, grant_id, 2, reserved_at, pay_by, 99,
             -1 FROM orders;
             SELECT pg_sleep(1); COMMIT";
        cluster::shared().psql(&of, insert).expect("psql runs")
    });
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass
                 AND mode = 'RowExclusiveLock' AND granted";
    let since = Instant::now();
    while cluster.psql(&database, locks).expect("psql runs").trim() == "0" {
        assert!(since.elapsed() < WITHIN, "the older node did not insert its order in time");
    }
    let fixture = open_postgres(&cluster.url(&database), 2).await;
    older.join().expect("the older node commits");
    let due = "SELECT count(*) FROM order_due";
    assert_eq!(cluster.psql(&database, due).expect("psql runs").trim(), "2");
    fixture.store.close().await;
}
