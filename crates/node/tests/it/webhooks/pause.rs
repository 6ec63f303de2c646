//! Tests that a receiver which asks for a pause gets no delivery until the pause is over.

use std::collections::HashSet;
use std::time::Duration;

use doorbuster_core::limits::DELIVERIES_IN_FLIGHT_MAX;
use serde_json::{Value, json};

use super::delivery::event_types;
use super::receiver::{CannedReply, ReceivedRequest, Receiver};
use super::{add, buy, cancel, start};
use crate::app::TestApp;

async fn change(app: &TestApp, endpoint: &str, patch: Value) {
    let reply =
        app.admin("PATCH", &format!("/v1/admin/webhook-endpoints/{endpoint}"), Some(patch)).await;
    assert_eq!(reply.verdict(), "200", "{}", reply.text());
}

#[tokio::test]
async fn a_shop_that_asks_for_a_pause_receives_every_event_after_it() {
    let app = start().await;
    let answer = |n: usize, _: &ReceivedRequest| match n < DELIVERIES_IN_FLIGHT_MAX {
        true => CannedReply::With(503, "retry-after: 2\r\n".to_owned()),
        false => CannedReply::Status(200),
    };
    let shop = Receiver::with(answer).await;
    app.open_sale("spring", 99.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    // The endpoint is disabled until all orders exist, so that their events are sent together.
    change(&app, &id, json!({"enabled": false})).await;
    let mut orders = Vec::new();
    for n in 0..DELIVERIES_IN_FLIGHT_MAX {
        orders.push(buy(&app, n).await);
    }
    cancel(&app, 0, &orders[0]).await;
    cancel(&app, 1, &orders[1]).await;
    change(&app, &id, json!({"enabled": true})).await;
    shop.until(30, "the receiver gets the maximum number of concurrent deliveries", |received| {
        received.len() >= DELIVERIES_IN_FLIGHT_MAX
    })
    .await;
    orders.push(buy(&app, DELIVERIES_IN_FLIGHT_MAX).await);
    let steps = ["order.reserved", "order.cancelled"];
    let is_told = |received: &[ReceivedRequest], n: usize| {
        event_types(received, &orders[n]) == steps[..if n < 2 { 2 } else { 1 }]
    };
    let received = shop
        .until(60, "every event", |received| (0..orders.len()).all(|n| is_told(received, n)))
        .await;
    let first: HashSet<_> =
        received[..DELIVERIES_IN_FLIGHT_MAX].iter().map(ReceivedRequest::order).collect();
    assert_eq!(
        first.len(),
        DELIVERIES_IN_FLIGHT_MAX,
        "each delivery must be about a different order"
    );
    // The receiver asked for 2 s. The gap may be a little shorter, because the server's clock may
    // be adjusted during the pause.
    let gap = received[DELIVERIES_IN_FLIGHT_MAX].at - received[DELIVERIES_IN_FLIGHT_MAX - 1].at;
    assert!(gap >= Duration::from_millis(1_900), "{gap:?}");
}

#[tokio::test]
async fn a_pause_applies_only_to_its_own_address() {
    let (app, other) = (start().await, Receiver::start().await);
    let shop =
        Receiver::with(|_, _| CannedReply::With(429, "retry-after: 3600\r\n".to_owned())).await;
    app.open_sale("spring", 9.into(), 1).await;
    let (id, _) = add(&app, &shop.url(), json!(["*"])).await;
    let mut orders = vec![buy(&app, 1).await];
    let path = format!("/v1/admin/webhook-endpoints/{id}");
    app.until(&path, "the receiver asked for a pause", |one| one["failing"] == 1).await;
    orders.push(buy(&app, 2).await);
    change(&app, &id, json!({"url": other.url()})).await;
    let all = |received: &[ReceivedRequest]| {
        orders.iter().all(|order| event_types(received, order) == ["order.reserved"])
    };
    other.until(30, "the failed and the waiting events arrive", all).await;
    assert_eq!(shop.received().len(), 1);
}
