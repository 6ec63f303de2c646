//! A place in the queue whose time is over before its commit: it is refused, whoever asks and however often, and its units are for sale again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::{Reply, Wish};
use super::faults::Faults;
use super::requests::at_once;
use super::rig::Rig;

/// For whatever comes by itself, on a slow machine.
const SOON: Duration = Duration::from_secs(30);
/// How long the disk holds a commit up if nobody lets it go: much longer than any place may be undecided.
const HELD_UP: Duration = Duration::from_secs(120);
/// A place is decided ten seconds after it was asked for; how much earlier or later that may be told, with what the request took before and after.
const DECIDED: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(8), SignedDuration::from_secs(12));
/// Whoever looks at a place so long before its time is over hears that it is queued, also on a slow machine.
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
pub(super) struct Place {
    /// Whose, and for what.
    pub(super) wish: Wish,
    /// Its id, which is final.
    pub(super) id: String,
    decide_by: Timestamp,
}

impl Place {
    #[track_caller]
    fn told(wish: Wish, reply: &Reply, asked: Timestamp) -> Self {
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
        Self { id: reply.id(), wish, decide_by }
    }

    /// A look at it.
    pub(super) fn look(&self) -> Vec<u8> {
        self.wish.order("GET", &self.id, "")
    }
}

/// The places of those who ask for all of these at once and do not wait. Where the machine stands still in between, whoever comes behind that is
/// turned away.
pub(super) async fn queue_up(rig: &Rig, wishes: Vec<Wish>) -> Vec<Place> {
    let asked = Timestamp::now();
    let replies = at_once(rig, wishes.iter().map(|wish| wish.with(ASYNC)).collect()).await;
    let told =
        wishes.into_iter().zip(&replies).filter(|(_, reply)| reply.verdict() != "503 overloaded");
    let places: Vec<Place> = told.map(|(wish, reply)| Place::told(wish, reply, asked)).collect();
    assert!(!places.is_empty(), "nobody got a place");
    places
}

/// Waits until the slots of the sale can hand out exactly so many units.
pub(super) async fn stocked(rig: &Rig, units: u64) {
    let have = async || {
        let told = rig.shown("/v1/admin/sales/spring/slots").await;
        let slots = told["slots"].as_array().expect("slots");
        let available: u64 = slots.iter().filter_map(|slot| slot["available"].as_u64()).sum();
        (available == units).then_some(())
    };
    rig.until("the slots have these units", SOON, have).await;
}

/// Looks at each place while it may yet be decided, and waits until none may.
async fn outlast(rig: &Rig, places: &[&Place]) {
    for place in places {
        if Timestamp::now() + EARLY < place.decide_by {
            let told = rig.ask(&place.look()).await;
            assert_eq!((told.status, &told.json()["state"]), (200, &json!("queued")), "{told}");
        }
    }
    let last = places.iter().map(|place| place.decide_by).max().expect("there are some");
    let over = async || (Timestamp::now() > last + CLOCKS_DIFFER).then_some(());
    rig.until("their time is over", SOON, over).await;
}

/// What the id stands for, once there is a verdict.
async fn decided(rig: &Rig, place: &Place) -> Value {
    let look = async || {
        let told = rig.ask(&place.look()).await;
        assert_eq!(told.status, 200, "{told}");
        let told = told.json();
        (told["state"] != "queued").then_some(told)
    };
    rig.until("a verdict", SOON, look).await
}

/// Asks again under the same key until there is an order; its id.
async fn try_again(rig: &Rig, place: &Place) -> String {
    let buy = async || {
        let reply = rig.buy(&place.wish).await;
        match &*reply.verdict() {
            "200" | "201" => Some(reply.id()),
            // A slow machine: the same again.
            "202" | "503 unavailable" | "503 overloaded" => None,
            other => panic!("{other}: {reply}"),
        }
    };
    rig.until("a new try gets an order", SOON, buy).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_whose_time_is_over_is_refused_and_stays_refused() {
    let (rig, faults) = Faults::rig(&[]);
    rig.open_sale("spring", &[("phone", PHONES, 1, 900), ("lamp", 1, 1, 900)]).await;
    stocked(&rig, PHONES + 1).await;
    let batches = rig.metric(BATCHES).await;
    faults.slow_disk(HELD_UP);
    let first = queue_up(&rig, vec![Wish::new("first", "k", "spring", 1).item("lamp")]).await;
    // Once its ticket was taken it is in the commit that the disk holds up, and whoever comes now is in the one after.
    let taken = async || (rig.metric(BATCHES).await > batches).then_some(());
    rig.until("the first ticket is being committed", SOON, taken).await;
    let late = queue_up(
        &rig,
        (0..PHONES).map(|n| Wish::new(&format!("b{n}"), "k", "spring", 1)).collect(),
    )
    .await;
    let all: Vec<&Place> = first.iter().chain(&late).collect();
    outlast(&rig, &all).await;
    assert_eq!((rig.stock("spring").await.held, rig.stock("spring").await.free()), (0, PHONES));
    // A look asks for the verdict when its time is over, and waits behind the same commit. Of the others nobody asks.
    let mut looks = Vec::new();
    for &place in all.iter().step_by(2) {
        let mut wire = rig.wire().await;
        wire.send(&place.look()).await.expect("it is sent");
        looks.push((place, wire));
    }
    tokio::time::sleep(NOTICE).await;
    faults.slow_disk(Duration::ZERO);
    for (place, wire) in &mut looks {
        let told = wire.reply().await.expect("an answer");
        assert_eq!(
            (told.status, told.json()),
            (200, decided(&rig, place).await),
            "one verdict for whoever asks"
        );
    }
    // It was in the commit before its time was over, however long that took.
    assert_eq!(decided(&rig, &first[0]).await["state"], "reserved");
    let mut refused = Vec::new();
    for place in &late {
        let told = decided(&rig, place).await;
        assert_eq!(
            (&told["state"], &told["code"]),
            (&json!("refused"), &json!("unavailable")),
            "{told}"
        );
        assert_eq!(told["id"], place.id.as_str(), "{told}");
        refused.push(told);
    }
    let stock = rig.stock("spring").await;
    assert_eq!(
        (stock.total, stock.free(), stock.held, stock.paid),
        (PHONES, PHONES, 0, 0),
        "nobody has any"
    );
    // Their units are for sale again, and so are their shares of the limit.
    stocked(&rig, PHONES).await;
    for (place, refused) in late.iter().zip(&refused) {
        assert_ne!(try_again(&rig, place).await, place.id, "a new try has a new id");
        assert_eq!(decided(&rig, place).await, *refused, "an id keeps its verdict");
    }
    let (stock, bought) = (rig.stock("spring").await, late.len() as u64);
    assert_eq!((stock.held, stock.free()), (bought, PHONES - bought));
    assert!(rig.buy(&first[0].wish).await.is_replay());
    rig.audit(None).await;
}
