//! Tests that the waiting room's estimates agree with the measured waiting times.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{announce, buy, enter, is, look, until};
use crate::app::TestApp;
use crate::events::{next, socket};

/// The interval between two purchases. Each buyer buys and then cancels.
const INTERVAL: Duration = Duration::from_millis(400);
/// The longest duration of the whole test.
const LONGEST: Duration = Duration::from_secs(120);
/// The accepted difference between an estimate and the measured time. Estimates are whole seconds,
/// and the test notices an admission only at its next poll.
const SLACK: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_room_that_moves_evenly_the_estimated_time_is_correct() {
    const UNITS: usize = 20;
    const AHEAD: usize = 10;
    let app = TestApp::start().await;
    announce(&app, UNITS.into(), 1).await;
    app.step("spring", "open").await;
    for n in 0..400 {
        assert_eq!(enter(&app, &format!("b{n}")).await.verdict(), "201");
    }
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut estimated: Option<(String, Instant, Value)> = None;
    for n in 0.. {
        ticks.tick().await;
        let buyer = format!("b{n}");
        until(&app, &buyer, "the buyer is admitted", is("admitted")).await;
        let order = buy(&app, &buyer).await;
        assert_eq!(order.verdict(), "201", "{}", order.text());
        let id = order.json()["id"].as_str().expect("an id").to_owned();
        assert_eq!(
            app.buyer(&buyer, "POST", &format!("/v1/orders/{id}/cancel")).await.verdict(),
            "200"
        );
        let Some((buyer, at, estimate)) = &estimated else {
            let buyer = format!("b{}", n + UNITS + AHEAD);
            let place = look(&app, &buyer).await;
            if !place["estimate_secs"].is_null() {
                assert!(
                    begun.elapsed() > Duration::from_secs(15),
                    "there must be no estimate before enough measurements: {place}"
                );
                estimated = Some((buyer, Instant::now(), place["estimate_secs"].clone()));
            }
            assert!(begun.elapsed() < LONGEST, "timed out; there is no estimate: {place}");
            continue;
        };
        if look(&app, buyer).await["state"] == "admitted" {
            let after = at.elapsed();
            println!("the estimate was {estimate}, and the buyer waited {after:?}");
            let secs = |end: &str| Duration::from_secs(estimate[end].as_u64().expect("seconds"));
            assert!(
                after + SLACK > secs("from") && after < secs("to") + SLACK,
                "the estimate was {estimate}, and the buyer waited {after:?}"
            );
            break;
        }
        assert!(at.elapsed() < LONGEST, "{buyer} was not admitted");
    }
    // The answer to the last buyer must have no estimate. A stream of a buyer further ahead must
    // report an estimate.
    let last = format!("b{}", 400 - 1);
    assert_eq!(
        look(&app, &last).await["estimate_secs"],
        Value::Null,
        "there must be no estimate if the units may be gone before the buyer's turn"
    );
    let (buyer, _, _) = estimated.expect("the last buyer got an estimate");
    let near: usize = buyer[1..].parse().expect("a number");
    let mut events = socket(&app, &format!("b{}", near + 3), "?sale=spring").await;
    let event = loop {
        let event = next(&mut events).await;
        if event["type"] == "waiting_room" {
            break event;
        }
    };
    assert_eq!(event["state"], json!("waiting"), "{event}");
    assert!(
        event["estimate_secs"]["from"].as_u64() <= event["estimate_secs"]["to"].as_u64(),
        "{event}"
    );
    assert!(event["estimate_secs"]["to"].is_u64(), "{event}");
}
