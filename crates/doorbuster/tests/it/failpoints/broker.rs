//! The failpoint test with a broker in place of the shop's endpoint. The broker acknowledges each
//! event before the server stores the acknowledgement. The server may be killed at each step.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use doorbuster_base::failpoint::{Failpoint, SETTING};
use serde_json::{Value, json};

use super::retrying_client::RetryingClient;
use super::store_access::StoreAccess;
use super::{AT_ONCE, TIMEOUT, in_each_round, judge, life, scenarios};
use crate::crash_windows::fixture::ServerFixture;
use crate::nats_stream::{NatsStream, WINDOW};

const ENDPOINTS: &str = "/v1/admin/webhook-endpoints";
/// The failpoints during a first delivery: from the moment at which the event gets its position, to
/// the stored acknowledgement.
const POINTS: [Failpoint; 4] = [
    Failpoint::OutboxSequenced,
    Failpoint::OutboxRead,
    Failpoint::OutboxSent,
    Failpoint::OutboxAdvanced,
];
/// The failpoints during a retry, when the broker did not accept the event at first.
const AGAIN: [Failpoint; 3] =
    [Failpoint::OutboxSent, Failpoint::OutboxNoted, Failpoint::OutboxAdvanced];

#[test]
fn a_server_may_die_between_any_two_steps_while_it_publishes_to_a_broker() {
    in_each_round(&POINTS, AT_ONCE, |name, passing| life(sale(name, passing, false)));
}

#[test]
fn a_server_may_die_between_any_two_steps_while_it_publishes_to_a_returned_broker() {
    in_each_round(&AGAIN, AT_ONCE, |name, passing| life(sale(name, passing, true)));
}

/// Runs a sale. The server is killed when it passes `point` for the `passing`th time. If `is_away`
/// is true, the broker starts only after a failed delivery. Returns whether the server was killed.
async fn sale(point: &str, passing: u64, is_away: bool) -> bool {
    let armed = format!("{point}:{passing}");
    let mut stream = NatsStream::open().await;
    if is_away {
        stream.kill();
    }
    let host = format!("127.0.0.1:{}", stream.port());
    let mut fixture =
        ServerFixture::with(&[("DOORBUSTER_BROKERS__HOSTS", &host), (SETTING, &armed)]);
    let retrying_client = RetryingClient::new(fixture.address);
    // The holds of phones are long. The holds of watches end before a late payment.
    fixture.open_sale("spring", &[("phone", 50, 5, 300), ("watch", 50, 5, 2)]).await;
    let (at, url, dir) = (retrying_client.clone(), stream.url(), fixture.data_dir().to_owned());
    let selling = tokio::spawn(async move {
        // If the answer to the first request is lost, the repeated request creates a second
        // endpoint with the same URL. The second endpoint gets every event too.
        let made = at.operate("POST", ENDPOINTS, Some(&json!({"url": url, "types": ["*"]}))).await;
        assert_eq!(made.status, 201, "{made}");
        let books = scenarios::usual_scenarios(&at).await;
        while !judge::is_settled(&at, &StoreAccess::Directory, &dir).await {}
        books
    });
    let at = retrying_client.clone();
    let mut failing =
        is_away.then(|| tokio::spawn(async move { at.until(ENDPOINTS, has_failed).await }));
    let (mut died, begun) = (false, Instant::now());
    while !selling.is_finished() {
        assert!(
            begun.elapsed() < TIMEOUT,
            "the sale did not finish in time: {}\n{}",
            retrying_client.waiting(),
            fixture.stderr_text()
        );
        let status = fixture.end().filter(|_| !died);
        if let Some(status) = status {
            assert_eq!(
                status.signal(),
                Some(9),
                "the server ended by itself ({status}): {}",
                fixture.stderr_text()
            );
            died = true;
            // After this pause, the stream accepts a message that is sent a second time.
            tokio::time::sleep(WINDOW * 3).await;
            fixture.unset_setting(SETTING);
            fixture.restart();
            retrying_client.moves_to(fixture.address);
        }
        if failing.as_ref().is_some_and(|failing| failing.is_finished()) {
            failing = None;
            stream.start_again();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let books = selling.await.unwrap_or_else(|error| panic!("{error}: {}", fixture.stderr_text()));
    let received = stream.received().await;
    println!("{armed}: {} events, {} repetitions", received.first.len(), received.again);
    let orders = retrying_client.list(judge::ORDERS, "orders").await;
    let refunds = retrying_client.list(judge::REFUNDS, "refunds").await;
    judge::announced(&retrying_client, &received.first, &orders, &refunds).await;
    let known = |id: &str| orders.iter().any(|order| order["id"] == id);
    let stray =
        received.first.iter().find(|event| event.order.as_deref().is_some_and(|id| !known(id)));
    assert!(stray.is_none(), "an event of an unknown order: {stray:?}");
    if died && point == Failpoint::OutboxSent.as_str() {
        assert!(received.again > 0, "unrecorded events must be sent again");
    }
    fixture.audit(Some(&judge::answers(&fixture, &books))).await;
    died
}

fn has_failed(page: &Value) -> bool {
    page["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|one| one["failing"].as_u64() > Some(0))
}
