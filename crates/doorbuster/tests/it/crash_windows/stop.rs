//! Tests the shutdown of the server. The server answers every accepted request, and slow clients do
//! not delay the shutdown. Only one process at a time can use the directory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::client::{HttpConnection, PurchaseSpec, request, signed_in};
use super::decide::{queue_up, stocked};
use super::faults::MachineFaults;
use super::fixture::{ServerFixture, adjustment};
use super::purchase_log::AllowedEvents;
use super::random_load::{self, RandomLoad};
use super::requests::available;
use crate::test_server::serve;
use crate::watch::Stopwatch;

/// Longest time from the stop signal to the end of the program.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The test stops the server when a load has got at least this number of answers.
const STORM_MIN: usize = 10;
const STORM_WITHIN: Duration = Duration::from_secs(60);
const COMMIT_DELAY: Duration = Duration::from_secs(60);
/// The delay of each sync while the stopping server settles the queued purchases.
const SYNC: Duration = Duration::from_millis(200);
/// The number of buyers whose requests are queued when the server gets the stop signal.
const QUEUED: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stopped_under_load_answers_every_accepted_request() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    for (round, disk_ms) in [0, 40, 150].into_iter().enumerate() {
        let sale = format!("s{round}");
        fixture.open_sale(&sale, &[("phone", 300, 6, 900)]).await;
        faults.slow_disk(Duration::from_millis(disk_ms));
        let plan =
            RandomLoad::new(fixture.address, &sale, round as u64, 16, AllowedEvents::default());
        let storm = tokio::spawn(random_load::run(plan.clone()));
        let timer = Stopwatch::start();
        while timer.elapsed() < Duration::from_millis(500)
            || plan.answered.load(Ordering::Relaxed) < STORM_MIN
        {
            assert!(timer.elapsed() < STORM_WITHIN, "the load has not started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fixture.ask_to_stop();
        assert_eq!(fixture.wait_for_end(END_WITHIN), Some(0), "{}", fixture.stderr_text());
        let record = storm.await.expect("a load without contradictions");
        faults.slow_disk(Duration::ZERO);
        fixture.restart();
        fixture.audit(None).await;
        let mut connection = fixture.connect().await;
        for mut purchase_log in record.purchase_logs {
            let had_answer = !purchase_log.open;
            let known = purchase_log.order.is_some();
            let again = purchase_log.buy(&mut connection, "").await.expect("an answer");
            match (known, had_answer) {
                (true, _) => assert!(again.is_replay(), "{again}"),
                // The connection closed before this request was answered. So the server must not
                // have accepted the request, and the repeated request must not be a replay.
                (false, false) => assert!(
                    !again.is_replay(),
                    "the server accepted a request and did not answer it: {again}"
                ),
                (false, true) => {}
            }
        }
    }
}

async fn socket(fixture: &ServerFixture, buyer: &str) -> HttpConnection {
    let lines = format!(
        "{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: \
         13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        signed_in(buyer)
    );
    let mut connection = fixture.connect().await;
    connection
        .send(&request("GET", "/v1/ws?sale=spring", &lines, None))
        .await
        .expect("the request is sent");
    assert_eq!(connection.head().await.expect("an answer").status, 101);
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_does_not_delay_shutdown() {
    let mut fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let mut idle = Vec::new();
    let (mut sockets, mut streams, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..20 {
        let mut connection = fixture.connect().await;
        let sales =
            connection.ask(&request("GET", "/v1/sales", "", None)).await.expect("an answer");
        assert_eq!(sales.status, 200);
        idle.push(connection);
        sockets.push(socket(&fixture, &format!("b{number}")).await);
        let mut stream = fixture.connect().await;
        let follow =
            request("GET", "/v1/events?sale=spring", &signed_in(&format!("b{number}")), None);
        stream.send(&follow).await.expect("the request is sent");
        assert_eq!(stream.head().await.expect("a stream").status, 200);
        streams.push(stream);
        // Opens four slow connections: one sends nothing, one sends half a request head, one sends
        // half a body, and one does not read its answers.
        let spec = PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1).bytes();
        let large = request("GET", "/openapi.json", "", None).repeat(40);
        for stderr_text in
            [&b""[..], b"GET /v1/sales HTTP/1.1\r\nHo", &spec[..spec.len() - 5], &large]
        {
            let mut connection = fixture.connect().await;
            connection.send(stderr_text).await.expect("the request is sent");
            stuck.push(connection);
        }
    }
    let timer = Stopwatch::start();
    fixture.ask_to_stop();
    for connection in idle.iter_mut().chain(&mut streams) {
        connection.ends(END_WITHIN).await.expect("the connection is closed");
    }
    for connection in &mut sockets {
        connection.ends(END_WITHIN).await.expect("the connection is closed");
        // Looks for an unmasked, final close frame with code 1001, "going away".
        let farewell =
            connection.unread().windows(4).any(|four| four[0] == 0x88 && four[2..] == [0x03, 0xe9]);
        assert!(farewell, "{:?}", String::from_utf8_lossy(connection.unread()));
    }
    assert_eq!(
        fixture.wait_for_end(END_WITHIN.saturating_sub(timer.elapsed())),
        Some(0),
        "{}",
        fixture.stderr_text()
    );
    assert!(HttpConnection::connect(fixture.address).await.is_err(), "the server still listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_disk_does_not_prevent_shutdown() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let stored = PurchaseSpec::new("anna", "k", "spring", 1);
    assert_eq!(fixture.buy(&stored).await.verdict(), "201");
    faults.slow_disk(Duration::from_secs(60));
    let mut waiting = fixture.connect().await;
    let spec = PurchaseSpec::new("bert", "k", "spring", 1);
    waiting.send(&spec.with("Prefer: wait=30\r\n")).await.expect("the request is sent");
    let mut changing = fixture.connect().await;
    changing.send(&adjustment("spring", "a", -5)).await.expect("the request is sent");
    let cut = async || (available(&fixture, "spring").await == 8).then_some(());
    fixture.until("the ticket is issued", END_WITHIN, cut).await;
    // The test cannot see when the server has received the change of the stock, so the test waits
    // for some time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    fixture.ask_to_stop();
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(1), "{}", fixture.stderr_text());
    assert!(fixture.stderr_text().contains("did not settle"), "{}", fixture.stderr_text());
    faults.slow_disk(Duration::ZERO);
    fixture.restart();
    assert!(fixture.buy(&stored).await.is_replay());
    assert!(matches!(&*fixture.buy(&spec).await.verdict(), "200" | "201"));
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_settles_every_queued_purchase_before_it_stops() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", QUEUED, 1, 900)]).await;
    stocked(&fixture, QUEUED).await;
    faults.slow_disk(COMMIT_DELAY);
    let specs = (0..QUEUED)
        .map(|number| PurchaseSpec::new(&format!("b{number}"), "k", "spring", 1))
        .collect();
    let places = queue_up(&fixture, specs).await;
    assert_eq!(fixture.stock("spring").await.held, 0, "an order exists already");
    fixture.ask_to_stop();
    let refused = async || HttpConnection::connect(fixture.address).await.is_err().then_some(());
    fixture.until("new requests are refused", END_WITHIN, refused).await;
    // The commits go on, but slowly. The server must settle the queued requests, although no client
    // waits for an answer any more.
    faults.slow_disk(SYNC);
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(0), "{}", fixture.stderr_text());
    faults.slow_disk(Duration::ZERO);
    fixture.restart();
    for place in &places {
        let reply = fixture.ask(&place.look()).await;
        assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("reserved")), "{reply}");
        let again = fixture.buy(&place.spec).await;
        assert!(again.is_replay() && again.id() == place.id, "{again}");
    }
    assert_eq!(fixture.stock("spring").await.held, places.len() as u64);
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_answers_requests_for_positions() {
    let (mut fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 10, 1, 900)]).await;
    let door = json!({"front_door": {"waiting_room": "always"}});
    let patched = fixture.admin("PATCH", "/v1/admin/sales/spring", Some(&door)).await;
    assert_eq!(patched.status, 200, "{patched}");
    let ask = |method: &str, buyer: &str| {
        request(method, "/v1/sales/spring/waiting-room", &signed_in(buyer), None)
    };
    let mut entering = fixture.connect().await;
    // The disk delays the commit of `anna`'s position in the waiting room. The later requests wait
    // for this commit.
    faults.slow_disk(COMMIT_DELAY);
    entering.send(&ask("POST", "anna")).await.expect("the request is sent");
    let mut reading = Vec::new();
    for number in 0..QUEUED {
        let mut connection = fixture.connect().await;
        let sent = connection.send(&ask("GET", &format!("b{number}"))).await;
        sent.expect("the request is sent");
        reading.push(connection);
    }
    let polls = "doorbuster_waiting_room_polls_total";
    let queued = async || (fixture.metric(polls).await == QUEUED).then_some(());
    fixture.until("the server has accepted the requests", END_WITHIN, queued).await;
    fixture.ask_to_stop();
    let refused = async || HttpConnection::connect(fixture.address).await.is_err().then_some(());
    fixture.until("new requests are refused", END_WITHIN, refused).await;
    faults.slow_disk(Duration::ZERO);
    assert_eq!(entering.reply().await.expect("an answer").verdict(), "201");
    for connection in &mut reading {
        let reply = connection.reply().await.expect("an answer");
        assert_eq!(reply.status, 404, "{reply}");
    }
    assert_eq!(fixture.wait_for_end(END_WITHIN), Some(0), "{}", fixture.stderr_text());
}

/// Starts a second server on the same directory, and waits until it ends. Returns its exit code and
/// its standard error.
fn second(fixture: &ServerFixture) -> (Option<i32>, String) {
    let mut child =
        serve(&fixture.temp_dir, fixture.data_dir()).spawn().expect("the program starts");
    let timer = Stopwatch::start();
    while child.try_wait().expect("a child process").is_none() {
        if timer.elapsed() > END_WITHIN {
            let _ = child.kill();
            panic!("a second server started on the same directory");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("the output");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_refused_only_while_the_first_runs() {
    let mut fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let (code, stderr_text) = second(&fixture);
    assert_eq!(code, Some(1), "{stderr_text}");
    let reason = stderr_text.lines().last().expect("a reason");
    assert!(
        reason.starts_with("doorbuster: ")
            && reason.contains("in use by another doorbuster process"),
        "{stderr_text}"
    );
    assert_eq!(
        fixture.buy(&PurchaseSpec::new("anna", "k", "spring", 1)).await.verdict(),
        "201",
        "the first server must still work"
    );
    fixture.audit(None).await;
    // When the process is killed, its lock on the directory must end too. Otherwise, an operator
    // would have to remove the lock by hand.
    fixture.kill();
    fixture.restart();
    assert!(fixture.buy(&PurchaseSpec::new("anna", "k", "spring", 1)).await.is_replay());
}
