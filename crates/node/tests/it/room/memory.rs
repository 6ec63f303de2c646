//! Tests that a node answers requests about known waiting-room positions from memory.

use super::{announce, buy, enter, is, polls, until};
use crate::app::{TestApp, bearer};
use crate::http::request;

/// Polls the buyer's position repeatedly, and expects this state each time. Returns how many times
/// the server read the store for these polls.
async fn poll(app: &TestApp, buyer: &str, state: &str) -> u64 {
    const TIMES: usize = 200;
    let (before, bearer, mut connection) = (polls(app).await, bearer(buyer), app.connect().await);
    let look = request("GET", "/v1/sales/spring/waiting-room", &[("Authorization", &bearer)], b"");
    for _ in 0..TIMES {
        connection.send(&look).await;
        let place = connection.reply(false).await.expect("an answer");
        assert_eq!(place.json()["state"], state, "{buyer}: {}", place.text());
    }
    polls(app).await - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_a_known_position_does_not_read_the_store() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    assert_eq!(enter(&app, "a").await.verdict(), "201");
    assert_eq!(poll(&app, "a", "before").await, 0);
    app.step("spring", "open").await;
    until(&app, "a", "the buyer is admitted", is("admitted")).await;
    assert_eq!(enter(&app, "b").await.verdict(), "201");
    for (buyer, state) in [("a", "admitted"), ("b", "waiting")] {
        assert_eq!(poll(&app, buyer, state).await, 0, "{buyer}");
    }
    assert_eq!(buy(&app, "a").await.verdict(), "201");
    until(&app, "b", "the buyer gets an event", is("gone")).await;
    assert_eq!(poll(&app, "b", "gone").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_waits_is_refused_a_pass_from_memory() {
    let app = TestApp::start().await;
    announce(&app, 1.into(), 1).await;
    app.step("spring", "open").await;
    for buyer in ["a", "b"] {
        assert_eq!(enter(&app, buyer).await.verdict(), "201");
    }
    until(&app, "a", "the buyer is admitted", is("admitted")).await;
    until(&app, "b", "the buyer waits", is("waiting")).await;
    let before = polls(&app).await;
    for _ in 0..50 {
        assert_eq!(buy(&app, "b").await.verdict(), "403 waiting_room");
    }
    // The node reads the store only if its copy of the room's state is too old, for example after a
    // pause of the machine.
    let after = polls(&app).await;
    assert!(after - before < 10, "the store was read too often: {} times", after - before);
}
