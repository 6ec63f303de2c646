//! Tests that refusals allocate little memory. Under load, most answers are refusals.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::app::{TestApp, bearer, sale};
use crate::http::request;
use crate::nodes::number;
use crate::postgres::Cluster;
use crate::several_servers::address;
use crate::watch::Stopwatch;

/// The number of refusals in a burst. The test counts the allocations of a whole burst. Other work
/// of the server adds allocations to most bursts, but no burst has fewer allocations than its
/// refusals need. So the test checks one of the bursts with the fewest allocations.
const BURST: u64 = 50;
const BURSTS: usize = 41;
/// The maximum number of allocations for one refusal: a read buffer and a write buffer.
const EACH: u64 = 2;
/// The longest wait for a burst of requests. The wait is long, because the machine may pause for a
/// while.
const TIMEOUT: Duration = Duration::from_secs(60);

struct RefusedRequest {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl RefusedRequest {
    /// Sends requests until the server has done all lazy allocations. Stores the bytes of the last
    /// answer, because each later answer has the same length.
    async fn new(app: &TestApp, sale: &str, code: &str) -> Self {
        let bearer = bearer("late");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", "late"),
            ("Content-Type", "application/json"),
        ];
        let body = json!({"sale": sale, "item": "phone", "units": 1}).to_string();
        let request = request("POST", "/v1/orders", &headers, body.as_bytes());
        let mut connection = app.connect().await;
        for _ in 0..10 {
            connection.send(&request).await;
            let reply = connection.reply(false).await.expect("an answer");
            assert!(reply.verdict().ends_with(code), "{sale}: {}", reply.text());
        }
        let mut answer = vec![0; 4_096];
        connection.stream.write_all(&request).await.expect("the request is sent");
        let length = connection.stream.read(&mut answer).await.expect("an answer");
        assert!(
            length < answer.len() && answer[..length].ends_with(b"}"),
            "the whole answer must come in one piece"
        );
        answer.truncate(length);
        Self { stream: connection.stream, request, answer }
    }

    async fn again(&mut self, times: u64) {
        for _ in 0..times {
            self.stream.write_all(&self.request).await.expect("the request is sent");
            self.stream.read_exact(&mut self.answer).await.expect("an answer");
        }
    }
}

#[test]
fn a_refusal_allocates_only_its_read_and_write_buffers() {
    // All work for a client runs on this thread, so every allocation is counted.
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let app = runtime.block_on(async {
        let app = TestApp::start().await;
        for sale in ["gone", "paused", "ended"] {
            app.open_sale(sale, 1.into(), 1).await;
        }
        assert_eq!(app.buy("anna", "k", "gone", "phone", 1).await.verdict(), "201");
        app.step("paused", "pause").await;
        app.step("ended", "close").await;
        let mut soon = sale("soon", 1.into(), 1);
        soon["starts_at"] = "2090-01-01T00:00:00Z".into();
        assert_eq!(app.admin("POST", "/v1/admin/sales", Some(soon)).await.verdict(), "201");
        app.step("soon", "schedule").await;
        app
    });
    let cases =
        [("gone", "sold_out"), ("paused", "paused"), ("ended", "ended"), ("soon", "not_started")];
    check_allocations(&runtime, &app, &cases);
    runtime.block_on(async { drop(app.stop().await) });
}

/// Checks that a refusal makes at most [`EACH`] allocations. Each case has a sale, and the problem
/// code with which the sale's requests are refused.
fn check_allocations(runtime: &Runtime, app: &TestApp, cases: &[(&str, &str)]) {
    for (sale, code) in cases {
        let mut refused = runtime.block_on(RefusedRequest::new(app, sale, code));
        let mut counted = Vec::new();
        for _ in 0..BURSTS {
            let burst = allocation_counter::measure(|| {
                runtime.block_on(async {
                    tokio::time::timeout(TIMEOUT, refused.again(BURST))
                        .await
                        .expect("the answers arrive in time");
                });
            });
            counted.push(burst.count_total);
        }
        counted.sort_unstable();
        assert!(counted[BURSTS / 10] <= EACH * BURST, "{sale}: {counted:?}");
    }
}

#[test]
fn a_refusal_by_a_node_that_shares_limits_allocates_no_more_and_waits_for_no_call() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let home = Cluster::start(&[]);
    let store = address(&home, &home.database());
    let settings = [("DOORBUSTER_SHAPE", "postgres"), ("DOORBUSTER_STORE__URL", store.as_str())];
    let app = runtime.block_on(async {
        let app = TestApp::with(&settings).await;
        app.open_sale("gone", 1.into(), 1).await;
        let mut few = sale("few", 1.into(), 1);
        few["front_door"] = json!({"limits": {"buyer": {"burst": 3, "per_minute": 1}}});
        assert_eq!(app.admin("POST", "/v1/admin/sales", Some(few)).await.verdict(), "201");
        app.step("few", "open").await;
        for sale in ["gone", "few"] {
            let key = format!("k-{sale}");
            assert_eq!(app.buy("anna", &key, sale, "phone", 1).await.verdict(), "201");
        }
        let mut verdict = String::new();
        for n in 0..4 {
            verdict = app.buy("late", &format!("k{n}"), "few", "phone", 1).await.verdict();
        }
        assert_eq!(verdict, "429 rate_limited");
        app
    });
    let calls = || {
        let name = "doorbuster_limits_shared_total{outcome=\"succeeded\"}";
        runtime.block_on(number(&app, name))
    };
    let began = Stopwatch::start();
    while calls() == 0 {
        assert!(began.elapsed() < TIMEOUT, "the node did not report the buyer's three requests");
    }
    check_allocations(&runtime, &app, &[("few", "rate_limited"), ("gone", "sold_out")]);
    // In the sale `few`, the node admitted one request of `anna` and three of `late`. The node
    // reports each admitted request at most once. A larger number of reports would mean that the
    // node reports refusals too.
    let reports = calls();
    assert!(reports <= 4, "a refusal caused a report: the node made {reports} reports");
    runtime.block_on(async { drop(app.stop().await) });
}
