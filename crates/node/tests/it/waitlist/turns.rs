//! Tests a large waitlist. Waiting buyers get units as fast as units return.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{TIMEOUT, WAITLIST};
use crate::app::TestApp;
use crate::watch::Stopwatch;
use crate::webhooks::receiver::Receiver;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_64_concurrent_buyers_gets_one_entry_and_one_offer() {
    let app = TestApp::start().await;
    let first = app.held_out(3, 29, 900).await;
    let each = futures_util::future::join_all((0..64).map(|n| {
        let app = &app;
        async move { app.join(&format!("b{}", n % 32), &format!("k{n}")).await }
    }));
    let replies = each.await;
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 201)), "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 32);
    assert_eq!(app.row().await["waiting"], 32);
    let mut turns = Vec::new();
    for n in 0..32 {
        turns.push((
            app.buyer(&format!("b{n}"), "GET", WAITLIST).await.json()["ahead"]
                .as_u64()
                .expect("a number"),
            n,
        ));
    }
    turns.sort_unstable();
    assert!(turns.iter().enumerate().all(|(at, (ahead, _))| *ahead == at as u64), "{turns:?}");
    app.cancel("a", &first).await;
    for (at, (_, n)) in turns.iter().enumerate() {
        let buyer = format!("b{n}");
        let timer = Instant::now();
        loop {
            let orders = app.buyer(&buyer, "GET", "/v1/orders").await.json();
            let has_one = orders["orders"].as_array().expect("a list").len();
            if has_one == usize::from(at < 3) {
                break;
            }
            assert!(
                timer.elapsed() < TIMEOUT,
                "timed out; buyer {at}, {buyer}, has no order: {orders}"
            );
        }
    }
    assert_eq!(app.row().await["waiting"], 29);
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_unit_is_offered_without_waiting_for_a_poll() {
    let app = TestApp::start().await;
    let mut held = ("a".to_owned(), app.held_out(1, 7, 900).await);
    let mut entries = Vec::new();
    for n in 0..8 {
        let buyer = format!("b{n}");
        let id = app.joined(&buyer).await;
        entries.push((buyer, id));
    }
    let timer = Stopwatch::start();
    for (buyer, id) in entries {
        app.cancel(&held.0, &held.1).await;
        app.becomes(&buyer, &id, "reserved").await;
        held = (buyer, id);
    }
    // If the server looked for returned units only once a second, the loop would take 8 s.
    assert!(timer.elapsed() < Duration::from_secs(5), "{:?}", timer.elapsed());
    app.is_well().await;
}

#[tokio::test]
async fn a_shop_gets_an_event_about_the_end_of_each_entry() {
    let (app, shop) = (crate::webhooks::start().await, Receiver::start().await);
    let first = app.held_out(1, 1, 900).await;
    crate::webhooks::add(&app, &shop.url(), json!(["order.reserved", "order.refused"])).await;
    let (b, c) = (app.joined("b").await, app.joined("c").await);
    assert_eq!(app.buyer("b", "DELETE", WAITLIST).await.verdict(), "204");
    let left = app.waiting_entry("b", &b).await;
    app.cancel("a", &first).await;
    let order = app.becomes("c", &c, "reserved").await;
    let received = shop
        .until(10, "both entries have an event", |received| {
            received.iter().any(|one| one.order() == c)
        })
        .await;
    let of = |id: &str| {
        let mine = received.iter().find(|one| one.order() == id).expect("the entry has an event");
        (mine.event_type(), mine.json()["data"]["order"].clone())
    };
    assert_eq!(
        of(&b),
        ("order.refused".into(), left),
        "the event must show the entry as the API does"
    );
    assert_eq!(of(&c), ("order.reserved".into(), order));
    app.cancel("c", &c).await;
    let timer = Instant::now();
    let d = loop {
        let reply = app.buy("d", "k", "spring", "phone", 1).await;
        if reply.status == 201 {
            break super::id(&reply.json());
        }
        assert!(timer.elapsed() < TIMEOUT, "{}", reply.text());
    };
    let received = shop
        .until(10, "one entry became a paid order", |received| {
            received.iter().any(|one| one.order() == d)
        })
        .await;
    let marked = |id: &str| {
        let mine = received
            .iter()
            .find(|one| one.order() == id && one.event_type() == "order.reserved")
            .expect("the entry has an event");
        mine.json()["data"].get("from_waitlist").cloned()
    };
    assert_eq!(
        (marked(&c), marked(&d)),
        (Some(json!(true)), None),
        "only c's event must say that the order came from the waitlist"
    );
}
