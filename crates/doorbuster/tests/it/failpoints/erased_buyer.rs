//! A scenario that erases a buyer. All orders of this buyer are in the sale `autumn`, which closes
//! while the sale `spring` continues.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::retrying_client::RetryingClient;
use super::scenarios::{PurchaseOutcome, cancel, id, paid_for, refund};
use crate::crash_windows::client::PurchaseSpec;

/// The buyer who is erased. No other buyer's name contains this name, so the checks can search for
/// it.
pub const ERASED_BUYER: &str = "forgotten";
/// Another buyer of the same sale, who is not erased.
const BYSTANDER: &str = "bystander";
const SALE: &str = "autumn";
const PAUSE: Duration = Duration::from_millis(50);

/// The buyer pays one order, gets a refund for a second order, and cancels a third order. Then the
/// sale is closed and the buyer is erased.
pub async fn erased(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let retrying_client = &retrying_client;
    open(retrying_client).await;
    let spec = |buyer: &str, key: &str| PurchaseSpec::new(buyer, key, SALE, 1);
    let stays = paid_for(retrying_client, spec(BYSTANDER, "stays"), &["pay"]).await;
    let paid = paid_for(retrying_client, spec(ERASED_BUYER, "paid"), &["pay"]).await;
    let given_up = spec(ERASED_BUYER, "given-up");
    let order = retrying_client.buy(&given_up).await;
    let given_up_order = cancel(retrying_client, &given_up, id(&order)).await;
    let (returned, order) =
        paid_for(retrying_client, spec(ERASED_BUYER, "returned"), &["pay"]).await;
    let returned_order = refund(retrying_client, id(&order)).await;
    step(retrying_client, "close").await;
    erase(retrying_client).await;
    vec![stays, paid, (given_up, given_up_order), (returned, returned_order)]
}

async fn open(retrying_client: &RetryingClient) {
    let price = json!({"amount_minor": 10, "currency": "CNY"});
    let item = json!({"id": "phone", "title": "phone", "price": price, "stock": 9, "limit_per_buyer": 5, "hold_secs": 300});
    let door = json!({"limits": {"buyer": null, "ip": null, "interface": null}});
    let body = json!({"id": SALE, "title": "Autumn drop", "items": [item], "front_door": door});
    let made = retrying_client.operate("POST", "/v1/admin/sales", Some(&body)).await;
    // If the answer to the first request was lost, the sale exists already.
    assert!(matches!(made.status, 201 | 409), "{made}");
    step(retrying_client, "open").await;
}

async fn step(retrying_client: &RetryingClient, step: &str) {
    let stepped =
        retrying_client.operate("POST", &format!("/v1/admin/sales/{SALE}/{step}"), None).await;
    assert_eq!(stepped.status, 200, "{stepped}");
}

/// Repeats the erasure until the server erases all rows. The server erases some rows only after
/// their checkouts have closed and their refunds have arrived.
async fn erase(retrying_client: &RetryingClient) {
    let what = "the buyer is erased";
    loop {
        let left = ask(retrying_client).await["held_back"].clone();
        if left == json!([]) {
            retrying_client.waits(what, None);
            return;
        }
        retrying_client.waits(what, Some(left.to_string()));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(retrying_client: &RetryingClient) -> Value {
    let outcomes = retrying_client
        .operate("POST", "/v1/admin/erasures", Some(&json!({"buyer": ERASED_BUYER})))
        .await;
    assert_eq!(outcomes.status, 200, "{outcomes}");
    outcomes.json()
}

/// Checks that the erased buyer's orders, and no others, have a replacement name. Checks that no
/// row has the old name.
pub async fn check(
    retrying_client: &RetryingClient,
    orders: &[Value],
    audited: &Value,
    outcomes: &[PurchaseOutcome],
) {
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for (spec, order) in outcomes.iter().filter(|(spec, _)| spec.buyer == ERASED_BUYER) {
        let row = orders.iter().find(|row| row["id"] == order["id"]);
        let row = row.unwrap_or_else(|| panic!("{order} is missing: {orders:?}"));
        ids.insert(id(row));
        names.insert(row["buyer"].as_str().expect("a name"));
        let reply = retrying_client.ask(&spec.order("GET", id(order), "")).await;
        assert_eq!(reply.status, 404, "the buyer can still read the order: {reply}");
    }
    assert!(names.len() == 1 && names.iter().all(|name| name.starts_with("erased:")), "{names:?}");
    for row in orders {
        let is_theirs =
            row["buyer"].as_str().is_some_and(|name| name == ERASED_BUYER || names.contains(name));
        assert_eq!(is_theirs, ids.contains(id(row)), "{row}");
    }
    assert!(
        orders.iter().any(|row| row["buyer"] == BYSTANDER && row["state"] == "paid"),
        "{orders:?}"
    );
    assert_eq!(audited["orders_erased"], ids.len(), "{audited}");
    let again = ask(retrying_client).await;
    let left = (&again["orders"], &again["other"], &again["held_back"]);
    assert_eq!(left, (&json!(0), &json!(0), &json!([])), "{again}");
}
