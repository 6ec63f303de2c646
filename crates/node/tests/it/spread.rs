//! Tests what operators see of an item with several slots. Each slot has two counters.

use serde_json::{Value, json};

use crate::app::TestApp;

const SLOTS: &str = "/v1/admin/sales/spring/slots";

/// Returns the members of a slot's row that the tests compare.
fn numbers(slot: &Value) -> Value {
    let shown = ["granted", "settled", "active", "available", "refills", "recalls", "open"];
    shown
        .iter()
        .map(|&name| (name.to_owned(), slot[name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn both_counters_of_every_partition_are_shown_as_they_sell_and_are_refilled() {
    let app = TestApp::start().await;
    app.make_sale("spring", 1_000.into(), 20).await;
    let spread =
        json!({"partitions": 3, "choose": "buyer", "initial": 20, "threshold": 5, "refill": 10});
    let set =
        app.admin("PUT", "/v1/admin/sales/spring/items/phone/spread", Some(spread.clone())).await;
    assert_eq!((set.verdict().as_str(), set.json()), ("200", spread));
    app.step("spring", "open").await;
    let slots = |shown: &Value| shown["slots"].as_array().expect("slots").clone();
    let untouched = json!({"granted": 20, "settled": 0, "active": "a", "available": {"a": 20, "b": 0}, "refills": 1,
                           "recalls": 0, "open": true});
    let shown = app
        .until(SLOTS, "each slot has its first units", |shown| {
            slots(shown).iter().all(|slot| numbers(slot) == untouched)
        })
        .await;
    let names =
        |slot: &Value| (slot["item"].clone(), slot["partition"].clone(), slot["epoch"].clone());
    assert_eq!(
        slots(&shown).iter().map(names).collect::<Vec<_>>(),
        [0, 1, 2].map(|n| (json!("phone"), json!(n), json!(1)))
    );

    // All requests of a buyer go to one slot. When a counter falls below the threshold, the slot's
    // other counter is refilled.
    assert_eq!(app.buy("anna", "k1", "spring", "phone", 16).await.verdict(), "201");
    let sold = json!({"granted": 30, "settled": 16, "active": "a", "available": {"a": 4, "b": 10}, "refills": 2,
                      "recalls": 0, "open": true});
    let is_at = |shown: &Value, wanted: &Value| {
        let slots = slots(shown);
        let others = slots.iter().filter(|slot| numbers(slot) == untouched).count();
        others == 2 && slots.iter().any(|slot| numbers(slot) == *wanted)
    };
    app.until(SLOTS, "the inactive counter is refilled", |shown| is_at(shown, &sold)).await;
    // After the next ticket, the active counter has fewer units than the other counter. So the
    // other counter becomes active.
    assert_eq!(app.buy("anna", "k2", "spring", "phone", 1).await.verdict(), "201");
    let flipped = json!({"granted": 40, "settled": 17, "active": "b", "available": {"a": 13, "b": 10}, "refills": 3,
                         "recalls": 0, "open": true});
    app.until(SLOTS, "the other counter is active", |shown| is_at(shown, &flipped)).await;
    let stock =
        app.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0].clone();
    assert_eq!(
        (&stock["pool"], &stock["in_slots"], &stock["held"]),
        (&json!(1_000 - 2 * 20 - 40), &json!(2 * 20 + 23), &json!(17))
    );
}

#[tokio::test]
async fn a_spread_changes_while_the_sale_is_open_and_the_slots_show_the_progress() {
    let app = TestApp::start().await;
    app.make_sale("spring", 40.into(), 5).await;
    app.step("spring", "open").await;
    let path = "/v1/admin/sales/spring/items/phone/spread";
    let put = async |body: Value| app.admin("PUT", path, Some(body)).await;
    let has_slots = |shown: &Value, count: usize| {
        let slots = shown["slots"].as_array().expect("slots");
        let open = slots.iter().filter(|slot| slot["open"] == true).count();
        let leaving = slots.iter().filter(|slot| slot["leaving"] == true).count();
        (open, leaving, slots.len()) == (count, 0, count)
    };
    for count in [8, 2, 4] {
        let set = put(json!({"partitions": count, "choose": "random"})).await;
        assert_eq!((set.verdict().as_str(), &set.json()["partitions"]), ("200", &json!(count)));
        app.until(SLOTS, "the slots follow the new spread", |shown| has_slots(shown, count)).await;
        let buyer = format!("anna{count}");
        assert_eq!(app.buy(&buyer, "k", "spring", "phone", 5).await.verdict(), "201");
    }
    let automatic = put(json!({"partitions": "auto"})).await;
    assert_eq!(automatic.verdict(), "200");
    assert_eq!(app.admin("GET", path, None).await.json()["partitions"], "auto");
    app.until(SLOTS, "the item has one partition, because there is one node", |shown| {
        has_slots(shown, 1)
    })
    .await;
    for wrong in [json!(0), json!(65), json!("many"), json!(1.5), Value::Null] {
        let refused = put(json!({"partitions": wrong})).await;
        assert_eq!(refused.verdict(), "422 invalid_request", "{wrong}");
    }
    for n in 0..5 {
        let buyer = format!("bert{n}");
        assert_eq!(app.buy(&buyer, "k", "spring", "phone", 5).await.verdict(), "201");
    }
    assert_eq!(app.buy("carl", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    app.step("spring", "close").await;
    assert_eq!(put(json!({"partitions": 2})).await.verdict(), "409 wrong_state");
}
