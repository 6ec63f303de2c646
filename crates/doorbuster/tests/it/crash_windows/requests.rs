//! Tests requests whose clients disconnect, and repeated requests. Each request gets one verdict
//! and at most one order, and no unit is lost.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use super::client::{HttpConnection, PurchaseSpec, Reply};
use super::faults::MachineFaults;
use super::fixture::{ServerFixture, Stock};

const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The delay of a commit, which is shorter than the ten seconds in which a ticket must be decided.
const COMMIT_DELAY: Duration = Duration::from_secs(8);
/// The server detects within this time that a client has disconnected. The test cannot observe the
/// detection, so the test waits for this time.
const NOTICE: Duration = Duration::from_millis(200);
/// The header of a request that does not wait for its verdict: the server answers 202, even if the
/// disk is fast.
const ASYNC: &str = "Prefer: respond-async\r\n";

fn hang_up(stream: TcpStream, reset: bool) {
    if reset {
        stream.set_zero_linger().expect("a socket");
    }
    drop(stream);
}

/// Returns the number of units for which the sale's only slot can issue tickets now.
pub async fn available(fixture: &ServerFixture, sale: &str) -> u64 {
    let slots = fixture.get_ok(&format!("/v1/admin/sales/{sale}/slots")).await;
    slots["slots"][0]["available"].as_u64().unwrap_or_else(|| panic!("{slots}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_between_ticket_and_answer_finds_its_order() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    for (reset, buyer) in [(false, "anna"), (true, "bert")] {
        let (spec, before) =
            (PurchaseSpec::new(buyer, "k", "spring", 2), available(&fixture, "spring").await);
        let mut connection = fixture.connect().await;
        // The client disconnects after the ticket is issued and before the delayed commit.
        faults.slow_disk(COMMIT_DELAY);
        connection.send(&spec.bytes()).await.expect("the request is sent");
        let cut = async || (available(&fixture, "spring").await == before - 2).then_some(());
        fixture.until("the ticket is issued", CHANGE_TIMEOUT, cut).await;
        assert!(
            fixture.orders("spring").await.iter().all(|order| order["buyer"] != buyer),
            "the order must not be committed yet"
        );
        hang_up(connection.stream, reset);
        tokio::time::sleep(NOTICE).await;
        faults.slow_disk(Duration::ZERO);
        let order = async || {
            fixture.orders("spring").await.into_iter().find(|order| order["buyer"] == buyer)
        };
        let order =
            fixture.until("the order exists although no client waits", CHANGE_TIMEOUT, order).await;
        let again = fixture.buy(&spec).await;
        assert!(again.is_replay() && again.json()["id"] == order["id"], "{again}");
    }
    assert_eq!(
        fixture.stock("spring").await,
        Stock { total: 10, pool: 0, in_slots: 6, held: 4, paid: 0 }
    );
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_disconnects_at_once_strands_no_unit() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 450, 1, 900)]).await;
    let specs: Vec<_> =
        (0..300).map(|n| PurchaseSpec::new(&format!("b{n}"), "k", "spring", 1)).collect();
    for (index, spec) in (0..).zip(&specs) {
        let mut connection = fixture.connect().await;
        connection.send(&spec.bytes()).await.expect("the request is sent");
        // Each client disconnects after one of eight different delays, so each step of a request is
        // interrupted.
        tokio::time::sleep(Duration::from_micros(index % 8 * 300)).await;
        hang_up(connection.stream, index % 2 == 0);
    }
    let replays = answers(&fixture, &specs).await.iter().filter(|reply| reply.is_replay()).count();
    // A replay shows that the server completed the request of a client that disconnected.
    assert!(replays >= 100, "only {replays} requests of disconnected clients were completed");
    assert_eq!(fixture.orders("spring").await.len(), 300);
    let more: Vec<_> =
        (300..451).map(|n| PurchaseSpec::new(&format!("b{n}"), "k", "spring", 1)).collect();
    let answers = answers(&fixture, &more).await;
    assert_eq!(
        answers.iter().filter(|reply| reply.status == 201).count(),
        150,
        "all remaining units must be for sale"
    );
    assert_eq!(
        fixture.stock("spring").await,
        Stock { total: 450, pool: 0, in_slots: 0, held: 450, paid: 0 }
    );
    fixture.audit(None).await;
}

/// Sends the purchases one after another. Each answer must be an order or `sold_out`.
async fn answers(fixture: &ServerFixture, specs: &[PurchaseSpec]) -> Vec<Reply> {
    let mut connection = fixture.connect().await;
    let mut answers = Vec::with_capacity(specs.len());
    for spec in specs {
        let reply = connection.ask(&spec.bytes()).await.expect("an answer");
        assert!(matches!(&*reply.verdict(), "200" | "201" | "409 sold_out"), "{reply}");
        answers.push(reply);
    }
    answers
}

/// Sends these requests on separate connections at the same moment; returns the answers in the
/// sequence of the requests.
pub async fn at_once(fixture: &ServerFixture, requests: Vec<Vec<u8>>) -> Vec<Reply> {
    let mut connections = Vec::with_capacity(requests.len());
    for request in requests {
        // Each request is first sent without its last byte. Then all last bytes are sent at the
        // same moment.
        let (mut connection, last) = (fixture.connect().await, request.len() - 1);
        connection.send(&request[..last]).await.expect("the request is sent");
        connections.push((connection, request[last]));
    }
    let one = async |(mut connection, last): (HttpConnection, u8)| {
        connection.ask(&[last]).await.expect("an answer")
    };
    let crowd: Vec<_> =
        connections.into_iter().map(|connection| tokio::spawn(one(connection))).collect();
    let mut replies = Vec::with_capacity(crowd.len());
    for one in crowd {
        replies.push(one.await.expect("no panic"));
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_many_times_at_once_is_one_order() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 100, 100, 900)]).await;
    for round in 0..6 {
        // With a slow disk, all requests arrive before the ticket of the first request is decided.
        faults.slow_disk(Duration::from_millis(if round < 3 { 0 } else { 150 }));
        let spec = PurchaseSpec::new("anna", &format!("k{round}"), "spring", 3);
        let replies = at_once(&fixture, vec![spec.bytes(); 40]).await;
        let new = replies.iter().filter(|reply| reply.status == 201).count();
        let old = replies.iter().filter(|reply| reply.is_replay()).count();
        assert_eq!(
            (new, old),
            (1, 39),
            "round {round}: {:?}",
            replies.iter().map(Reply::verdict).collect::<Vec<_>>()
        );
        assert!(
            replies.iter().all(|reply| reply.id() == replies[0].id()),
            "every answer must have the same id"
        );
        assert_eq!(fixture.stock("spring").await.held, 3 * (round + 1));
        let other = PurchaseSpec { units: 2, ..spec };
        assert_eq!(fixture.buy(&other).await.verdict(), "422 idempotency_key_reused");
    }
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecided_request_gets_the_same_id_each_time() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", 10, 10, 900)]).await;
    let (spec, before) =
        (PurchaseSpec::new("anna", "k", "spring", 2), available(&fixture, "spring").await);
    let other = PurchaseSpec { units: 3, ..spec.clone() };
    faults.slow_disk(COMMIT_DELAY);
    let first = fixture.ask(&spec.with(ASYNC)).await;
    assert_eq!((&*first.verdict(), &first.json()["state"]), ("202", &json!("queued")), "{first}");
    for _ in 0..2 {
        assert_eq!(fixture.ask(&other.with(ASYNC)).await.verdict(), "422 idempotency_key_reused");
        let again = fixture.ask(&spec.with(ASYNC)).await;
        assert_eq!((again.verdict(), again.json()), (first.verdict(), first.json()));
    }
    assert_eq!(
        available(&fixture, "spring").await,
        before - 2,
        "the units of the request must be deducted only once"
    );
    assert!(fixture.orders("spring").await.is_empty(), "the order must not be committed yet");
    faults.slow_disk(Duration::ZERO);
    let look = spec.order("GET", &first.id(), "");
    let decided = async || (fixture.ask(&look).await.json()["state"] == "reserved").then_some(());
    fixture.until("the order exists under this id", CHANGE_TIMEOUT, decided).await;
    let again = fixture.buy(&spec).await;
    assert!(
        again.is_replay() && again.id() == first.id(),
        "the repeated request must return the first order: {again}, first {first}"
    );
    assert_eq!(fixture.buy(&other).await.verdict(), "422 idempotency_key_reused");
    assert_eq!(fixture.orders("spring").await.len(), 1);
    assert_eq!(
        fixture.stock("spring").await,
        Stock { total: 10, pool: 0, in_slots: 8, held: 2, paid: 0 }
    );
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_buyer_of_the_last_unit_is_never_answered_sold_out() {
    let fixture = ServerFixture::start();
    let names: Vec<String> = (0..40).map(|n| format!("i{n}")).collect();
    let items: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1, 900)).collect();
    fixture.open_sale("spring", &items).await;
    for item in &names {
        let specs: Vec<_> = (0..4)
            .map(|n| PurchaseSpec::new(&format!("b{n}"), item, "spring", 1).item(item))
            .collect();
        let requests = (0..24).map(|n| specs[n % 4].bytes()).collect();
        let replies = at_once(&fixture, requests).await;
        let of = |buyer: usize| {
            replies.iter().skip(buyer).step_by(4).map(Reply::verdict).collect::<Vec<_>>()
        };
        let winners: Vec<_> =
            (0..4).filter(|&buyer| of(buyer).iter().any(|v| v != "409 sold_out")).collect();
        assert_eq!(winners.len(), 1, "{item}: {:?}", (0..4).map(of).collect::<Vec<_>>());
        let mut won = of(winners[0]);
        won.sort();
        assert_eq!(won, ["200", "200", "200", "200", "200", "201"], "{item}");
    }
    assert_eq!(fixture.orders("spring").await.len(), 40);
    fixture.audit(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_found_by_its_key_in_every_phase_of_its_sale() {
    let mut fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 5, 5, 900)]).await;
    let spec = PurchaseSpec::new("anna", "k", "spring", 5);
    let first = fixture.buy(&spec).await;
    assert_eq!(first.verdict(), "201");
    let found = async |fixture: &ServerFixture, when: &str, stranger: &str| {
        let again = fixture.buy(&spec).await;
        assert!(
            again.is_replay() && again.json() == first.json(),
            "{when}: the answer is not the first order: {again}"
        );
        assert_eq!(
            fixture.buy(&PurchaseSpec::new("bert", "k", "spring", 1)).await.verdict(),
            stranger,
            "{when}"
        );
    };
    found(&fixture, "sold out", "409 sold_out").await;
    for (step, stranger) in
        [("pause", "409 paused"), ("resume", "409 sold_out"), ("close", "409 ended")]
    {
        fixture.step("spring", step).await;
        found(&fixture, step, stranger).await;
    }
    fixture.kill();
    fixture.restart();
    found(&fixture, "killed", "409 ended").await;
    let other = PurchaseSpec { units: 4, ..spec.clone() };
    assert_eq!(fixture.buy(&other).await.verdict(), "422 idempotency_key_reused");
    let cancelled = fixture.ask(&spec.order("POST", &first.id(), "/cancel")).await;
    assert_eq!(cancelled.json()["state"], json!("cancelled"), "{cancelled}");
    let again = fixture.buy(&spec).await;
    assert!(
        again.is_replay() && again.json() == cancelled.json(),
        "the repeated request must return the cancelled order: {again}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_remembered() {
    let fixture = ServerFixture::start();
    fixture.open_sale("spring", &[("phone", 1, 1, 900)]).await;
    let (first, second) =
        (PurchaseSpec::new("anna", "k", "spring", 1), PurchaseSpec::new("bert", "k", "spring", 1));
    let order = fixture.buy(&first).await;
    let mut connection: HttpConnection = fixture.connect().await;
    assert_eq!(connection.ask(&second.bytes()).await.expect("an answer").verdict(), "409 sold_out");
    assert_eq!(fixture.ask(&first.order("POST", &order.id(), "/cancel")).await.status, 200);
    assert_eq!(
        connection.ask(&second.bytes()).await.expect("an answer").verdict(),
        "201",
        "after a refusal, the same key must be a new attempt"
    );
}
