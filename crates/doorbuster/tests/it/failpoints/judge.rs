//! The checks at the end of a failpoint test, after all orders, payments and events are settled.
//! They compare the provider's documents, the events that the shop received, the store, and the
//! results of the server's audit and of the `audit` command.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::receiver::{self, Event, STUBBORN, WebhookReceiver};
use super::retrying_client::RetryingClient;
use super::scenarios::PurchaseOutcome;
use super::store_access::StoreAccess;
use super::{erased_buyer, reversals, waitlist};
use crate::crash_windows::client::PurchaseSpec;
use crate::crash_windows::fixture::ServerFixture;
use crate::test_server::{KEY, program, run};

const PAUSE: Duration = Duration::from_millis(50);
pub const ORDERS: &str = "/v1/admin/orders?limit=200";
pub const REFUNDS: &str = "/v1/admin/refunds?limit=200";
const PAYMENTS: &str = "/v1/admin/payments?limit=200";

/// The number of events that the shop refuses at first: the reservation and the cancellation of one
/// order.
const IN_VAIN: usize = 2;

/// Waits until every hold, checkout, message, refund and event is finished. The events that the
/// shop refused at first become dead letters, which this function retries.
pub async fn until_settled(
    retrying_client: &RetryingClient,
    store_access: &StoreAccess,
    dir: &Path,
    receiver: &WebhookReceiver,
) {
    let dead = "/v1/admin/dead-letters";
    retrying_client
        .until(dead, |page| page["dead_letters"].as_array().is_some_and(|all| all.len() >= IN_VAIN))
        .await;
    receiver.accept_all();
    loop {
        for letter in retrying_client.list(dead, "dead_letters").await {
            let id = letter["id"].as_str().expect("an id");
            let again = retrying_client.operate("POST", &format!("{dead}/{id}/retry"), None).await;
            // The client repeats a request whose answer was lost. The dead letter may then no
            // longer exist, because the first request has retried it.
            assert!(matches!(again.status, 200 | 404), "{again}");
        }
        if is_settled(retrying_client, store_access, dir).await {
            return;
        }
    }
}

/// Returns whether everything is finished. If something is unfinished, the function waits a moment
/// before it returns.
pub async fn is_settled(
    retrying_client: &RetryingClient,
    store_access: &StoreAccess,
    dir: &Path,
) -> bool {
    let left = unsettled(retrying_client, store_access, dir).await;
    let is_settled = left.is_none();
    retrying_client.waits("all work is done", left);
    if !is_settled {
        tokio::time::sleep(PAUSE).await;
    }
    is_settled
}

/// Returns a description of one unfinished thing, or `None` if everything is finished.
async fn unsettled(
    retrying_client: &RetryingClient,
    store_access: &StoreAccess,
    dir: &Path,
) -> Option<String> {
    let sessions = sessions(store_access, dir);
    let mut posts =
        sessions.iter().flat_map(|session| session["posts"].as_array().expect("a list"));
    if let Some(post) = posts.find(|post| post["done"] != true) {
        return Some(format!("a message of the sandbox: {post}"));
    }
    let orders = retrying_client.list(ORDERS, "orders").await;
    if let Some(order) = orders.iter().find(|order| order["state"] == "reserved") {
        return Some(format!("a hold: {order}"));
    }
    // `rows` can read only text. This column is text in both kinds of stores.
    let open =
        store_access.rows(dir, "SELECT order_id FROM checkout WHERE open <> cast(0 AS boolean)");
    if let Some(order) = open.first() {
        return Some(format!("a checkout of {order}"));
    }
    let refunds = retrying_client.list(REFUNDS, "refunds").await;
    if let Some(refund) = refunds.iter().find(|refund| refund["state"] != "settled") {
        return Some(format!("a refund: {refund}"));
    }
    let endpoints = retrying_client.get_ok("/v1/admin/webhook-endpoints").await;
    let mut endpoints = endpoints["endpoints"].as_array().expect("a list").iter();
    let late = endpoints.find(|endpoint| endpoint["waiting"] != 0 || endpoint["failing"] != 0);
    late.map(|endpoint| format!("events for the shop: {endpoint}"))
}

fn sessions(store_access: &StoreAccess, dir: &Path) -> Vec<Value> {
    let documents = store_access.rows(dir, "SELECT value FROM sandbox WHERE key LIKE 'session/%'");
    documents.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

/// Checks the final state.
pub async fn check(
    fixture: &ServerFixture,
    retrying_client: &RetryingClient,
    store_access: &StoreAccess,
    receiver: &WebhookReceiver,
    outcomes: &[PurchaseOutcome],
) {
    let orders = retrying_client.list(ORDERS, "orders").await;
    let payments = retrying_client.list(PAYMENTS, "payments").await;
    let refunds = retrying_client.list(REFUNDS, "refunds").await;
    let (documents, received) =
        (sessions(store_access, fixture.data_dir()), receiver::first(receiver.received()));
    money(&documents, &orders, &payments, &refunds);
    announced(retrying_client, &received, &orders, &refunds).await;
    waitlist::check(retrying_client, &received, &orders, outcomes).await;
    let back = reversals::all(&documents, &payments, outcomes);
    reversals::announced(&back, &received);
    let report = retrying_client.get_ok("/v1/admin/exports/reconciliation").await;
    reversals::reconciled(&back, &report);
    for money in report["items"]
        .as_array()
        .expect("items")
        .iter()
        .flat_map(|item| item["money"].as_array())
        .flatten()
    {
        let of = |name: &str| money[name].as_i64().expect("a number");
        assert_eq!(
            (of("captured"), of("pending"), of("failed")),
            (of("standing") + of("refunded"), 0, 0),
            "{money}"
        );
    }
    exported(fixture, [orders.len(), payments.len(), refunds.len()]);
    let own = retrying_client.get_ok("/v1/admin/audit").await;
    assert_eq!(
        (&own["ok"], &own["findings"], &own["repairs"]),
        (&json!(true), &json!([]), &json!(0)),
        "{own}"
    );
    let audited = store_access.audit(fixture, &answers(fixture, outcomes));
    for audit in [&own, &audited] {
        reversals::noticed(&back, audit);
    }
    erased_buyer::check(retrying_client, &orders, &audited, outcomes).await;
}

/// Checks that each payment at the provider either pays for one order, or is refunded once. The
/// provider's documents and the store must agree.
fn money(sessions: &[Value], orders: &[Value], payments: &[Value], refunds: &[Value]) {
    let text = |row: &Value, name: &str| {
        row[name].as_str().unwrap_or_else(|| panic!("{name} of {row}")).to_owned()
    };
    let states: HashMap<String, String> =
        orders.iter().map(|order| (text(order, "id"), text(order, "state"))).collect();
    let mut stands = HashMap::<String, usize>::new();
    let mut made = HashSet::new();
    for session in sessions {
        let order = text(session, "order");
        for payment in session["payments"].as_array().expect("a list") {
            let id = text(payment, "id");
            made.insert(id.clone());
            let known: Vec<&Value> = payments.iter().filter(|row| row["payment"] == *id).collect();
            let back: Vec<&Value> = refunds.iter().filter(|row| row["payment"] == *id).collect();
            assert_eq!(known.len(), 1, "payment {id} must be listed once: {payments:?}");
            let posts = session["posts"].as_array().expect("a list").iter();
            let posts = posts.filter(|post| {
                let body = post["body"].as_str().expect("a text");
                body.contains("refund.settled") && body.contains(&id)
            });
            let refunds_sent = posts.count();
            let by_itself = reversals::reversal_kind(payment);
            if known[0]["state"] == "captured" {
                assert_eq!(
                    (states[&order].as_str(), back.len(), refunds_sent),
                    ("paid", 0, 0),
                    "{id} pays for {order}, so the order must be paid and have no refund"
                );
                let is_there = payment["refund"].is_null() || by_itself.is_some();
                assert!(is_there, "the provider refunded the payment of a paid order: {session}");
                *stands.entry(order.clone()).or_default() += 1;
            } else {
                // If the sandbox has reversed a payment by itself, it sends no message about the
                // refund of this payment.
                let sent = usize::from(by_itself.is_none());
                assert_eq!(
                    (&known[0]["state"], back.len(), refunds_sent),
                    (&json!("refunded"), 1, sent),
                    "the refund is wrong: {session} {back:?}"
                );
                assert_eq!(back[0]["state"], "settled", "{session}");
                assert!(
                    by_itself.is_some() || back[0]["refund"] == payment["refund"][0],
                    "the refund is wrong: {session} {back:?}"
                );
            }
        }
    }
    for (order, state) in &states {
        let expected = usize::from(state == "paid");
        assert_eq!(
            stands.get(order).copied().unwrap_or(0),
            expected,
            "the number of payments of {order} does not agree with its state {state}"
        );
    }
    let invented = |row: &&Value| {
        row["state"] != "failed" && !made.contains(row["payment"].as_str().expect("an id"))
    };
    let invented: Vec<&Value> = payments.iter().filter(invented).collect();
    assert_eq!(invented.len(), 1, "there must be one payment of a wrong amount: {invented:?}");
    assert_eq!(invented[0]["state"], "refunded");
    // The server refunded a late payment, a double payment and a payment of a wrong amount. The
    // operator refunded one order.
    assert!(refunds.len() >= 3, "{refunds:?}");
}

/// Checks that each change of an order and each automatic refund has one delivered event, and that
/// no other event was delivered. The events of each order must arrive in sequence.
pub async fn announced(
    retrying_client: &RetryingClient,
    received: &[Event],
    orders: &[Value],
    refunds: &[Value],
) {
    for order in orders {
        let id = order["id"].as_str().expect("an id");
        let shown = retrying_client.get_ok(&format!("/v1/admin/orders/{id}")).await;
        let history = shown["history"].as_array().expect("a history");
        let of_line = waitlist::WAITING_BUYERS.contains(&order["buyer"].as_str().expect("a name"));
        assert_eq!(history[0]["from_waitlist"] == true, of_line, "{shown}");
        let mut happened: Vec<&str> =
            history.iter().map(|entry| entry["event"].as_str().expect("a type")).collect();
        let mine: Vec<&Event> =
            received.iter().filter(|event| event.order.as_deref() == Some(id)).collect();
        let is_marked = |event: &Event| of_line && event.what == "order.reserved";
        assert!(
            mine.iter().all(|event| event.from_waitlist == is_marked(event)),
            "the waitlist flag is wrong: {mine:?}"
        );
        let mut received: Vec<&str> = mine.iter().map(|event| &*event.what).collect();
        if order["buyer"] == STUBBORN {
            // The events of this buyer were dead letters and arrive late, so their sequence does
            // not matter.
            happened.sort_unstable();
            received.sort_unstable();
        }
        assert_eq!(received, happened, "events of the order {id}");
    }
    let due = refunds.iter().filter(|refund| refund["cause"] != "operator");
    let due: HashSet<&str> = due.map(|refund| refund["refund"].as_str().expect("an id")).collect();
    let outcomes: Vec<&str> = received.iter().filter_map(|event| event.refund.as_deref()).collect();
    assert_eq!(
        (outcomes.len(), outcomes.into_iter().collect::<HashSet<_>>()),
        (due.len(), due),
        "each refund must have one event"
    );
}

/// No export may name the erased buyer.
fn exported(fixture: &ServerFixture, rows: [usize; 3]) {
    for (what, rows) in ["orders", "payments", "refunds"].into_iter().zip(rows) {
        let mut command = program(&fixture.temp_dir);
        let url = format!("http://{}", fixture.address);
        command.args(["csv", what]).env("DOORBUSTER_URL", url).env("DOORBUSTER_ADMIN_KEY", KEY);
        let csv = run(&mut command).stdout_of_success();
        assert_eq!(csv.lines().count(), 1 + rows, "{what}: {csv}");
        assert!(!csv.contains(erased_buyer::ERASED_BUYER), "{what}: {csv}");
    }
}

/// Writes the buyers' responses to a file for the audit. Omits the response of the buyer who left
/// the waitlist, because the audit knows no state for such a response.
pub fn answers(fixture: &ServerFixture, outcomes: &[PurchaseOutcome]) -> std::path::PathBuf {
    let path = fixture.temp_dir.join("answers.jsonl");
    let mut file = std::fs::File::create(&path).expect("a new file");
    let orders = outcomes.iter().filter(|(_, order)| order["state"] != "refused");
    for (PurchaseSpec { buyer, key, sale, item, units, .. }, order) in orders {
        let line = json!({"buyer": buyer, "key": key, "sale": sale, "item": item, "units": units, "status": 201,
                          "code": null, "id": order["id"], "state": order["state"]});
        writeln!(file, "{line}").expect("the file is written");
    }
    path
}
