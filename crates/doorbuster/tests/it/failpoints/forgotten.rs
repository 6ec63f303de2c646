//! A buyer who is erased: of a sale of their own, which is closed while the others go on.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::counter::Counter;
use super::stories::{Told, cancel, id, paid_for, refund};
use crate::windows::client::Wish;

/// Who is erased. No other name holds this one.
pub const FORGOTTEN: &str = "forgotten";
/// Who bought there as well, and stays.
const BYSTANDER: &str = "bystander";
const SALE: &str = "autumn";
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Pays for one order, has the money of another back, gives a third one up; the sale is closed, and the buyer is erased.
pub async fn erased(counter: Counter) -> Vec<Told> {
    let counter = &counter;
    open(counter).await;
    let wish = |buyer: &str, key: &str| Wish::new(buyer, key, SALE, 1);
    let stays = paid_for(counter, wish(BYSTANDER, "stays"), &["pay"]).await;
    let paid = paid_for(counter, wish(FORGOTTEN, "paid"), &["pay"]).await;
    let given_up = wish(FORGOTTEN, "given-up");
    let order = counter.buy(&given_up).await;
    let given_up_order = cancel(counter, &given_up, id(&order)).await;
    let (returned, order) = paid_for(counter, wish(FORGOTTEN, "returned"), &["pay"]).await;
    let returned_order = refund(counter, id(&order)).await;
    step(counter, "close").await;
    erase(counter).await;
    vec![stays, paid, (given_up, given_up_order), (returned, returned_order)]
}

async fn open(counter: &Counter) {
    let price = json!({"amount_minor": 10, "currency": "CNY"});
    let item = json!({"id": "phone", "title": "phone", "price": price, "stock": 9, "limit_per_buyer": 5, "hold_secs": 300});
    let door = json!({"limits": {"buyer": null, "ip": null, "interface": null}});
    let body = json!({"id": SALE, "title": "Autumn drop", "items": [item], "front_door": door});
    let made = counter.operate("POST", "/v1/admin/sales", Some(&body)).await;
    // There already: it was made, and the answer lost.
    assert!(matches!(made.status, 201 | 409), "{made}");
    step(counter, "open").await;
}

async fn step(counter: &Counter, step: &str) {
    let stepped = counter.operate("POST", &format!("/v1/admin/sales/{SALE}/{step}"), None).await;
    assert_eq!(stepped.status, 200, "{stepped}");
}

/// Erases until nothing has to stay: checkouts are closed and refunds arrive meanwhile.
async fn erase(counter: &Counter) {
    let what = "until a buyer is erased";
    loop {
        let left = ask(counter).await["held_back"].clone();
        if left == json!([]) {
            counter.waits(what, None);
            return;
        }
        counter.waits(what, Some(left.to_string()));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(counter: &Counter) -> Value {
    let told =
        counter.operate("POST", "/v1/admin/erasures", Some(&json!({"buyer": FORGOTTEN}))).await;
    assert_eq!(told.status, 200, "{told}");
    told.json()
}

/// All of the buyer's orders are somebody's without a name, and nobody else's are; nothing is left to be erased, and what happened since brought nothing back.
pub async fn judge(counter: &Counter, orders: &[Value], audited: &Value, told: &[Told]) {
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    for (wish, order) in told.iter().filter(|(wish, _)| wish.buyer == FORGOTTEN) {
        let row = orders.iter().find(|row| row["id"] == order["id"]);
        let row = row.unwrap_or_else(|| panic!("{order} is not there: {orders:?}"));
        ids.insert(id(row));
        names.insert(row["buyer"].as_str().expect("a name"));
        let asked = counter.ask(&wish.order("GET", id(order), "")).await;
        assert_eq!(asked.status, 404, "it is not theirs any more: {asked}");
    }
    assert!(names.len() == 1 && names.iter().all(|name| name.starts_with("erased:")), "{names:?}");
    for row in orders {
        let is_theirs =
            row["buyer"].as_str().is_some_and(|name| name == FORGOTTEN || names.contains(name));
        assert_eq!(is_theirs, ids.contains(id(row)), "{row}");
    }
    assert!(
        orders.iter().any(|row| row["buyer"] == BYSTANDER && row["state"] == "paid"),
        "{orders:?}"
    );
    assert_eq!(audited["orders_erased"], ids.len(), "{audited}");
    let again = ask(counter).await;
    let left = (&again["orders"], &again["other"], &again["held_back"]);
    assert_eq!(left, (&json!(0), &json!(0), &json!([])), "{again}");
}
