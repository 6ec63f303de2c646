//! Tests a sale in which each item has its own waiting room.

use serde_json::{Value, json};

use super::{buy_item, drawn, is};
use crate::app::{TestApp, bearer, sale};
use crate::events::{next, socket};
use crate::http::Reply;
use crate::watch::Stopwatch;

const ROOM: &str = "/v1/sales/spring/waiting-room";

/// Schedules a sale of one phone and five cases, with a waiting room for each item.
async fn announce(app: &TestApp) {
    let mut sale = sale("spring", 1.into(), 1);
    let mut case = sale["items"][0].clone();
    (case["id"], case["stock"]) = (json!("case"), json!(5));
    sale["items"].as_array_mut().expect("a list").push(case);
    let limits = json!({"buyer": null, "ip": null});
    sale["front_door"] = json!({"waiting_room": "always", "rooms": "items", "limits": limits});
    sale["starts_at"] = json!("2100-01-01T00:00:00.000Z");
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    assert_eq!(made.json()["front_door"]["rooms"], "items");
    app.step("spring", "schedule").await;
}

async fn enter(app: &TestApp, buyer: &str, item: &str) -> Reply {
    let bearer = bearer(buyer);
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    app.call("POST", ROOM, &headers, json!({"item": item}).to_string().as_bytes()).await
}

async fn look(app: &TestApp, buyer: &str, item: &str) -> Reply {
    app.buyer(buyer, "GET", &format!("{ROOM}?item={item}")).await
}

async fn until(app: &TestApp, buyer: &str, item: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let timer = Stopwatch::start();
    loop {
        let place = look(app, buyer, item).await.json();
        if holds(&place) {
            assert_eq!(place["item"], item, "{place}");
            return place;
        }
        assert!(
            timer.elapsed() < crate::app::TIMEOUT,
            "timed out; {buyer} waits for a {item}: {place}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Returns the sequence of these buyers in the item's draw.
async fn order_of(app: &TestApp, item: &str, buyers: &[&str]) -> Vec<String> {
    let draw = app.get(&format!("/v1/sales/spring/draw?item={item}")).await.json();
    assert_eq!((&draw["item"], &draw["participants"]), (&json!(item), &json!(buyers.len())));
    let messages: Vec<_> = buyers.iter().map(|buyer| format!("{item}\0{buyer}")).collect();
    let seed = draw["seed"].as_str().expect("the seed is published");
    let name = |message: String| message.rsplit('\0').next().expect("a name").to_owned();
    drawn(seed, &messages).into_iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buyers_of_a_gone_item_are_told_and_buyers_of_another_item_are_admitted() {
    let app = TestApp::start().await;
    announce(&app).await;
    for buyer in ["anna", "bert"] {
        let place = enter(&app, buyer, "phone").await;
        assert_eq!(place.verdict(), "201", "{}", place.text());
        assert_eq!(
            (&place.json()["item"], &place.json()["state"]),
            (&json!("phone"), &json!("before"))
        );
    }
    // Bert waits in the rooms of two items, and his positions have different ids.
    for buyer in ["bert", "carl"] {
        assert_eq!(enter(&app, buyer, "case").await.verdict(), "201");
    }
    let place = async |item| look(&app, "bert", item).await.json()["place"].clone();
    assert_ne!(place("phone").await, place("case").await);
    let (mut anna, mut bert) =
        (socket(&app, "anna", "?sale=spring").await, socket(&app, "bert", "?sale=spring").await);
    app.step("spring", "open").await;
    let phones = order_of(&app, "phone", &["anna", "bert"]).await;
    let (first, second) = (phones[0].as_str(), phones[1].as_str());
    until(&app, first, "phone", is("admitted")).await;
    // The item `case` has enough units for both buyers.
    for buyer in ["bert", "carl"] {
        until(&app, buyer, "case", is("admitted")).await;
    }
    assert_eq!(buy_item(&app, "carl", "phone").await.verdict(), "403 waiting_room");
    assert_eq!(buy_item(&app, second, "phone").await.verdict(), "403 waiting_room");
    assert_eq!(buy_item(&app, first, "phone").await.verdict(), "201");
    let gone = until(&app, second, "phone", is("gone")).await;
    assert_eq!(gone["position"], 1);
    let events = if second == "anna" { &mut anna } else { &mut bert };
    loop {
        let event = next(events).await;
        if event["type"] == "waiting_room" && event["state"] == "gone" {
            assert_eq!((&event["item"], &event["place"]), (&json!("phone"), &gone["place"]));
            break;
        }
    }
    // A buyer of a case who arrives later must not wait behind the buyers of a phone.
    assert_eq!(enter(&app, "dora", "case").await.verdict(), "201");
    until(&app, "dora", "case", is("admitted")).await;
    for buyer in ["bert", "carl", "dora"] {
        assert_eq!(buy_item(&app, buyer, "case").await.verdict(), "201");
    }
    let metrics = app.get("/metrics").await.text();
    for (item, admitted) in [("phone", 1), ("case", 3)] {
        let labels = format!("{{sale=\"spring\",item=\"{item}\"}}");
        let line = format!("doorbuster_waiting_room_admitted_total{labels} {admitted}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_for_one_item_does_not_buy_another_item() {
    let app = TestApp::start().await;
    announce(&app).await;
    app.step("spring", "open").await;
    enter(&app, "anna", "case").await;
    until(&app, "anna", "case", is("admitted")).await;
    let bearer = bearer("anna");
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let reply = app.call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"case"}"#).await;
    let pass = reply.json()["pass"].as_str().expect("a pass").to_owned();
    let buy = async |item: &str| {
        let wanted = json!({"sale": "spring", "item": item, "units": 1}).to_string();
        app.buy_with("anna", item, &[("Purchase-Pass", &pass)], &wanted).await.verdict()
    };
    assert_eq!(buy("phone").await, "403 pass_invalid");
    assert_eq!(buy("case").await, "201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_leaves_the_room_of_one_item_and_stays_in_the_other() {
    let app = TestApp::start().await;
    announce(&app).await;
    for item in ["phone", "case"] {
        assert_eq!(enter(&app, "anna", item).await.verdict(), "201");
        assert_eq!(
            enter(&app, "anna", item).await.verdict(),
            "200",
            "the position must be the same"
        );
    }
    let leave = |query: &'static str| app.buyer("anna", "DELETE", query);
    assert_eq!(leave("/v1/sales/spring/waiting-room?item=phone").await.verdict(), "204");
    assert_eq!(look(&app, "anna", "phone").await.verdict(), "404 not_found");
    assert_eq!(look(&app, "anna", "case").await.json()["state"], "before");
    app.step("spring", "open").await;
    until(&app, "anna", "case", is("admitted")).await;
    // Every request must name the item.
    let missing = [
        leave(ROOM).await,
        app.buyer("anna", "GET", ROOM).await,
        app.buyer("anna", "POST", ROOM).await,
        app.get("/v1/sales/spring/draw").await,
        app.admin("GET", "/v1/admin/sales/spring/draw.csv", None).await,
    ];
    for reply in missing {
        assert_eq!(reply.verdict(), "422 invalid_request");
        let fault = &reply.json()["errors"][0];
        let place = fault["parameter"].as_str().or_else(|| fault["pointer"].as_str());
        assert!(matches!(place, Some("item" | "/item")), "{fault}");
    }
    assert_eq!(enter(&app, "anna", "tablet").await.verdict(), "404 not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_of_the_whole_sale_ignores_the_item() {
    let app = TestApp::start().await;
    announce(&app).await;
    let patch = json!({"front_door": {"rooms": "sale"}});
    assert_eq!(app.admin("PATCH", "/v1/admin/sales/spring", Some(patch)).await.verdict(), "200");
    let place = enter(&app, "anna", "tablet").await;
    assert_eq!(place.verdict(), "201", "{}", place.text());
    assert_eq!(place.json()["item"], Value::Null);
    assert_eq!(look(&app, "anna", "tablet").await.verdict(), "200");
    assert_eq!(app.get("/v1/sales/spring/draw?item=tablet").await.verdict(), "200");
    let left = app.buyer("anna", "DELETE", &format!("{ROOM}?item=tablet")).await;
    assert_eq!(left.verdict(), "204");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_admits_visitors_of_one_item() {
    let app = TestApp::start().await;
    announce(&app).await;
    for buyer in ["anna", "bert", "carl"] {
        assert_eq!(enter(&app, buyer, "phone").await.verdict(), "201");
    }
    app.step("spring", "open").await;
    let order = order_of(&app, "phone", &["anna", "bert", "carl"]).await;
    until(&app, &order[0], "phone", is("admitted")).await;
    let path = "/v1/admin/sales/spring/waiting-room/admissions";
    let without = app.admin("POST", path, Some(json!({"visitors": 1, "reason": "a test"}))).await;
    assert_eq!(without.verdict(), "422 invalid_request");
    let one = json!({"visitors": 1, "reason": "a test", "item": "phone"});
    let done = app.admin("POST", path, Some(one)).await;
    assert_eq!(done.json(), json!({"admitted": 1, "waiting": 1}), "{}", done.text());
    until(&app, &order[1], "phone", is("admitted")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_change_only_before_a_buyer_joins_and_before_the_sale_opens() {
    let app = TestApp::start().await;
    announce(&app).await;
    let change = async |rooms: &str| {
        let patch = json!({"front_door": {"rooms": rooms}});
        app.admin("PATCH", "/v1/admin/sales/spring", Some(patch)).await
    };
    assert_eq!(change("sale").await.verdict(), "200");
    assert_eq!(app.buyer("anna", "GET", ROOM).await.verdict(), "404 not_found");
    assert_eq!(change("items").await.verdict(), "200");
    assert_eq!(enter(&app, "anna", "phone").await.verdict(), "201");
    let refused = change("sale").await;
    assert_eq!(refused.verdict(), "409 wrong_state");
    assert!(refused.text().contains("front_door.rooms"), "{}", refused.text());
    assert_eq!(change("items").await.verdict(), "200", "nothing changes");
    app.make_sale("open", 1.into(), 1).await;
    app.step("open", "open").await;
    let patch = json!({"front_door": {"rooms": "items"}});
    let refused = app.admin("PATCH", "/v1/admin/sales/open", Some(patch)).await;
    assert_eq!(refused.verdict(), "409 wrong_state");
}
