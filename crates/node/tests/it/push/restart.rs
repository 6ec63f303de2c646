//! Tests that subscriptions survive a restart of the server.

use std::path::PathBuf;

use serde_json::json;

use super::{PushService, SETTINGS, WATCH, scheduled_sale, start, subscribe};
use crate::app::{TIMEOUT, TestApp};
use crate::nodes::number;
use crate::watch::Stopwatch;

async fn start_again(dir: PathBuf) -> TestApp {
    TestApp::try_start(dir, &SETTINGS, false).await.expect("the server starts")
}

pub(super) async fn until_subscriptions(app: &TestApp, count: u64) {
    let timer = Stopwatch::start();
    while number(app, "doorbuster_push_subscriptions").await != count {
        assert!(
            timer.elapsed() < TIMEOUT,
            "timed out; expected: the server has {count} subscriptions"
        );
        tokio::time::sleep(WATCH / 10).await;
    }
}

#[tokio::test]
async fn a_subscription_survives_a_restart() {
    let (app, service) = (start().await, PushService::start(201).await);
    app.open_sale("spring", 5.into(), 2).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    assert_eq!(subscribe(&app, "bob", &service.url_of("bob")).await.status, 204);
    assert_eq!(app.buyer("bob", "DELETE", "/v1/push-subscriptions").await.status, 204);
    let app = start_again(app.stop().await).await;
    until_subscriptions(&app, 1).await;
    assert_eq!(app.buy("bob", "b", "spring", "phone", 1).await.status, 201);
    let order = app.buy("anna", "a", "spring", "phone", 1).await.json();
    let message = service.until(1).await[0].message();
    assert_eq!(message["url"], format!("/order/{}", order["id"].as_str().expect("an id")));
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1, "bob must get no message after the end of his subscription");
}

#[tokio::test]
async fn a_subscription_that_the_browser_ended_does_not_come_back_after_a_restart() {
    let (app, service) = (start().await, PushService::start(404).await);
    app.open_sale("spring", 5.into(), 2).await;
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    assert_eq!(app.buy("anna", "a", "spring", "phone", 1).await.status, 201);
    service.until(1).await;
    until_subscriptions(&app, 0).await;
    let app = start_again(app.stop().await).await;
    assert_eq!(app.buy("anna", "b", "spring", "phone", 1).await.status, 201);
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), 1);
    assert_eq!(number(&app, "doorbuster_push_subscriptions").await, 0);
}

#[tokio::test]
async fn after_a_restart_a_buyer_is_told_what_is_still_true() {
    let (app, service) = (start().await, PushService::start(201).await);
    app.open_sale("autumn", 5.into(), 2).await;
    assert_eq!(app.buy("anna", "a", "autumn", "phone", 1).await.status, 201);
    let cancelled = app.buy("anna", "b", "autumn", "phone", 1).await.json();
    let path = format!("/v1/orders/{}/cancel", cancelled["id"].as_str().expect("an id"));
    assert_eq!(app.buyer("anna", "POST", &path).await.status, 200);
    scheduled_sale(&app, "spring", "anna").await;
    app.step("spring", "open").await;
    let room = "/v1/sales/spring/waiting-room";
    let timer = Stopwatch::start();
    let until = loop {
        let place = app.buyer("anna", "GET", room).await.json();
        if let Some(until) = place["admitted_until"].as_str() {
            break until.parse::<jiff::Timestamp>().expect("a time").as_millisecond();
        }
        assert!(timer.elapsed() < TIMEOUT, "anna was not admitted: {place}");
        tokio::time::sleep(WATCH / 10).await;
    };
    // Anna subscribes after these events, so this server sends her no message about them.
    assert_eq!(subscribe(&app, "anna", &service.url()).await.status, 204);
    let dir = app.stop().await;
    let before = service.got().len();
    let app = start_again(dir).await;
    let got = service.until(before + 2).await;
    let mut messages: Vec<_> = got[before..].iter().map(|pushed| pushed.message()).collect();
    messages.sort_by_key(|message| message["kind"].to_string());
    assert_eq!(messages[0]["kind"], "reserved");
    let turn = json!({"kind": "turn", "title": "Spring drop", "until": until,
                      "url": "/sale/spring"});
    assert_eq!(messages[1..], [turn]);
    tokio::time::sleep(WATCH).await;
    assert_eq!(service.got().len(), before + 2, "the cancelled order must not be announced");
    drop(app);
}
