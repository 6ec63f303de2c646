//! The line of an item that is held out: one leaves it, three are served by turn out of what comes back, and somebody who did not wait buys what they leave.

use serde_json::{Value, json};

use super::counter::Counter;
use super::shop::Event;
use super::stories::{Told, cancel, id, paid_for, pressed, refund};
use crate::windows::client::Wish;

/// What they wait for: as many units as there are owners, one for each buyer, and little time to pay.
pub const ITEM: &str = "lamp";
/// Who waits, by turn.
pub const LINE: [&str; 3] = ["early", "middle", "last"];
/// Who does not wait long enough.
const RESTLESS: &str = "restless";
/// Who does not wait at all.
const STRANGER: &str = "stranger";

/// Everybody; what was promised, the place that was given up among it.
pub async fn stood_in(counter: Counter) -> Vec<Told> {
    let (counter, mut told) = (&counter, Vec::new());
    // Nothing is to be had while they stand there.
    let owners = [
        holds(counter, "giver", &mut told).await,
        holds(counter, "returner", &mut told).await,
        holds(counter, "keeper", &mut told).await,
    ];
    let (restless, place) = joins(counter, RESTLESS).await;
    counter.leave(&restless).await;
    let left = counter.shown(&format!("/v1/admin/orders/{}", id(&place))).await;
    told.push((restless, left));
    let places = [
        joins(counter, LINE[0]).await,
        joins(counter, LINE[1]).await,
        joins(counter, LINE[2]).await,
    ];
    let stranger = pressed(counter, STRANGER, ITEM, "pay");
    let (served, bought) = tokio::join!(turns(counter, owners, places), stranger);
    told.extend(served);
    told.extend(bought);
    told
}

/// Buys one and is given more time; with another key once more if the hold was over first. The order that lasts.
async fn holds(counter: &Counter, buyer: &str, told: &mut Vec<Told>) -> Told {
    let mut key = 0;
    loop {
        let wish = Wish::new(buyer, &format!("k{key}"), "spring", 1).item(ITEM);
        let order = counter.buy(&wish).await;
        told.push((wish.clone(), order.clone()));
        let path = format!("/v1/admin/orders/{}/extend", id(&order));
        let extended = counter.operate("POST", &path, Some(&json!({"secs": 300}))).await;
        if extended.status == 200 {
            return (wish, order);
        }
        assert_eq!(extended.status, 409, "{extended}");
        key += 1;
    }
}

async fn joins(counter: &Counter, buyer: &str) -> Told {
    let wish = Wish::new(buyer, "k", "spring", 1).item(ITEM);
    let place = counter.join(&wish).await;
    (wish, place)
}

/// Units come back: one is given up, one was not paid for in time, one was paid for and is refunded, and one nobody waits for any more. Whose time to pay was
/// over before they could do so had their turn all the same.
async fn turns(counter: &Counter, owners: [Told; 3], places: [Told; 3]) -> Vec<Told> {
    let ([giver, returner, keeper], [early, middle, last]) = (owners, places);
    cancel(counter, &giver.0, id(&giver.1)).await;
    let early = served(counter, early).await;
    // The provider is asked about it before the next one has the unit.
    counter.checkout(&early.0, id(&early.1)).await;
    let middle = served(counter, middle).await;
    pays(counter, &middle).await;
    let (wish, order) = paid_for(counter, returner.0, &["pay"]).await;
    let returned = (wish, refund(counter, id(&order)).await);
    let last = served(counter, last).await;
    pays(counter, &last).await;
    cancel(counter, &keeper.0, id(&keeper.1)).await;
    vec![early, middle, returned, last]
}

/// Waits until a place is an order.
async fn served(counter: &Counter, (wish, place): Told) -> Told {
    let is_over = |order: &Value| order["state"] != "waiting";
    let order = counter.until(&format!("/v1/admin/orders/{}", id(&place)), is_over).await;
    (wish, order)
}

/// Pays if there is time.
async fn pays(counter: &Counter, (wish, order): &Told) {
    if let Some(session) = counter.checkout(wish, id(order)).await {
        counter.press(&session, "pay").await;
    }
}

/// Each place became one order, by turn, before anybody else had what came back; the one that was given up was told of once; nobody stands there any more.
pub async fn judge(counter: &Counter, heard: &[Event], orders: &[Value], told: &[Told]) {
    // Where they stand in the list, which has the newest first.
    let of = |buyer: &str| -> Vec<usize> {
        (0..orders.len()).filter(|at| orders[*at]["buyer"] == buyer).collect()
    };
    let turns = LINE.map(of);
    assert!(
        turns.iter().all(|mine| mine.len() == 1),
        "one order for each place: {turns:?} of {orders:?}"
    );
    let turns = turns.concat();
    assert!(turns.is_sorted_by(|one, next| one > next), "by turn: {turns:?} of {orders:?}");
    // Two units were back for the last one when the one before had not paid in time: the other one was anybody's.
    let first = if orders[turns[1]]["state"] == "paid" { turns[2] } else { turns[1] };
    assert!(
        of(STRANGER).iter().all(|at| *at < first),
        "nobody passes the line: {turns:?} of {orders:?}"
    );
    let (_, left) = told.iter().find(|(wish, _)| wish.buyer == RESTLESS).expect("it was told");
    let place = counter.shown(&format!("/v1/admin/orders/{}", id(left))).await;
    assert_eq!((&place["state"], &place["code"]), (&json!("refused"), &json!("left")), "{place}");
    let mine = heard.iter().filter(|event| event.order.as_deref() == Some(id(left)));
    let mine: Vec<&str> = mine.map(|event| &*event.what).collect();
    assert_eq!(mine, ["order.refused"], "of a place that was given up");
    let stock = counter.shown("/v1/admin/sales/spring/stock").await;
    let mut rows = stock["items"].as_array().expect("items").iter();
    assert!(rows.all(|row| row["waiting"] == 0 && row["kept"] == 0), "nobody waits: {stock}");
}
