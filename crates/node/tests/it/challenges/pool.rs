//! Tests that the server draws pictures for challenges before a sale opens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{challenge, metric, open};
use crate::app::{TestApp, sale};
use crate::watch::Stopwatch;

/// The pictures must be ready within this time. The server pauses between two pictures, and the
/// machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The tests wait for this many ready pictures, which is more than a test requests at the same
/// time.
const READY_PICTURES: u64 = 8;

/// Returns a time after the end of all these tests. It is less than ten minutes ahead, so the
/// server already draws pictures for this opening.
fn soon() -> String {
    let moment = SystemTime::now() + Duration::from_secs(570);
    let millis = moment.duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    doorbuster_api::value::Time::from_millis(i64::try_from(millis).expect("the time is far ahead"))
        .to_string()
}

async fn scheduled(app: &TestApp, id: &str, challenge: &str, starts_at: &str) {
    let mut sale = sale(id, 100.into(), 10);
    let limits = json!({"buyer": null, "ip": null, "interface": null});
    sale["front_door"] = json!({"challenge": challenge, "limits": limits});
    sale["starts_at"] = starts_at.into();
    let made = app.admin("POST", "/v1/admin/sales", Some(sale)).await;
    assert_eq!(made.verdict(), "201", "{}", made.text());
    app.step(id, "schedule").await;
}

async fn ready(app: &TestApp, kind: &str) -> u64 {
    metric(app, &format!("doorbuster_challenges_ready{{kind=\"{kind}\"}}")).await
}

async fn given(app: &TestApp, kind: &str) -> u64 {
    metric(app, &format!("doorbuster_challenges_total{{kind=\"{kind}\"}}")).await
}

async fn until_ready(app: &TestApp, kind: &str, holds: impl Fn(u64) -> bool) {
    let timer = Stopwatch::start();
    loop {
        let ready = ready(app, kind).await;
        if holds(ready) {
            return;
        }
        assert!(
            timer.elapsed() < TIMEOUT,
            "timed out; {ready} pictures of the kind {kind} are ready"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Requests challenges in rounds, until a round has used pictures that were ready. A round may use
/// no ready picture, because the server can also draw a picture on request.
async fn take_ready_challenges(app: &TestApp, sale: &str, kind: &str) {
    let (timer, already) = (Stopwatch::start(), given(app, kind).await);
    for round in 1.. {
        let before = ready(app, kind).await;
        let ask =
            async |buyer: &str| challenge(app, &format!("{buyer}-{round}"), sale, json!({})).await;
        let issued = tokio::join!(ask("anna"), ask("bert"), ask("carl"), ask("dora"));
        let after = ready(app, kind).await;
        for one in [&issued.0, &issued.1, &issued.2, &issued.3] {
            assert_eq!(one["kind"], kind);
        }
        assert_eq!(given(app, kind).await, already + 4 * round);
        if after < before {
            return;
        }
        assert!(
            timer.elapsed() < TIMEOUT,
            "timed out; ready pictures: {before} before round {round}, {after} after this round"
        );
    }
}

async fn phase(app: &TestApp, sale: &str) -> String {
    let found = app.admin("GET", &format!("/v1/admin/sales/{sale}"), None).await.json();
    found["phase"].as_str().expect("a phase").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn challenges_of_a_sale_that_opens_soon_are_drawn_in_advance() {
    let app = TestApp::start().await;
    scheduled(&app, "far", "slider", "2099-01-01T00:00:00Z").await;
    scheduled(&app, "near", "image", &soon()).await;
    // The server fills the emptiest pool of pictures first. So if the server needed pictures of
    // sliders, some slider pictures would be ready by now.
    until_ready(&app, "image", |ready| ready >= READY_PICTURES).await;
    assert_eq!(
        ready(&app, "slider").await,
        0,
        "pictures must not be drawn for a sale that opens in years"
    );
    assert_eq!(
        (given(&app, "image").await, given(&app, "slider").await),
        (0, 0),
        "challenges must not count as issued before a buyer requests one"
    );
    take_ready_challenges(&app, "near", "image").await;
    assert_eq!(phase(&app, "near").await, "scheduled");

    let moved = app.admin("PATCH", "/v1/admin/sales/far", Some(json!({"starts_at": soon()}))).await;
    assert_eq!(moved.verdict(), "200", "{}", moved.text());
    until_ready(&app, "slider", |ready| ready >= READY_PICTURES).await;
    assert_eq!(phase(&app, "far").await, "scheduled");
    app.step("far", "open").await;
    take_ready_challenges(&app, "far", "slider").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_drawn_for_sales_that_ask_for_no_picture_or_are_over() {
    let app = TestApp::start().await;
    app.open_sale("plain", 100.into(), 10).await;
    open(&app, "work", "pow").await;
    for (kind, other) in [("slider", "image"), ("image", "slider")] {
        open(&app, kind, kind).await;
        until_ready(&app, kind, |ready| ready >= READY_PICTURES).await;
        assert_eq!(
            ready(&app, other).await,
            0,
            "pictures of this kind must not be drawn, because no sale requires such pictures"
        );
        app.step(kind, "close").await;
        until_ready(&app, kind, |ready| ready == 0).await;
    }
    assert_eq!(
        (given(&app, "slider").await, given(&app, "image").await),
        (0, 0),
        "challenges must not count as issued before a buyer requests one"
    );
}
