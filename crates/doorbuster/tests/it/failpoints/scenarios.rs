//! The scenarios of the failpoint tests: what buyers and operators do during the sale, with every
//! kind of payment. A scenario repeats each request until it is answered, even if the server
//! restarts.

use doorbuster_base::signing::SigningKey;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::receiver::STUBBORN;
use super::retrying_client::RetryingClient;
use super::{MESSAGE_SECRET, erased_buyer, reversals, waitlist};
use crate::crash_windows::client::{self, PurchaseSpec};

/// A buyer's request, and the last answer about its order.
pub type PurchaseOutcome = (PurchaseSpec, Value);

/// Runs all scenarios at the same time. Returns what the server's answers promised to the buyers.
pub async fn all(retrying_client: &RetryingClient) -> Vec<PurchaseOutcome> {
    let mut stories = JoinSet::new();
    let at = || retrying_client.clone();
    stories.spawn(late(at()));
    stories.spawn(late_and_sold_out(at()));
    stories.spawn(replaced(at()));
    stories.spawn(lost(at()));
    stories.spawn(left(at(), "leaver", false));
    stories.spawn(left(at(), "dreamer", true));
    stories.spawn(paid(at(), "payer", &["pay"]));
    stories.spawn(paid(at(), "clumsy", &["fail", "pay"]));
    stories.spawn(paid(at(), "hasty", &["twice"]));
    stories.spawn(cancelled(at(), "fickle"));
    stories.spawn(cancelled(at(), STUBBORN));
    stories.spawn(given_back(at()));
    stories.spawn(waitlist::join_and_leave(at()));
    stories.spawn(reversals::taken_back(at(), "robbed", ["pay", "dispute"], false));
    stories.spawn(reversals::taken_back(at(), "unnoticed", ["lose", "return"], false));
    stories.spawn(reversals::taken_back(at(), "regretful", ["pay", "return"], true));
    stories.spawn(reversals::taken_back(at(), "doubted", ["pay", "dispute"], true));
    stories.spawn(reversals::dispute_scenario(at()));
    stories.spawn(erased_buyer::erased(at()));
    stories.join_all().await.concat()
}

/// Runs the scenarios that occur in every shop. Returns what the server's answers promised to the
/// buyers.
pub async fn usual_scenarios(retrying_client: &RetryingClient) -> Vec<PurchaseOutcome> {
    let mut stories = JoinSet::new();
    let at = || retrying_client.clone();
    stories.spawn(paid(at(), "payer", &["pay"]));
    stories.spawn(paid(at(), "clumsy", &["fail", "pay"]));
    stories.spawn(paid(at(), "hasty", &["twice"]));
    stories.spawn(late(at()));
    stories.spawn(cancelled(at(), "fickle"));
    stories.spawn(left(at(), "leaver", false));
    stories.spawn(refunded(at()));
    stories.join_all().await.concat()
}

/// Returns the id of an order or of a waitlist entry.
pub fn id(order: &Value) -> &str {
    order["id"].as_str().expect("an id")
}

/// Buys one unit, and presses the button `action` of the checkout. If the hold ends too early,
/// tries again with another request key. Returns all purchases with their results.
pub async fn pressed(
    retrying_client: &RetryingClient,
    buyer: &str,
    item: &str,
    action: &str,
) -> Vec<PurchaseOutcome> {
    pressed_at(retrying_client, buyer, item, action).await.0
}

/// Does the same as [`pressed`], and also returns the id of the checkout, or `None` if no unit was
/// left.
pub async fn pressed_at(
    retrying_client: &RetryingClient,
    buyer: &str,
    item: &str,
    action: &str,
) -> (Vec<PurchaseOutcome>, Option<String>) {
    let mut outcomes = Vec::new();
    for key in 0.. {
        let spec = PurchaseSpec::new(buyer, &format!("k{key}"), "spring", 1).item(item);
        let Some(order) = retrying_client.try_to_buy(&spec).await else { break };
        outcomes.push((spec.clone(), order.clone()));
        let Some(session) = retrying_client.checkout(&spec, id(&order)).await else { continue };
        if matches!(&*retrying_client.press(&session, action).await, "late" | "paid") {
            return (outcomes, Some(session));
        }
        retrying_client
            .until(&format!("/v1/admin/orders/{}", id(&order)), |order| {
                order["state"] != "reserved"
            })
            .await;
    }
    (outcomes, None)
}

/// Pays after the order has expired. The server must then recall a unit from a slot for this order.
async fn late(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    pressed(&retrying_client, "latecomer", "watch", "late").await
}

/// One buyer pays after the order has expired. By then, another buyer may have an order of the
/// item's only unit.
async fn late_and_sold_out(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let mut outcomes = pressed(&retrying_client, "snail", "ring", "late").await;
    outcomes.extend(pressed(&retrying_client, "hare", "ring", "pay").await);
    outcomes
}

/// The provider's message is lost, so the server finds the payment when it queries the provider.
async fn lost(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    pressed(&retrying_client, "unheard", "watch", "lose").await
}

/// Buys, requests a checkout if `with_checkout` is true, and does not pay.
async fn left(
    retrying_client: RetryingClient,
    buyer: &str,
    with_checkout: bool,
) -> Vec<PurchaseOutcome> {
    let spec = PurchaseSpec::new(buyer, "k", "spring", 1).item("watch");
    let order = retrying_client.buy(&spec).await;
    if with_checkout {
        retrying_client.checkout(&spec, id(&order)).await;
    }
    vec![(spec, order)]
}

/// An operator extends the payment window, and the first checkout expires. Then the buyer pays at a
/// second checkout.
async fn replaced(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let mut outcomes = Vec::new();
    for key in 0.. {
        let spec = PurchaseSpec::new("slow", &format!("k{key}"), "spring", 1).item("watch");
        let order = retrying_client.buy(&spec).await;
        outcomes.push((spec.clone(), order.clone()));
        let Some(first) = retrying_client.checkout(&spec, id(&order)).await else { continue };
        let path = format!("/v1/admin/orders/{}/extend", id(&order));
        let extended = retrying_client.operate("POST", &path, Some(&json!({"secs": 300}))).await;
        if extended.status != 200 {
            continue;
        }
        retrying_client.until_expired(&first).await;
        let second = retrying_client.checkout(&spec, id(&order)).await.expect("a checkout");
        retrying_client.press(&second, "pay").await;
        break;
    }
    outcomes
}

/// Buys, and presses these buttons at the checkout. The last button must pay.
async fn paid(
    retrying_client: RetryingClient,
    buyer: &str,
    actions: &[&str],
) -> Vec<PurchaseOutcome> {
    vec![paid_for(&retrying_client, PurchaseSpec::new(buyer, "k", "spring", 1), actions).await]
}

/// Buys, and presses these buttons at the checkout, one after another. Returns the paid order. If
/// the request has an order already, the order's payment window must still be open.
pub async fn paid_for(
    retrying_client: &RetryingClient,
    spec: PurchaseSpec,
    actions: &[&str],
) -> PurchaseOutcome {
    let order = retrying_client.buy(&spec).await;
    let session = retrying_client.checkout(&spec, id(&order)).await.expect("a checkout");
    for action in actions {
        retrying_client.press(&session, action).await;
    }
    let is_paid = |order: &Value| order["state"] == "paid";
    let order = retrying_client.until(&format!("/v1/admin/orders/{}", id(&order)), is_paid).await;
    (spec, order)
}

async fn cancelled(retrying_client: RetryingClient, buyer: &str) -> Vec<PurchaseOutcome> {
    let spec = PurchaseSpec::new(buyer, "k", "spring", 1);
    let order = retrying_client.buy(&spec).await;
    let order = cancel(&retrying_client, &spec, id(&order)).await;
    vec![(spec, order)]
}

/// Cancels an order as its buyer.
pub async fn cancel(retrying_client: &RetryingClient, spec: &PurchaseSpec, order: &str) -> Value {
    let reply = retrying_client.ask(&spec.order("POST", order, "/cancel")).await;
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

/// An operator refunds one payment of the sandbox. The server refunds another payment, which is not
/// in the sandbox's records.
async fn given_back(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let mut outcomes = refunded(retrying_client.clone()).await;
    outcomes.extend(mismatched(retrying_client).await);
    outcomes
}

async fn refunded(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let (spec, order) =
        paid_for(&retrying_client, PurchaseSpec::new("sorry", "k", "spring", 1), &["pay"]).await;
    let order = refund(&retrying_client, id(&order)).await;
    vec![(spec, order)]
}

/// Refunds an order as an operator.
pub async fn refund(retrying_client: &RetryingClient, order: &str) -> Value {
    let reply =
        retrying_client.operate("POST", &format!("/v1/admin/orders/{order}/refund"), None).await;
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

/// Reports a payment of a wrong amount, which the server refunds. The payment is not in the
/// sandbox's records, so the test itself reports that the refund is settled.
async fn mismatched(retrying_client: RetryingClient) -> Vec<PurchaseOutcome> {
    let spec = PurchaseSpec::new("generous", "k", "spring", 1);
    let order = retrying_client.buy(&spec).await;
    let amount = json!({"amount_minor": 11, "currency": "CNY"});
    let data = json!({"payment": "pay_mismatch", "order": id(&order), "amount": amount});
    message(&retrying_client, "msg_mismatch", &json!({"type": "payment.captured", "data": data}))
        .await;
    let refunds = retrying_client
        .until(&format!("/v1/admin/refunds?order={}", id(&order)), |page| {
            page["refunds"][0]["refund"].is_string()
        })
        .await;
    let settled =
        json!({"type": "refund.settled", "data": {"refund": refunds["refunds"][0]["refund"]}});
    message(&retrying_client, "msg_mismatch_settled", &settled).await;
    let session = retrying_client.checkout(&spec, id(&order)).await.expect("a checkout");
    retrying_client.press(&session, "pay").await;
    vec![(spec, order)]
}

/// Sends a provider's message until it is accepted.
pub async fn message(retrying_client: &RetryingClient, event: &str, body: &Value) {
    let key = SigningKey::parse(MESSAGE_SECRET).expect("a secret");
    let reply = retrying_client.ask(&client::message(&key, event, body)).await;
    assert_eq!(reply.status, 200, "{reply}");
}
