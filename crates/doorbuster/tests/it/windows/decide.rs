//! A queued purchase that expires before its commit: every later request for it is refused, and its
//! units are for sale again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::{PurchaseSpec, Reply};
use super::faults::MachineFaults;
use super::fixture::ServerFixture;
use super::requests::at_once;

/// For whatever comes by itself, on a slow machine.
const SOON: Duration = Duration::from_secs(30);
/// How long the disk delays a commit that is not released: much longer than a request may be
/// undecided.
const HELD_UP: Duration = Duration::from_secs(120);
/// A place is decided ten seconds after it was asked for; how much earlier or later that may be
/// told, with what the request took before and after.
const DECIDED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(8), SignedDuration::from_secs(12));
/// A request that is read this long before its deadline is still queued, also on a slow machine.
const EARLY: SignedDuration = SignedDuration::from_secs(5);
/// How much the server's clock and ours may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(1);
/// For a server to come to where a question waits. Whether it has cannot be seen from outside.
const NOTICE: Duration = Duration::from_millis(200);
/// Who does not wait gets a place, however quick the disk is.
const ASYNC: &str = "Prefer: respond-async\r\n";
/// Counts the batches of tickets that were taken to be committed.
const BATCHES: &str = "doorbuster_settle_batch_tickets_count";
const PHONES: u64 = 12;

/// A place in the queue, as it was told.
pub(super) struct WaitingPosition {
    /// Whose, and for what.
    pub(super) spec: PurchaseSpec,
    /// Its id, which is final.
    pub(super) id: String,
    decide_by: Timestamp,
}

impl WaitingPosition {
    #[track_caller]
    fn told(spec: PurchaseSpec, reply: &Reply, asked: Timestamp) -> Self {
        assert_eq!(
            (&*reply.verdict(), &reply.json()["state"]),
            ("202", &json!("queued")),
            "{reply}"
        );
        let told = reply.json();
        let decide_by: Timestamp =
            told["decide_by"].as_str().expect("a time").parse().expect("RFC 3339");
        let (least, most) = (asked + DECIDED.0, Timestamp::now() + DECIDED.1);
        assert!(least <= decide_by && decide_by <= most, "asked at {asked}: {reply}");
        Self { id: reply.id(), spec, decide_by }
    }

    /// A look at it.
    pub(super) fn look(&self) -> Vec<u8> {
        self.spec.order("GET", &self.id, "")
    }
}

/// The ids of requests that are sent at once and do not wait. If the machine pauses in between,
/// later requests are refused.
pub(super) async fn queue_up(
    fixture: &ServerFixture,
    specs: Vec<PurchaseSpec>,
) -> Vec<WaitingPosition> {
    let asked = Timestamp::now();
    let replies = at_once(fixture, specs.iter().map(|spec| spec.with(ASYNC)).collect()).await;
    let told =
        specs.into_iter().zip(&replies).filter(|(_, reply)| reply.verdict() != "503 overloaded");
    let places: Vec<WaitingPosition> =
        told.map(|(spec, reply)| WaitingPosition::told(spec, reply, asked)).collect();
    assert!(!places.is_empty(), "nobody got a place");
    places
}

/// Waits until the slots of the sale can hand out exactly so many units.
pub(super) async fn stocked(fixture: &ServerFixture, units: u64) {
    let have = async || {
        let told = fixture.get_ok("/v1/admin/sales/spring/slots").await;
        let slots = told["slots"].as_array().expect("slots");
        let available: u64 = slots.iter().filter_map(|slot| slot["available"].as_u64()).sum();
        (available == units).then_some(())
    };
    fixture.until("the slots have these units", SOON, have).await;
}

/// Looks at each place while it may yet be decided, and waits until none may.
async fn outlast(fixture: &ServerFixture, places: &[&WaitingPosition]) {
    for place in places {
        if Timestamp::now() + EARLY < place.decide_by {
            let told = fixture.ask(&place.look()).await;
            assert_eq!((told.status, &told.json()["state"]), (200, &json!("queued")), "{told}");
        }
    }
    let last = places.iter().map(|place| place.decide_by).max().expect("there are some");
    let over = async || (Timestamp::now() > last + CLOCKS_DIFFER).then_some(());
    fixture.until("their time is over", SOON, over).await;
}

/// What the id stands for, once there is a verdict.
async fn decided(fixture: &ServerFixture, place: &WaitingPosition) -> Value {
    let look = async || {
        let told = fixture.ask(&place.look()).await;
        assert_eq!(told.status, 200, "{told}");
        let told = told.json();
        (told["state"] != "queued").then_some(told)
    };
    fixture.until("a verdict", SOON, look).await
}

/// Asks again under the same key until there is an order; its id.
async fn try_again(fixture: &ServerFixture, place: &WaitingPosition) -> String {
    let buy = async || {
        let reply = fixture.buy(&place.spec).await;
        match &*reply.verdict() {
            "200" | "201" => Some(reply.id()),
            // A slow machine: the same again.
            "202" | "503 unavailable" | "503 overloaded" => None,
            other => panic!("{other}: {reply}"),
        }
    };
    fixture.until("a new try gets an order", SOON, buy).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_queued_purchase_is_refused_and_stays_refused() {
    let (fixture, faults) = MachineFaults::fixture(&[]);
    fixture.open_sale("spring", &[("phone", PHONES, 1, 900), ("lamp", 1, 1, 900)]).await;
    stocked(&fixture, PHONES + 1).await;
    let batches = fixture.metric(BATCHES).await;
    faults.slow_disk(HELD_UP);
    let first =
        queue_up(&fixture, vec![PurchaseSpec::new("first", "k", "spring", 1).item("lamp")]).await;
    // Its ticket was taken, so it is in the commit that the disk delays. Later requests are in the
    // next commit.
    let taken = async || (fixture.metric(BATCHES).await > batches).then_some(());
    fixture.until("the first ticket is being committed", SOON, taken).await;
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
    // A read requests the verdict after its deadline, and waits behind the same commit. No client
    // reads the others.
    let mut looks = Vec::new();
    for &place in all.iter().step_by(2) {
        let mut wire = fixture.wire().await;
        wire.send(&place.look()).await.expect("it is sent");
        looks.push((place, wire));
    }
    tokio::time::sleep(NOTICE).await;
    faults.slow_disk(Duration::ZERO);
    for (place, wire) in &mut looks {
        let told = wire.reply().await.expect("an answer");
        assert_eq!(
            (told.status, told.json()),
            (200, decided(&fixture, place).await),
            "one verdict for every caller"
        );
    }
    // It was in the commit before its time was over, however long that took.
    assert_eq!(decided(&fixture, &first[0]).await["state"], "reserved");
    let mut refused = Vec::new();
    for place in &late {
        let told = decided(&fixture, place).await;
        assert_eq!(
            (&told["state"], &told["code"]),
            (&json!("refused"), &json!("unavailable")),
            "{told}"
        );
        assert_eq!(told["id"], place.id.as_str(), "{told}");
        refused.push(told);
    }
    let stock = fixture.stock("spring").await;
    assert_eq!(
        (stock.total, stock.free(), stock.held, stock.paid),
        (PHONES, PHONES, 0, 0),
        "nobody has any"
    );
    // Their units are for sale again, and so are their shares of the limit.
    stocked(&fixture, PHONES).await;
    for (place, refused) in late.iter().zip(&refused) {
        assert_ne!(try_again(&fixture, place).await, place.id, "a new try has a new id");
        assert_eq!(decided(&fixture, place).await, *refused, "an id keeps its verdict");
    }
    let (stock, bought) = (fixture.stock("spring").await, late.len() as u64);
    assert_eq!((stock.held, stock.free()), (bought, PHONES - bought));
    assert!(fixture.buy(&first[0].spec).await.is_replay());
    fixture.audit(None).await;
}
