//! A scenario with a waitlist. One buyer leaves the waitlist, and three buyers get returned units
//! in the sequence of the waitlist. A buyer who did not join buys a unit that remains.

use serde_json::{Value, json};

use super::receiver::Event;
use super::retrying_client::RetryingClient;
use super::scenarios::{PurchaseOutcome, cancel, id, paid_for, pressed, refund};
use crate::crash_windows::client::PurchaseSpec;

/// The item with a waitlist. Three buyers hold its three units before the first buyer joins the
/// waitlist.
pub const ITEM: &str = "lamp";
/// The buyers on the waitlist, in the order in which they join.
pub const WAITING_BUYERS: [&str; 3] = ["early", "middle", "last"];
const LEAVING_BUYER: &str = "restless";
/// A buyer who buys the item without joining the waitlist.
const STRANGER: &str = "stranger";

/// Runs the scenario. Returns the buyers' results, including the entry of the buyer who left the
/// waitlist.
pub async fn join_and_leave(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let (retrying_client, mut outcomes) = (&retrying_client, Vec::new());
    let owners = [
        holds(retrying_client, "giver", &mut outcomes).await,
        holds(retrying_client, "returner", &mut outcomes).await,
        holds(retrying_client, "keeper", &mut outcomes).await,
    ];
    let (restless, entry) = joins(retrying_client, LEAVING_BUYER).await;
    retrying_client.leave(&restless).await;
    let left = retrying_client.get_ok(&format!("/v1/admin/orders/{}", id(&entry))).await;
    outcomes.push((restless, left));
    let entries = [
        joins(retrying_client, WAITING_BUYERS[0]).await,
        joins(retrying_client, WAITING_BUYERS[1]).await,
        joins(retrying_client, WAITING_BUYERS[2]).await,
    ];
    let stranger = pressed(retrying_client, STRANGER, ITEM, "pay");
    let (served, bought) = tokio::join!(turns(retrying_client, owners, entries), stranger);
    outcomes.extend(served);
    outcomes.extend(bought);
    outcomes
}

/// Buys, and extends the order's payment window. If the window ends before the extension, buys
/// again.
async fn holds(
    retrying_client: &RetryingClient,
    buyer: &str,
    outcomes: &mut Vec<PurchaseOutcome>,
) -> PurchaseOutcome {
    let mut key = 0;
    loop {
        let spec = PurchaseSpec::new(buyer, &format!("k{key}"), "spring", 1).item(ITEM);
        let order = retrying_client.buy(&spec).await;
        outcomes.push((spec.clone(), order.clone()));
        let path = format!("/v1/admin/orders/{}/extend", id(&order));
        let extended = retrying_client.operate("POST", &path, Some(&json!({"secs": 300}))).await;
        if extended.status == 200 {
            return (spec, order);
        }
        assert_eq!(extended.status, 409, "{extended}");
        key += 1;
    }
}

async fn joins(retrying_client: &RetryingClient, buyer: &str) -> PurchaseOutcome {
    let spec = PurchaseSpec::new(buyer, "k", "spring", 1).item(ITEM);
    let entry = retrying_client.join(&spec).await;
    (spec, entry)
}

/// Gives three units back for the waiting buyers: by a cancellation, by an expiry and by a refund.
/// After that, the waitlist is empty, and a cancellation gives a fourth unit back.
async fn turns(
    retrying_client: &RetryingClient,
    owners: [PurchaseOutcome; 3],
    entries: [PurchaseOutcome; 3],
) -> Vec<PurchaseOutcome> {
    let ([giver, returner, keeper], [early, middle, last]) = (owners, entries);
    cancel(retrying_client, &giver.0, id(&giver.1)).await;
    let early = served(retrying_client, early).await;
    // The order gets a checkout and is not paid. When it expires, the server must query the
    // provider before the next buyer gets the unit.
    retrying_client.checkout(&early.0, id(&early.1)).await;
    let middle = served(retrying_client, middle).await;
    pays(retrying_client, &middle).await;
    let (spec, order) = paid_for(retrying_client, returner.0, &["pay"]).await;
    let returned = (spec, refund(retrying_client, id(&order)).await);
    let last = served(retrying_client, last).await;
    pays(retrying_client, &last).await;
    cancel(retrying_client, &keeper.0, id(&keeper.1)).await;
    vec![early, middle, returned, last]
}

async fn served(
    retrying_client: &RetryingClient,
    (spec, entry): PurchaseOutcome,
) -> PurchaseOutcome {
    let is_over = |order: &Value| order["state"] != "waiting";
    let order = retrying_client.until(&format!("/v1/admin/orders/{}", id(&entry)), is_over).await;
    (spec, order)
}

async fn pays(retrying_client: &RetryingClient, (spec, order): &PurchaseOutcome) {
    if let Some(session) = retrying_client.checkout(spec, id(order)).await {
        retrying_client.press(&session, "pay").await;
    }
}

/// Checks that each waiting buyer got one order, in the sequence of the waitlist. No other buyer
/// may have got a returned unit before these orders.
pub async fn check(
    retrying_client: &RetryingClient,
    received: &[Event],
    orders: &[Value],
    outcomes: &[PurchaseOutcome],
) {
    // Returns the indices of a buyer's orders in `orders`, where the newest order is first.
    let of = |buyer: &str| -> Vec<usize> {
        (0..orders.len()).filter(|at| orders[*at]["buyer"] == buyer).collect()
    };
    let turns = WAITING_BUYERS.map(of);
    assert!(
        turns.iter().all(|mine| mine.len() == 1),
        "each entry must have one order: {turns:?} of {orders:?}"
    );
    let turns = turns.concat();
    assert!(
        turns.is_sorted_by(|one, next| one > next),
        "the orders are not in the sequence of the waitlist: {turns:?} of {orders:?}"
    );
    // If `middle` did not pay in time, the unit of `middle` also came back. Then two units were
    // free when it was the turn of `last`, so any buyer could get one of the two.
    let first = if orders[turns[1]]["state"] == "paid" { turns[2] } else { turns[1] };
    assert!(
        of(STRANGER).iter().all(|at| *at < first),
        "another buyer got a unit too early: {turns:?} of {orders:?}"
    );
    let (_, left) = outcomes
        .iter()
        .find(|(spec, _)| spec.buyer == LEAVING_BUYER)
        .expect("the entry of the buyer who left");
    let entry = retrying_client.get_ok(&format!("/v1/admin/orders/{}", id(left))).await;
    assert_eq!((&entry["state"], &entry["code"]), (&json!("refused"), &json!("left")), "{entry}");
    let mine = received.iter().filter(|event| event.order.as_deref() == Some(id(left)));
    let mine: Vec<&str> = mine.map(|event| &*event.what).collect();
    assert_eq!(mine, ["order.refused"], "the entry of the buyer who left must have one event");
    let stock = retrying_client.get_ok("/v1/admin/sales/spring/stock").await;
    let mut rows = stock["items"].as_array().expect("items").iter();
    assert!(
        rows.all(|row| row["waiting"] == 0 && row["kept"] == 0),
        "the waitlist is not empty: {stock}"
    );
}
