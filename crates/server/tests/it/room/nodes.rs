//! A waiting room with a store that several nodes share.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{announce, buy, draw, drawn, enter, is, told, until};
use crate::app::{PATIENCE, TestApp, sale};
use crate::events::{next, socket};
use crate::postgres::Cluster;
use crate::watch::Watch;

/// A server of shape `postgres` on this database.
async fn node(home: &Cluster, database: &str) -> TestApp {
    let url = crate::several::address(home, database);
    TestApp::with(&[("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", url.as_str())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_a_room() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let nodes = [node(&home, &database).await, node(&home, &database).await];
    announce(&nodes[0], 3.into(), 1).await;
    let buyers: Vec<String> = (0..8).map(|n| format!("b{n}")).collect();
    for (n, buyer) in buyers.iter().enumerate() {
        let (here, there) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let place = enter(here, buyer).await;
        assert_eq!(place.verdict(), "201", "{}", place.text());
        assert_eq!(enter(there, buyer).await.json(), place.json(), "the same place at the other node");
    }
    assert_eq!(draw(&nodes[0]).await["commitment"], draw(&nodes[1]).await["commitment"]);
    nodes[1].step("spring", "open").await;
    let begun = Instant::now();
    let seed = loop {
        // A cache may have kept what was so a second ago; so may a node.
        match draw(&nodes[0]).await["seed"].as_str() {
            Some(seed) => break seed.to_owned(),
            None => assert!(begun.elapsed() < PATIENCE, "the first node hears of the opening"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let order = drawn(&seed, &buyers);
    for node in &nodes {
        for (at, buyer) in order.iter().enumerate() {
            let state = match at {
                0..3 => "admitted",
                3..6 => "waiting",
                _ => "gone",
            };
            let place = until(node, buyer, "is told", |place| place["state"] == state).await;
            assert_eq!(place["position"], if at < 3 { Value::Null } else { json!(at - 2) }, "{buyer}: {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_from_before_the_room_opened_by_itself_leads_to_the_line() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    let mut sale = sale("spring", 1_000.into(), 1_000);
    sale["front_door"] = json!({"waiting_room": "auto", "pass": "required"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.verdict(), "201");
    app.step("spring", "open").await;
    let ask = async |buyer: &str| {
        let bearer = crate::app::bearer(buyer);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        app.call("POST", "/v1/sales/spring/passes", &headers, br#"{"item":"phone"}"#).await
    };
    let pass = async |buyer: &str| ask(buyer).await.json()["pass"].as_str().expect("a pass").to_owned();
    let order = async |buyer: &str, key: &str, pass: &str| {
        let purchase = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
        app.buy_with(buyer, key, &[("Purchase-Pass", pass)], &purchase).await.verdict()
    };
    let (anna, bert) = (pass("anna").await, pass("bert").await);
    assert_eq!(order("anna", "k", &anna).await, "201", "the room is not open");
    // As a node does where too many come.
    assert_eq!(enter(&app, "dora").await.verdict(), "201");
    let soon = "UPDATE waiting_room SET open_until = (extract(epoch FROM now()) * 1000)::bigint + 60000";
    home.psql(&database, soon).expect("the room is there");
    let (begun, mut tries) = (Instant::now(), 0);
    loop {
        tries += 1;
        match order("bert", &format!("k{tries}"), &bert).await.as_str() {
            "403 waiting_room" => break,
            told => assert!(told == "201" && begun.elapsed() < PATIENCE, "{told} at {tries}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(order("anna", "k", &anna).await, "200", "an order is an order");
    assert_eq!(ask("bert").await.verdict(), "403 waiting_room");
    enter(&app, "bert").await;
    until(&app, "bert", "is called in", is("admitted")).await;
    let called = pass("bert").await;
    assert_eq!(order("bert", "called", &called).await, "201");
    assert_eq!(order("bert", "again", &bert).await, "403 waiting_room", "the other one is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_of_a_place_that_was_taken_at_another_node() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let (first, second) = (node(&home, &database).await, node(&home, &database).await);
    announce(&first, 2.into(), 1).await;
    let place = enter(&first, "anna").await.json();
    // It says what is followed, and this node may hear of the sale now.
    let mut anna = socket(&second, "anna", "?sale=spring").await;
    assert_eq!(next(&mut anna).await["type"], "status");
    let event = next(&mut anna).await;
    assert_eq!((&event["type"], &event["sale"]), (&json!("waiting_room"), &json!("spring")), "{event}");
    assert_eq!((&event["place"], &event["state"]), (&place["place"], &json!("before")));
    // One more takes a place there after a stream began here, which follows no sale.
    let mut bert = socket(&second, "bert", "").await;
    assert_eq!(enter(&first, "bert").await.verdict(), "201");
    first.step("spring", "open").await;
    for (buyer, events) in [("anna", &mut anna), ("bert", &mut bert)] {
        let admitted = until(&first, buyer, "is called in", is("admitted")).await;
        told(events, &admitted).await;
    }
}

/// What 600 buyers hear who have passes and press one after the other, up to the first who is sent to the line; of an installation where that are too many.
async fn crowd_at_the_button(app: &TestApp, (home, database): (&Cluster, &str), stock: u64) -> Vec<String> {
    let mut sale = sale("spring", stock.into(), 1);
    sale["front_door"] = json!({"waiting_room": "auto", "pass": "required"});
    assert_eq!(app.admin("POST", "/v1/admin/sales", Some(sale)).await.verdict(), "201");
    app.step("spring", "open").await;
    let buyers: Vec<String> = (0..600).map(|n| format!("b{n}")).collect();
    let mut passes = Vec::new();
    let headers =
        |buyer: &str| [("Authorization", crate::app::bearer(buyer)), ("Content-Type", "application/json".into())];
    let mut wire = app.connect().await;
    for buyer in &buyers {
        let headers = headers(buyer);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = br#"{"item":"phone"}"#;
        wire.send(&crate::http::request("POST", "/v1/sales/spring/passes", &headers, body)).await;
        let pass = wire.reply(false).await.expect("an answer");
        assert_eq!(pass.verdict(), "201", "{}", pass.text());
        passes.push(pass.json()["pass"].as_str().expect("a pass").to_owned());
    }
    // Of a thousand nodes each looks after two who come in a second; the others of this installation are silent. Who came for passes is forgotten by then.
    let quiet = Watch::start();
    while quiet.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    home.psql(database, "INSERT INTO node SELECT n, 4000000000000 FROM generate_series(60001, 60999) n")
        .expect("a table");
    let begun = Instant::now();
    while !app.get("/metrics").await.text().lines().any(|line| line == "doorbuster_nodes 1000") {
        assert!(begun.elapsed() < PATIENCE, "the node knows of the others");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut verdicts = Vec::new();
    for (buyer, pass) in buyers.iter().zip(&passes) {
        let body = json!({"sale": "spring", "item": "phone", "units": 1}).to_string();
        verdicts.push(app.buy_with(buyer, "k", &[("Purchase-Pass", pass)], &body).await.verdict());
        if verdicts.last().is_some_and(|verdict| verdict == "403 waiting_room") {
            break;
        }
    }
    verdicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_button_opens_the_room() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    let mut verdicts = crowd_at_the_button(&app, (&home, &database), 1_000).await;
    let last = verdicts.pop();
    assert_eq!(last.as_deref(), Some("403 waiting_room"), "after {}", verdicts.len());
    assert!(verdicts.iter().all(|verdict| verdict == "201"), "{verdicts:?}");
    assert_eq!(buy(&app, "b599").await.verdict(), "403 waiting_room", "and leads them to the line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_the_button_of_an_empty_shop_hears_that_it_is_empty() {
    let home = Cluster::start(&[]);
    let database = home.database();
    let app = node(&home, &database).await;
    let verdicts = crowd_at_the_button(&app, (&home, &database), 1).await;
    assert_eq!((verdicts.len(), verdicts[0].as_str()), (600, "201"));
    assert!(verdicts[1..].iter().all(|verdict| verdict == "409 sold_out"), "{verdicts:?}");
}
