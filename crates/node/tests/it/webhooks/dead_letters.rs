//! Tests endpoints that answer 410, and the retry and discard of dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::receiver::{CannedReply, ReceivedRequest, Receiver};
use super::{add, buy, cancel, start};
use crate::app::TestApp;

#[tokio::test]
async fn an_endpoint_that_answers_gone_is_disabled_and_receives_every_event_after_it_is_enabled() {
    let app = start().await;
    let is_back = Arc::new(AtomicBool::new(false));
    let back = is_back.clone();
    let shop = Receiver::with(move |_, _| {
        CannedReply::Status(if back.load(Ordering::SeqCst) { 200 } else { 410 })
    })
    .await;
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    let order = buy(&app, 1).await;
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    app.until(&path, "the endpoint is disabled", |one| one["enabled"] == false).await;
    assert_eq!(app.count_actions("endpoint.disabled").await, 1);
    let (tried, other) = (shop.received().len(), buy(&app, 2).await);
    cancel(&app, 1, &order).await;
    assert_eq!(
        app.admin("GET", "/v1/admin/dead-letters", None).await.json()["dead_letters"],
        json!([])
    );
    is_back.store(true, Ordering::SeqCst);
    assert_eq!(shop.received().len(), tried, "the endpoint must get no more requests");
    assert_eq!(app.admin("PATCH", &path, Some(json!({"enabled": true}))).await.verdict(), "200");
    let accepted = |received: &[ReceivedRequest], order: &str, what: &str| {
        received.iter().any(|one| one.accepted && one.order() == order && one.event_type() == what)
    };
    shop.until(30, "the endpoint gets all missed events", |received| {
        accepted(received, &order, "order.reserved")
            && accepted(received, &order, "order.cancelled")
            && accepted(received, &other, "order.reserved")
    })
    .await;
}

#[tokio::test]
async fn many_dead_letters_are_retried_or_discarded_at_once() {
    let settings =
        [("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"), ("DOORBUSTER_WEBHOOKS__TRIES", "1")];
    let app = TestApp::with(&settings).await;
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let answer = move |_: usize, _: &ReceivedRequest| {
        CannedReply::Status(if mended.load(Ordering::SeqCst) { 200 } else { 400 })
    };
    let (shop, other) =
        (Receiver::with(answer).await, Receiver::with(|_, _| CannedReply::Status(400)).await);
    app.open_sale("spring", 99.into(), 1).await;
    let (first, _) = add(&app, &shop.url(), json!(["order.reserved"])).await;
    let (second, _) = add(&app, &other.url(), json!(["order.reserved"])).await;
    for n in 0..12 {
        buy(&app, n).await;
    }
    let letters = "/v1/admin/dead-letters?limit=100";
    app.until(letters, "all events are dead letters", |list| {
        list["dead_letters"].as_array().is_some_and(|all| all.len() == 24)
    })
    .await;
    let ask = async |how: &str, body: Value| {
        app.admin("POST", &format!("/v1/admin/dead-letters/{how}"), Some(body)).await
    };
    for (how, body) in [
        ("retry", json!({})),
        ("retry", json!({"all": false})),
        ("retry", json!({"all": true, "endpoint": first})),
        ("retry", json!({"all": true, "reason": "why"})),
        ("discard", json!({"all": true})),
    ] {
        assert_eq!(ask(how, body.clone()).await.verdict(), "422 invalid_request", "{how} {body}");
    }
    for (how, body) in [
        ("retry", json!({"endpoint": "end_x"})),
        ("discard", json!({"endpoint": "end_x", "reason": "why"})),
    ] {
        let reply = ask(how, body).await;
        assert_eq!(
            (reply.verdict().as_str(), &reply.json()["detail"]),
            ("404 not_found", &json!("there is no such endpoint"))
        );
    }
    is_mended.store(true, Ordering::SeqCst);
    let (mut done, mut cursor, mut calls) = (0, String::new(), 0);
    loop {
        let reply = ask(&format!("retry?limit=5{cursor}"), json!({"endpoint": first})).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
        let result = reply.json();
        assert!(
            result["done"].as_u64() <= Some(5),
            "one request must change at most five dead letters: {result}"
        );
        (done, calls) = (done + result["done"].as_u64().expect("a number"), calls + 1);
        let Some(next) = result["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(done, 12);
    assert!((5..=6).contains(&calls), "{calls}");
    shop.until(30, "the event is delivered in the end", |received| {
        received.iter().filter(|one| one.accepted).count() == 12
    })
    .await;
    let discarded =
        ask("discard?kind=delivery&limit=100", json!({"all": true, "reason": "a test shop"}))
            .await
            .json();
    assert_eq!(discarded, json!({"done": 12, "skipped": 0, "next_cursor": null}));
    assert_eq!(app.count_actions("dead_letter.retried").await, 12);
    assert_eq!(app.count_actions("dead_letter.discarded").await, 12);
    assert_eq!(app.admin("GET", letters, None).await.json()["dead_letters"], json!([]));
    let path = format!("/v1/admin/webhook-endpoints/{second}/deliveries?state=discarded");
    let kept = app.admin("GET", &path, None).await.json();
    assert_eq!(kept["deliveries"][0]["reason"], "a test shop", "{kept}");
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_the_message_sent_to_its_endpoint() {
    let settings =
        [("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"), ("DOORBUSTER_WEBHOOKS__TRIES", "1")];
    let app = TestApp::with(&settings).await;
    let shop = Receiver::with(|_, _| CannedReply::Status(400)).await;
    app.open_sale("spring", 9.into(), 1).await;
    add(&app, &shop.url(), json!(["order.reserved"])).await;
    for n in 0..2 {
        buy(&app, n).await;
    }
    let list = "/v1/admin/dead-letters";
    app.until(list, "both events are dead letters", |list| {
        list["dead_letters"].as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    let listed = app.admin("GET", list, None).await.json()["dead_letters"].clone();
    for letter in listed.as_array().expect("a list") {
        let id = letter["id"].as_str().expect("an id");
        let mut shown = app.admin("GET", &format!("{list}/{id}"), None).await.json();
        let parts = shown.as_object_mut().expect("an object");
        let request = shop
            .received()
            .into_iter()
            .find(|request| Some(request.id().as_str()) == letter["event"].as_str());
        assert_eq!(
            parts.remove("message"),
            request.map(|request| request.json()),
            "the dead letter must have the message that the endpoint got"
        );
        assert_eq!(
            [parts.remove("refund"), parts.remove("request")],
            [Some(json!(null)), Some(json!(null))]
        );
        assert_eq!(&shown, letter, "the list must have the same dead letter");
    }
    let id = listed[0]["id"].as_str().expect("an id");
    app.admin("POST", &format!("{list}/{id}/discard"), None).await;
    for gone in [id, "dlv_99999", "dlv_x", "ref_1", "ord_1", "x"] {
        assert_eq!(
            app.admin("GET", &format!("{list}/{gone}"), None).await.verdict(),
            "404 not_found",
            "{gone}"
        );
    }
}

#[tokio::test]
async fn a_dead_letter_is_discarded_with_a_reason() {
    let settings =
        [("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"), ("DOORBUSTER_WEBHOOKS__TRIES", "1")];
    let (app, shop) = (
        TestApp::with(&settings).await,
        Receiver::with(|_, _: &ReceivedRequest| CannedReply::Status(400)).await,
    );
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    buy(&app, 1).await;
    buy(&app, 2).await;
    let letters = "/v1/admin/dead-letters";
    let list = app
        .until(letters, "two dead letters", |list| {
            list["dead_letters"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await;
    let page = app.admin("GET", &format!("{letters}?limit=1&kind=delivery"), None).await.json();
    assert_eq!(page["dead_letters"][0], list["dead_letters"][0]);
    let cursor = page["next_cursor"].as_str().expect("the list has more dead letters");
    let rest = app.admin("GET", &format!("{letters}?limit=1&cursor={cursor}"), None).await.json();
    assert_eq!(rest["dead_letters"][0], list["dead_letters"][1]);
    let discarded = format!("/v1/admin/webhook-endpoints/{id}/deliveries?state=discarded");
    let letter = list["dead_letters"][0]["id"].as_str().expect("an id");
    let discard = async |body: Value| {
        app.admin("POST", &format!("{letters}/{letter}/discard"), Some(body)).await
    };
    assert_eq!(discard(json!({})).await.verdict(), "422 invalid_request");
    let done = discard(json!({"reason": "not needed"})).await;
    assert_eq!(done.json(), json!({"id": letter, "state": "discarded"}));
    assert_eq!(discard(json!({"reason": "again"})).await.verdict(), "404 not_found");
    let kept = app.admin("GET", &discarded, None).await.json();
    assert_eq!(kept["deliveries"][0]["reason"], "not needed");
    let other = list["dead_letters"][1]["id"].as_str().expect("an id");
    let done = app.admin("POST", &format!("{letters}/{other}/discard"), None).await;
    assert_eq!(
        done.json(),
        json!({"id": other, "state": "discarded"}),
        "a reason must be optional"
    );
    let kept = app.admin("GET", &discarded, None).await.json();
    let reasons =
        kept["deliveries"].as_array().expect("a list").iter().map(|one| one["reason"].clone());
    assert!(reasons.into_iter().any(|reason| reason == "none given"), "{kept}");
    for wrong in ["dlv_x", "dlv_", "ref_none", "ord_none", "what"] {
        let reply = app.admin("POST", &format!("{letters}/{wrong}/retry"), None).await;
        assert_eq!(reply.verdict(), "404 not_found", "{wrong}");
    }
    assert_eq!(
        app.admin("GET", &format!("{letters}?kind=what"), None).await.verdict(),
        "422 invalid_request"
    );
}
