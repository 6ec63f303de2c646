//! Tests queued purchases with a very slow disk. If a purchase does not enter a commit before its
//! deadline, the server refuses the purchase. Every later read shows the refusal. The units of the
//! purchase are for sale again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::{PurchaseSpec, Reply};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use super::requests::at_once;

const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest delay of a commit. It is much longer than the ten seconds in which a request must be
/// decided.
const COMMIT_DELAY: Duration = Duration::from_secs(120);
/// Bounds of `decide_by`, which the server sets to ten seconds after the request. `decide_by` must
/// not be earlier than the first duration after the test sends the request, and not later than the
/// second duration after the test has the answer.
const DECIDED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(8), SignedDuration::from_secs(12));
/// The test reads a request before its deadline only if at least this much time is left. Even on a
/// slow machine, the request is then still queued.
const EARLY: SignedDuration = SignedDuration::from_secs(5);
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(1);
/// The server begins a read within this time. The test cannot observe when the read begins, so the
/// test waits for this time.
const NOTICE: Duration = Duration::from_millis(200);
/// The header of a request that does not wait for its verdict: the server answers 202, however fast
/// the disk is.
const ASYNC: &str = "Prefer: respond-async\r\n";
/// Metric that counts the batches of tickets that the settler has begun to commit.
const BATCHES: &str = "doorbuster_settle_batch_tickets_count";
const PHONES: u64 = 12;

/// A queued purchase, as the answer `202` described it.
pub(super) struct WaitingPosition {
    pub(super) spec: PurchaseSpec,
    /// The id, which is final.
    pub(super) id: String,
    decide_by: Timestamp,
}

impl WaitingPosition {
    #[track_caller]
    fn from_reply(spec: PurchaseSpec, reply: &Reply, sent_at: Timestamp) -> Self {
        assert_eq!(
            (&*reply.verdict(), &reply.json()["state"]),
            ("202", &json!("queued")),
            "{reply}"
        );
        let body = reply.json();
        let decide_by: Timestamp =
            body["decide_by"].as_str().expect("a time").parse().expect("RFC 3339");
        let (least, most) = (sent_at + DECIDED.0, Timestamp::now() + DECIDED.1);
        assert!(
            least <= decide_by && decide_by <= most,
            "wrong decide_by after {sent_at}: {reply}"
        );
        Self { id: reply.id(), spec, decide_by }
    }

    pub(super) fn look(&self) -> Vec<u8> {
        self.spec.order("GET", &self.id, "")
    }
}

/// Sends requests that do not wait for their verdicts. Returns only the queued requests, because
/// the server may refuse some requests if the machine pauses.
pub(super) async fn queue_up(
    fixture: &ServerFixture,
    specs: Vec<PurchaseSpec>,
) -> Vec<WaitingPosition> {
    let sent_at = Timestamp::now();
    let replies = at_once(fixture, specs.iter().map(|spec| spec.with(ASYNC)).collect()).await;
    let queued =
        specs.into_iter().zip(&replies).filter(|(_, reply)| reply.verdict() != "503 overloaded");
    let places: Vec<WaitingPosition> =
        queued.map(|(spec, reply)| WaitingPosition::from_reply(spec, reply, sent_at)).collect();
    assert!(!places.is_empty(), "no request was queued");
    places
}

pub(super) async fn stocked(fixture: &ServerFixture, units: u64) {
    let have = async || {
        let list = fixture.get_ok("/v1/admin/sales/spring/slots").await;
        let slots = list["slots"].as_array().expect("slots");
        let available: u64 = slots.iter().filter_map(|slot| slot["available"].as_u64()).sum();
        (available == units).then_some(())
    };
    fixture.until("the slots have these units", CHANGE_TIMEOUT, have).await;
}

async fn outlast(fixture: &ServerFixture, places: &[&WaitingPosition]) {
    for place in places {
        if Timestamp::now() + EARLY < place.decide_by {
            let reply = fixture.ask(&place.look()).await;
            assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("queued")), "{reply}");
        }
    }
    let last = places.iter().map(|place| place.decide_by).max().expect("at least one");
    let over = async || (Timestamp::now() > last + CLOCKS_DIFFER).then_some(());
    fixture.until("all deadlines have passed", CHANGE_TIMEOUT, over).await;
}

async fn decided(fixture: &ServerFixture, place: &WaitingPosition) -> Value {
    let look = async || {
        let reply = fixture.ask(&place.look()).await;
        assert_eq!(reply.status, 200, "{reply}");
        let body = reply.json();
        (body["state"] != "queued").then_some(body)
    };
    fixture.until("a verdict", CHANGE_TIMEOUT, look).await
}

async fn try_again(fixture: &ServerFixture, place: &WaitingPosition) -> String {
    let buy = async || {
        let reply = fixture.buy(&place.spec).await;
        match &*reply.verdict() {
            "200" | "201" => Some(reply.id()),
            // On a slow machine, the server may queue or refuse this try too.
            "202" | "503 unavailable" | "503 overloaded" => None,
            other => panic!("{other}: {reply}"),
        }
    };
    fixture.until("a new try gets an order", CHANGE_TIMEOUT, buy).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_queued_purchase_is_refused_and_stays_refused() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", PHONES, 1, 900), ("lamp", 1, 1, 900)]).await;
    stocked(&fixture, PHONES + 1).await;
    let batches = fixture.metric(BATCHES).await;
    faults.slow_disk(COMMIT_DELAY);
    let first =
        queue_up(&fixture, vec![PurchaseSpec::new("first", "k", "spring", 1).item("lamp")]).await;
    // After the settler has taken the first ticket, later requests cannot enter the same commit.
    let taken = async || (fixture.metric(BATCHES).await > batches).then_some(());
    fixture.until("the first ticket is being committed", CHANGE_TIMEOUT, taken).await;
    let late = queue_up(
        &fixture,
        (0..PHONES).map(|n| PurchaseSpec::new(&format!("b{n}"), "k", "spring", 1)).collect(),
    )
    .await;
    let all: Vec<&WaitingPosition> = first.iter().chain(&late).collect();
    outlast(&fixture, &all).await;
    assert_eq!(
        (fixture.stock("spring").await.held, fixture.stock("spring").await.free()),
        (0, PHONES)
    );
    // After the deadlines, clients read half of the purchases before the disk works again. All
    // these reads wait for the same commit.
    let mut reads = Vec::new();
    for &place in all.iter().step_by(2) {
        let mut connection = fixture.connect().await;
        connection.send(&place.look()).await.expect("the request is sent");
        reads.push((place, connection));
    }
    tokio::time::sleep(NOTICE).await;
    faults.slow_disk(Duration::ZERO);
    for (place, connection) in &mut reads {
        let reply = connection.reply().await.expect("an answer");
        assert_eq!(
            (reply.status, reply.json()),
            (200, decided(&fixture, place).await),
            "every caller must get the same verdict"
        );
    }
    // The first ticket entered a commit before the ticket's deadline. So the ticket gets an order,
    // although the commit ends after the deadline.
    assert_eq!(decided(&fixture, &first[0]).await["state"], "reserved");
    let mut refused = Vec::new();
    for place in &late {
        let verdict = decided(&fixture, place).await;
        assert_eq!(
            (&verdict["state"], &verdict["code"]),
            (&json!("refused"), &json!("unavailable")),
            "{verdict}"
        );
        assert_eq!(verdict["id"], place.id.as_str(), "{verdict}");
        refused.push(verdict);
    }
    let stock = fixture.stock("spring").await;
    assert_eq!(
        (stock.total, stock.free(), stock.held, stock.paid),
        (PHONES, PHONES, 0, 0),
        "no order must exist, and every unit must be free"
    );
    stocked(&fixture, PHONES).await;
    for (place, refused) in late.iter().zip(&refused) {
        assert_ne!(try_again(&fixture, place).await, place.id, "a new attempt must have a new id");
        assert_eq!(decided(&fixture, place).await, *refused, "a verdict must not change");
    }
    let (stock, bought) = (fixture.stock("spring").await, late.len() as u64);
    assert_eq!((stock.held, stock.free()), (bought, PHONES - bought));
    assert!(fixture.buy(&first[0].spec).await.is_replay());
    fixture.audit(None).await;
}
