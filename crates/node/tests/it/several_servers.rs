//! Tests servers that share a store. Each server sees the changes of the other servers immediately.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_config::{Flags, Settings, load};
use doorbuster_secrets::{buyer_secret, load_or_create_all};
use doorbuster_store::KnownHistories;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::app::{ADMIN_KEY, TIMEOUT, TestApp, bearer};
use crate::events::open;
use crate::http::request;
use crate::postgres::Cluster;
use crate::watch::Stopwatch;

/// Turns `host=… user=… dbname=…` into a URL.
pub(crate) fn address(home: &Cluster, database: &str) -> String {
    let words = home.url(database);
    let word = |name: &str| {
        words
            .split(' ')
            .find_map(|w| w.strip_prefix(name))
            .expect("the fixture has this parameter")
            .to_owned()
    };
    format!("postgres://{}@{}/{database}", word("user="), word("host=").replace('/', "%2F"))
}

async fn server(home: &Cluster, database: &str, roles: &str) -> TestApp {
    let url = address(home, database);
    let settings = [
        ("DOORBUSTER_SHAPE", "postgres"),
        ("DOORBUSTER_STORE__URL", url.as_str()),
        ("DOORBUSTER_ROLES", roles),
    ];
    TestApp::with(&settings).await
}

/// Creates a draft sale, and schedules it as another node does, but without the notification. The
/// node finds such a change by itself after about a second, so the function requests the sale at
/// once. Returns whether the node shows the sale.
async fn is_known_at_once(
    app: &TestApp,
    (home, database): (&Cluster, &str),
    way: &str,
    number: u32,
) -> bool {
    let id = format!("{way}{number}");
    app.make_sale(&id, 20.into(), 10).await;
    let rest = Stopwatch::start();
    while rest.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let scheduled = format!(
        "BEGIN; UPDATE sale SET phase = 'scheduled', starts_at = 4000000000000 WHERE id = '{id}';
         UPDATE catalogue SET changed = pg_current_xact_id(), writer = 4242; COMMIT"
    );
    home.psql(database, &scheduled).expect("the sale exists");
    match way {
        "page" => app.get(&format!("/sale/{id}")).await.status == 200,
        _ => open(app, &format!("?sale={id}"), &[("authorization", &bearer("anna"))]).await.is_ok(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sale_has_its_page_and_events_although_its_notification_is_lost() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = server(&home, &database, "api,settle,control").await;
    // A request for the page or for the events makes the node read the sales at once. But if the
    // last read was slow, the node may wait before it reads the sales again. Then the test tries
    // another sale.
    for way in ["page", "events"] {
        let mut tries = 0;
        while !is_known_at_once(&app, (&home, &database), way, tries).await {
            tries += 1;
            assert!(tries < 3, "{way}: the node does not find a new sale that a request names");
        }
    }
    assert_eq!(app.get("/sale/none").await.status, 404);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_server_is_visible_at_the_others_at_once() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let all = "api,settle,control";
    let (first, second) =
        (server(&home, &database, all).await, server(&home, &database, all).await);
    let control = server(&home, &database, "control").await;
    for n in 0..5 {
        let (id, key) = (format!("sale{n}"), format!("k{n}"));
        first.make_sale(&id, 20.into(), 10).await;
        second.step(&id, "open").await;
        // The first server already knows of the opening, or learns of it from this purchase.
        let timer = Stopwatch::start();
        let bought = loop {
            let reply = first.buy("anna", &key, &id, "phone", 3).await;
            if reply.status == 201 || reply.status == 200 || timer.elapsed() > TIMEOUT {
                break reply;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        // If the first answer asked the buyer to wait, the repeated request returns the order.
        assert!(matches!(bought.status, 200 | 201), "{}", bought.text());
        let order = bought.json()["id"].as_str().expect("an id").to_owned();
        let seen = second.buyer("anna", "GET", &format!("/v1/orders/{order}")).await;
        assert_eq!(
            (seen.verdict().as_str(), seen.json()["state"].as_str()),
            ("200", Some("reserved"))
        );
        assert_eq!(
            second.buy("anna", &key, &id, "phone", 3).await.verdict(),
            "200",
            "another server must return the same order"
        );
        let stock = second.admin("GET", &format!("/v1/admin/sales/{id}/stock"), None).await.json();
        assert_eq!(stock["items"][0]["held"], 3);
    }
    let made = first
        .admin("POST", "/v1/admin/keys", Some(json!({"name": "night", "role": "viewer"})))
        .await
        .json();
    let bearer = format!("Bearer {}", made["key"].as_str().expect("a key"));
    let list = async || {
        second.call("GET", "/v1/admin/sales", &[("Authorization", &bearer)], b"").await.verdict()
    };
    assert_eq!(list().await, "200", "a key from another server must work");
    let path = format!("/v1/admin/keys/{}", made["id"].as_str().expect("an id"));
    assert_eq!(first.admin("DELETE", &path, None).await.verdict(), "204");
    let timer = Stopwatch::start();
    while list().await != "401 unauthenticated" {
        assert!(timer.elapsed() < TIMEOUT, "a key that another server deleted must not work");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(control.get("/healthz").await.verdict(), "200");
    assert_eq!(control.get("/readyz").await.verdict(), "200");
    assert_eq!(control.get("/v1/sales").await.verdict(), "404 not_found");
    assert_eq!(control.buy("anna", "k", "sale0", "phone", 1).await.verdict(), "404 not_found");
    let timer = Stopwatch::start();
    loop {
        let page = control.get("/metrics").await.text();
        if page.lines().any(|line| line == "doorbuster_nodes 3") {
            break;
        }
        assert!(timer.elapsed() < TIMEOUT, "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for server in [first, second, control] {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_of_a_sale_that_another_node_just_made_is_in_its_buyers_list() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = server(&home, &database, "api,settle,control").await;
    app.open_sale("spring", 20.into(), 10).await;
    let mut orders = Vec::new();
    for n in 0..3 {
        let bought = app.buy("anna", &format!("k{n}"), "spring", "phone", 1).await;
        orders.push(bought.json()["id"].as_str().expect("an id").to_owned());
    }
    // Each round moves one order to a sale that the node does not know. The node finds a new sale
    // by itself after a while, so the test reads the orders at once.
    for (n, order) in orders.iter().enumerate() {
        // The test changes the database as another node would, but without the notification.
        let sold = format!(
            "BEGIN;
             INSERT INTO sale (id, title, phase, front_door, version, created_at, opened_at,
                               closed_at)
                 SELECT 'other{n}', title, 'closed', front_door, 1, created_at, opened_at,
                        opened_at
                 FROM sale WHERE id = 'spring';
             INSERT INTO item (sale_id, name, title, description, price_minor, currency,
                               limit_per_buyer, hold_ms, initial_total, total, pool)
                 SELECT 'other{n}', name, title, description, price_minor, currency,
                        limit_per_buyer, hold_ms, 20, 20, 20
                 FROM item WHERE sale_id = 'spring';
             UPDATE orders SET item_id = (SELECT id FROM item WHERE sale_id = 'other{n}') WHERE id = '{order}';
             UPDATE catalogue SET changed = pg_current_xact_id(), writer = 4242; COMMIT"
        );
        home.psql(&database, &sold).expect("the statement is valid");
        let list = app.buyer("anna", "GET", "/v1/orders").await.json();
        let listed = list["orders"].as_array().expect("a list");
        assert_eq!(listed.len(), orders.len(), "{n}: {list}");
        let found =
            listed.iter().find(|listed| listed["id"] == **order).expect("the order is in the list");
        assert_eq!(found["sale"], format!("other{n}"));
    }
    app.stop().await;
}

fn settings(dir: Option<&Path>, url: &str, configured: &[(&str, &str)]) -> Settings {
    let vars =
        [&[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url)], configured].concat();
    let flags = Flags { data_dir: dir.map(Path::to_owned), ..Flags::default() };
    load(&flags, vars.into_iter().map(|(name, value)| (name.into(), value.into())))
        .expect("valid settings")
}

/// Loads the secrets as a starting node does. Returns two values: whether this start created the
/// operators' key; and the secrets, with a hash in place of `id_key`.
async fn secrets(
    dir: Option<&Path>,
    url: &str,
    configured: &[(&str, &str)],
) -> (bool, Vec<String>) {
    let settings = settings(dir, url, configured);
    let made = load_or_create_all(&settings, &KnownHistories::default())
        .await
        .expect("the database is available");
    let buyer = made.buyer.expect("no public keys are configured");
    let texts =
        [&buyer, &made.admin_key, &made.webhook[0]].map(|secret| secret.expose_secret().to_owned());
    let request = format!("{:?}", made.id_key.request_hash("anna", "k"));
    (made.admin_key_is_new, texts.into_iter().chain([request]).collect())
}

#[tokio::test]
async fn servers_that_share_a_store_have_the_same_secrets_and_write_them_only_there() {
    let home = Cluster::start(&[]);
    let url = address(&home, &home.database());
    let dir = std::env::temp_dir().join(format!("doorbuster-it-{:016x}", rand::random::<u64>()));
    let error = buyer_secret(&settings(None, &url, &[]))
        .await
        .expect_err("no node has created a secret")
        .to_string();
    assert!(error.contains("the database of store.url"), "{error}");
    // The second node has no directory, as if XDG_DATA_HOME and HOME were not set.
    let (first, second) = tokio::join!(secrets(Some(&dir), &url, &[]), secrets(None, &url, &[]));
    assert_eq!(first.1, second.1);
    assert!(first.0 != second.0, "only the node whose key was stored must show the key");
    let again = secrets(None, &url, &[]).await;
    assert_eq!((again.0, &again.1), (false, &first.1));
    // The node uses a configured secret, and does not store the secret.
    let own = ("DOORBUSTER_AUTH__ADMIN_KEY", "an-operators-key-that-is-long-enough");
    let configured = secrets(None, &url, &[own]).await;
    assert_eq!((configured.0, configured.1[1].as_str()), (false, own.1));
    assert_eq!((&configured.1[0], &configured.1[2..]), (&first.1[0], &first.1[2..]));
    assert_eq!(secrets(Some(&dir), &url, &[]).await.1, first.1);
    let signs = buyer_secret(&settings(None, &url, &[])).await.expect("the secret was created");
    assert_eq!(signs.expose_secret(), first.1[0]);
    assert!(!dir.exists() && !Path::new("buyer_secret").exists());
}

#[tokio::test]
async fn the_statements_of_the_guide_replace_a_generated_id_key() {
    const GUIDE: &str = include_str!("../../../../docs/how-to/back-up-and-restore.md");
    let home = Cluster::start(&[]);
    let database = home.database();
    let url = address(&home, &database);
    let (_, before) = secrets(None, &url, &[]).await;
    let (_, steps) = GUIDE.split_once("## If id_key is lost").expect("a section");
    for statement in steps.split('`').filter(|code| code.starts_with("DELETE FROM ")) {
        home.psql(&database, statement).expect("a valid statement");
    }
    let (_, after) = secrets(None, &url, &[]).await;
    assert_eq!(before[..3], after[..3], "the other secrets stay");
    assert_ne!(before[3], after[3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_not_ready_while_its_store_is_unavailable() {
    let home = Cluster::start(&[]);
    let app = server(&home, &home.database(), "api,settle,control").await;
    app.open_sale("spring", 20.into(), 10).await;
    assert_eq!(app.get("/readyz").await.verdict(), "200");
    home.crash();
    let timer = Stopwatch::start();
    let reply = loop {
        let reply = app.get("/readyz").await;
        if reply.status != 200 {
            break reply;
        }
        assert!(timer.elapsed() < TIMEOUT, "timed out; expected: the server is not ready any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(reply.verdict(), "503 unavailable");
    assert!(reply.header("retry-after").is_some());
    let reasons = reply.json()["reasons"].as_array().expect("a list").clone();
    assert!(
        !reasons.is_empty() && reasons.iter().all(|reason| reason != "stopping"),
        "{reasons:?}"
    );
    assert_eq!(app.get("/healthz").await.verdict(), "200", "the server must be alive");
    // Another node may have created or changed a sale, so a request to change a sale must get
    // neither `404` nor `412`.
    for sale in ["spring", "autumn"] {
        let (path, edit) = (format!("/v1/admin/sales/{sale}"), json!({"title": "Sale"}));
        let reply = app.admin_with("PATCH", &path, &[("if-match", "\"old\"")], Some(edit)).await;
        assert_eq!(reply.verdict(), "503 unavailable", "{sale}");
    }
    home.restart();
    let timer = Stopwatch::start();
    while app.get("/readyz").await.verdict() != "200" {
        assert!(timer.elapsed() < TIMEOUT, "timed out; expected: the server is ready again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let bought = app.buy_retrying("anna", "k", "spring").await;
    assert_eq!(bought.status / 100, 2, "the server must sell again: {}", bought.text());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_request_is_completed_and_recorded_after_a_disconnect() {
    let home = Arc::new(Cluster::start(&[]));
    let database = home.database();
    let app = server(&home, &database, "api,settle,control").await;
    app.open_sale("spring", 20.into(), 10).await;
    let bought = app.buy("anna", "k", "spring", "phone", 3).await;
    let order = bought.json()["id"].as_str().expect("an id").to_owned();
    let until = async |what: &str, sql: &str| {
        let timer = Stopwatch::start();
        while home.psql(&database, sql).expect("the database answers").trim() != "1" {
            assert!(timer.elapsed() < TIMEOUT, "timed out; expected: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Every change of an order waits for this lock.
    let (locks, of) = (home.clone(), database.clone());
    let lock = "BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT";
    let locking = std::thread::spawn(move || locks.psql(&of, lock));
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND mode = 'ExclusiveLock' AND granted";
    until("the orders are locked", held).await;
    let mut operator = app.connect().await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    operator
        .send(&request(
            "POST",
            &format!("/v1/admin/orders/{order}/cancel"),
            &[("Authorization", &bearer)],
            b"",
        ))
        .await;
    until(
        "the request to cancel waits",
        "SELECT least(count(*), 1) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT \
         granted",
    )
    .await;
    drop(operator);
    locking.join().expect("the task did not panic").expect("the table was locked and released");
    until("the action is recorded", "SELECT count(*) FROM action WHERE action = 'order.cancelled'")
        .await;
    let seen = app.buyer("anna", "GET", &format!("/v1/orders/{order}")).await;
    assert_eq!(seen.json()["state"], "cancelled", "{}", seen.text());
    let again = app.admin("POST", &format!("/v1/admin/orders/{order}/cancel"), None).await;
    assert_eq!(again.verdict(), "200", "{}", again.text());
    let noted =
        home.psql(&database, "SELECT count(*) FROM action WHERE action = 'order.cancelled'");
    assert_eq!(
        noted.expect("the database answers").trim(),
        "1",
        "a repeated request must change nothing and record no action"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_on_a_restored_database_sells_no_unit_before_its_sales_are_paused() {
    let (from, to) = tokio::task::block_in_place(|| (Cluster::start(&[]), Cluster::start(&[])));
    let (database, copy) = tokio::task::block_in_place(|| (from.database(), to.database()));
    let original = server(&from, &database, "api,settle,control").await;
    original.open_sale("spring", 5.into(), 1).await;
    drop(original.stop().await);
    tokio::task::block_in_place(|| from.dump_into(&database, &to, &copy));
    let restored = server(&to, &copy, "api,settle,control").await;
    let answer = restored.buy("anna", "k", "spring", "phone", 1).await;
    assert_eq!(answer.verdict(), "409 paused");
    drop(restored.stop().await);
}
