//! What buyers and operators do meanwhile: payments of every kind, and what follows from them. Each goes on until it is done, whatever happens to the server.

use doorbuster_server::signing::SigningKey;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::counter::Counter;
use super::shop::STUBBORN;
use super::{MESSAGE_SECRET, forgotten, line, reversed};
use crate::windows::client::{self, Wish};

/// A request, and what was told last of the order that it became.
pub type Told = (Wish, Value);

/// Everything at once; what was promised.
pub async fn all(counter: &Counter) -> Vec<Told> {
    let mut stories = JoinSet::new();
    let at = || counter.clone();
    stories.spawn(late(at()));
    stories.spawn(late_for_nothing(at()));
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
    stories.spawn(line::stood_in(at()));
    stories.spawn(reversed::taken_back(at(), "robbed", ["pay", "dispute"], false));
    stories.spawn(reversed::taken_back(at(), "unnoticed", ["lose", "return"], false));
    stories.spawn(reversed::taken_back(at(), "regretful", ["pay", "return"], true));
    stories.spawn(reversed::taken_back(at(), "doubted", ["pay", "dispute"], true));
    stories.spawn(reversed::argued_about(at()));
    stories.spawn(forgotten::erased(at()));
    stories.join_all().await.concat()
}

/// What any shop sees: paid, at the second try, twice and late, cancelled, left to expire, refunded; what was promised.
pub async fn usual(counter: &Counter) -> Vec<Told> {
    let mut stories = JoinSet::new();
    let at = || counter.clone();
    stories.spawn(paid(at(), "payer", &["pay"]));
    stories.spawn(paid(at(), "clumsy", &["fail", "pay"]));
    stories.spawn(paid(at(), "hasty", &["twice"]));
    stories.spawn(late(at()));
    stories.spawn(cancelled(at(), "fickle"));
    stories.spawn(left(at(), "leaver", false));
    stories.spawn(refunded(at()));
    stories.join_all().await.concat()
}

/// An order's id, or a place's.
pub fn id(order: &Value) -> &str {
    order["id"].as_str().expect("an id")
}

/// Buys and presses a button of the checkout; with another key once more if the hold was over first. What was promised, the last of it pressed.
pub async fn pressed(counter: &Counter, buyer: &str, item: &str, action: &str) -> Vec<Told> {
    pressed_at(counter, buyer, item, action).await.0
}

/// The same, and the checkout where it was pressed; `None`: nothing was left to buy.
pub async fn pressed_at(
    counter: &Counter,
    buyer: &str,
    item: &str,
    action: &str,
) -> (Vec<Told>, Option<String>) {
    let mut told = Vec::new();
    for key in 0.. {
        let wish = Wish::new(buyer, &format!("k{key}"), "spring", 1).item(item);
        let Some(order) = counter.try_to_buy(&wish).await else { break };
        told.push((wish.clone(), order.clone()));
        let Some(session) = counter.checkout(&wish, id(&order)).await else { continue };
        if matches!(&*counter.press(&session, action).await, "late" | "paid") {
            return (told, Some(session));
        }
        counter
            .until(&format!("/v1/admin/orders/{}", id(&order)), |order| {
                order["state"] != "reserved"
            })
            .await;
    }
    (told, None)
}

/// Money that comes when its order has expired: its unit went back to a slot, and is recalled.
async fn late(counter: Counter) -> Vec<Told> {
    pressed(&counter, "latecomer", "watch", "late").await
}

/// The same, and somebody else has the only unit by then.
async fn late_for_nothing(counter: Counter) -> Vec<Told> {
    let mut told = pressed(&counter, "snail", "ring", "late").await;
    told.extend(pressed(&counter, "hare", "ring", "pay").await);
    told
}

/// Pays, and the message of it never comes: asking finds it.
async fn lost(counter: Counter) -> Vec<Told> {
    pressed(&counter, "unheard", "watch", "lose").await
}

/// Buys and goes away, with a checkout or without.
async fn left(counter: Counter, buyer: &str, with_checkout: bool) -> Vec<Told> {
    let wish = Wish::new(buyer, "k", "spring", 1).item("watch");
    let order = counter.buy(&wish).await;
    if with_checkout {
        counter.checkout(&wish, id(&order)).await;
    }
    vec![(wish, order)]
}

/// Gets more time when the first checkout is nearly over, and pays at a second one.
async fn replaced(counter: Counter) -> Vec<Told> {
    let mut told = Vec::new();
    for key in 0.. {
        let wish = Wish::new("slow", &format!("k{key}"), "spring", 1).item("watch");
        let order = counter.buy(&wish).await;
        told.push((wish.clone(), order.clone()));
        let Some(first) = counter.checkout(&wish, id(&order)).await else { continue };
        let path = format!("/v1/admin/orders/{}/extend", id(&order));
        let extended = counter.operate("POST", &path, Some(&json!({"secs": 300}))).await;
        if extended.status != 200 {
            continue;
        }
        counter.until_expired(&first).await;
        let second = counter.checkout(&wish, id(&order)).await.expect("there is time");
        counter.press(&second, "pay").await;
        break;
    }
    told
}

/// Presses these buttons, the last of which pays.
async fn paid(counter: Counter, buyer: &str, actions: &[&str]) -> Vec<Told> {
    vec![paid_for(&counter, Wish::new(buyer, "k", "spring", 1), actions).await]
}

/// The same for any wish that leaves time to pay, also one that has its order already; the order when it is paid.
pub async fn paid_for(counter: &Counter, wish: Wish, actions: &[&str]) -> Told {
    let order = counter.buy(&wish).await;
    let session = counter.checkout(&wish, id(&order)).await.expect("there is time");
    for action in actions {
        counter.press(&session, action).await;
    }
    let is_paid = |order: &Value| order["state"] == "paid";
    let order = counter.until(&format!("/v1/admin/orders/{}", id(&order)), is_paid).await;
    (wish, order)
}

async fn cancelled(counter: Counter, buyer: &str) -> Vec<Told> {
    let wish = Wish::new(buyer, "k", "spring", 1);
    let order = counter.buy(&wish).await;
    let order = cancel(&counter, &wish, id(&order)).await;
    vec![(wish, order)]
}

/// Gives an order up as its buyer.
pub async fn cancel(counter: &Counter, wish: &Wish, order: &str) -> Value {
    let reply = counter.ask(&wish.order("POST", order, "/cancel")).await;
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

/// Money that the sandbox gives back, and only then money that it knows nothing of.
async fn given_back(counter: Counter) -> Vec<Told> {
    let mut told = refunded(counter.clone()).await;
    told.extend(mismatched(counter).await);
    told
}

async fn refunded(counter: Counter) -> Vec<Told> {
    let (wish, order) = paid_for(&counter, Wish::new("sorry", "k", "spring", 1), &["pay"]).await;
    let order = refund(&counter, id(&order)).await;
    vec![(wish, order)]
}

/// Refunds an order as an operator.
pub async fn refund(counter: &Counter, order: &str) -> Value {
    let reply = counter.operate("POST", &format!("/v1/admin/orders/{order}/refund"), None).await;
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

/// A payment of another amount, signed here as a provider would; its refund is settled by hand, since the sandbox knows nothing of it.
async fn mismatched(counter: Counter) -> Vec<Told> {
    let wish = Wish::new("generous", "k", "spring", 1);
    let order = counter.buy(&wish).await;
    let amount = json!({"amount_minor": 11, "currency": "CNY"});
    let data = json!({"payment": "pay_mismatch", "order": id(&order), "amount": amount});
    message(&counter, "msg_mismatch", &json!({"type": "payment.captured", "data": data})).await;
    let refunds = counter
        .until(&format!("/v1/admin/refunds?order={}", id(&order)), |page| {
            page["refunds"][0]["refund"].is_string()
        })
        .await;
    let settled =
        json!({"type": "refund.settled", "data": {"refund": refunds["refunds"][0]["refund"]}});
    message(&counter, "msg_mismatch_settled", &settled).await;
    let session = counter.checkout(&wish, id(&order)).await.expect("there is time");
    counter.press(&session, "pay").await;
    vec![(wish, order)]
}

/// Sends a provider's message until it is taken.
pub async fn message(counter: &Counter, event: &str, body: &Value) {
    let key = SigningKey::parse(MESSAGE_SECRET).expect("a secret");
    let reply = counter.ask(&client::message(&key, event, body)).await;
    assert_eq!(reply.status, 200, "{reply}");
}
