//! Tests the waitlist of a sold-out item. If buyers wait, a returned unit goes to the first of
//! them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::app::{TIMEOUT, TestApp, bearer, sale};
use crate::events::{next, socket};
use crate::http::Reply;
use crate::money::{self, captured, send_message};

mod door;
mod ends;
mod nodes;
mod turns;

const WAITLIST: &str = "/v1/sales/spring/items/phone/waitlist";
/// The first waiting buyer gets an event about a returned unit within this time.
const AT_ONCE: Duration = Duration::from_secs(2);

impl TestApp {
    async fn join(&self, buyer: &str, key: &str) -> Reply {
        self.call(
            "POST",
            WAITLIST,
            &[("Authorization", &bearer(buyer)), ("Idempotency-Key", key)],
            b"",
        )
        .await
    }

    async fn joined(&self, buyer: &str) -> String {
        let reply = self.join(buyer, "line").await;
        assert_eq!(reply.verdict(), "201", "{}", reply.text());
        id(&reply.json())
    }

    async fn waiting_entry(&self, buyer: &str, id: &str) -> Value {
        let read = self.buyer(buyer, "GET", &format!("/v1/orders/{id}")).await;
        assert_eq!(read.verdict(), "200", "{}", read.text());
        read.json()
    }

    async fn becomes(&self, buyer: &str, id: &str, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let order = self.waiting_entry(buyer, id).await;
            if order["state"] == state {
                return order;
            }
            assert!(begun.elapsed() < TIMEOUT, "timed out; {buyer} has no {state} order: {order}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn cancel(&self, buyer: &str, id: &str) {
        let reply = self.buyer(buyer, "POST", &format!("/v1/orders/{id}/cancel")).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
    }

    async fn row(&self) -> Value {
        self.admin("GET", "/v1/admin/sales/spring/stock", None).await.json()["items"][0].clone()
    }

    /// Creates a sold-out sale. Buyer `a` holds `stock` units, and `others` buyers hold one unit
    /// each during the whole test. Returns the id of the order of `a`.
    async fn held_out(&self, stock: u32, others: u32, hold_secs: u32) -> String {
        let mut body = sale("spring", (stock + others).into(), stock);
        body["items"][0]["limit_per_buyer"] = json!(stock);
        body["items"][0]["hold_secs"] = json!(hold_secs);
        assert_eq!(self.admin("POST", "/v1/admin/sales", Some(body)).await.verdict(), "201");
        self.step("spring", "open").await;
        for n in 0..others {
            let bought = self.buy(&format!("other{n}"), "k", "spring", "phone", 1).await;
            assert_eq!(bought.verdict(), "201", "{}", bought.text());
            let path = format!("/v1/admin/orders/{}/extend", id(&bought.json()));
            assert_eq!(
                self.admin("POST", &path, Some(json!({"secs": 3_600}))).await.verdict(),
                "200"
            );
        }
        let bought = self.buy("a", "k", "spring", "phone", stock).await;
        assert_eq!(bought.verdict(), "201", "{}", bought.text());
        id(&bought.json())
    }

    async fn is_well(&self) {
        let audit = self.admin("GET", "/v1/admin/audit", None).await.json();
        assert_eq!((&audit["ok"], &audit["findings"]), (&json!(true), &json!([])));
    }
}

fn id(order: &Value) -> String {
    order["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_unit_goes_to_the_first_waiting_buyer_and_then_to_the_next() {
    let app = TestApp::start().await;
    // The holds of 6 s end during the test, but late enough for a slow machine. The first order
    // must not expire, so an operator extends its hold.
    let (first, long) = (app.held_out(1, 1, 6).await, json!({"secs": 3_600}));
    assert_eq!(
        app.admin("POST", &format!("/v1/admin/orders/{first}/extend"), Some(long)).await.verdict(),
        "200"
    );
    let joined = app.join("b", "line").await;
    assert_eq!(joined.verdict(), "201");
    let entry = joined.json();
    let b = id(&entry);
    assert_eq!(joined.header("location"), Some(format!("/v1/orders/{b}").as_str()));
    let at = entry["joined_at"].clone();
    assert!(at.is_string());
    let expected = json!({"id": b, "sale": "spring", "item": "phone", "buyer": "b", "units": 1, "state": "waiting", "ahead": 0,
        "joined_at": at});
    assert_eq!(entry, expected);
    let c = app.joined("c").await;
    let read = app.buyer("c", "GET", WAITLIST).await;
    assert_eq!((read.verdict().as_str(), &read.json()["ahead"]), ("200", &json!(1)));
    assert_eq!(app.waiting_entry("c", &c).await, read.json());
    let again = app.join("b", "another").await;
    assert_eq!(
        (again.verdict().as_str(), again.json()),
        ("200", expected),
        "a buyer must have only one entry"
    );
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let row = app.row().await;
    assert_eq!((&row["waiting"], &row["kept"]), (&json!(2), &json!(0)));
    assert_eq!(app.buy("d", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");

    // While the unit returns, no other buyer may get it before the waiting buyer.
    let stranger = async |app: &TestApp| {
        for n in 0..40 {
            let reply = app.buy("d", &format!("try{n}"), "spring", "phone", 1).await;
            assert_eq!(reply.verdict(), "409 sold_out", "{}", reply.text());
            assert_eq!(reply.json()["may_return"], true, "{}", reply.text());
        }
    };
    tokio::join!(app.cancel("a", &first), stranger(&app));
    let order = app.becomes("b", &b, "reserved").await;
    assert_eq!((&order["id"], &order["units"]), (&json!(b), &json!(1)));
    assert_eq!(app.buyer("b", "GET", WAITLIST).await.verdict(), "404 not_found");
    assert_eq!(app.waiting_entry("c", &c).await["ahead"], 0);
    let again = app.join("b", "line").await;
    assert_eq!(
        (again.verdict().as_str(), &again.json()["state"]),
        ("200", &json!("reserved")),
        "the key must return the earlier entry"
    );
    let history = app.buyer("b", "GET", &format!("/v1/orders/{b}/history")).await.json();
    assert_eq!(history["history"][0]["event"], "order.reserved", "{history}");
    assert_eq!(history["history"][0]["by"], "engine", "{history}");
    assert_eq!(history["history"][0]["from_waitlist"], true, "{history}");
    let history = app.buyer("a", "GET", &format!("/v1/orders/{first}/history")).await.json();
    assert!(
        history["history"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one.get("from_waitlist").is_none()))
    );

    // The payment window of `b` ends, so `c` gets the unit. After `c` cancels, nobody waits for it.
    app.becomes("b", &b, "expired").await;
    app.becomes("c", &c, "reserved").await;
    app.cancel("c", &c).await;
    let begun = Instant::now();
    while app.buy("d", "last", "spring", "phone", 1).await.status != 201 {
        assert!(
            begun.elapsed() < TIMEOUT,
            "no buyer waits, but the unit is still not for sale: {}",
            app.row().await
        );
    }
    assert_eq!(
        app.row().await,
        json!({"item": "phone", "total": 2, "pool": 0, "in_slots": 0, "held": 2, "paid": 0, "kept": 0, "waiting": 0})
    );
    app.is_well().await;
    let metrics = app.get("/metrics").await.text();
    for line in [
        "doorbuster_waitlist_ended_total{outcome=\"served\"} 2",
        "doorbuster_waitlist_entries{sale=\"spring\",item=\"phone\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_cancelled_an_offered_order_cannot_rejoin_the_waitlist() {
    let app = TestApp::start().await;
    let mut held = app.held_out(1, 1, 900).await;
    for (served, next) in [("a", "b"), ("b", "c")] {
        let id = app.joined(next).await;
        app.cancel(served, &held).await;
        app.becomes(next, &id, "reserved").await;
        held = id;
    }
    let reply = app.join("b", "new").await;
    assert_eq!(
        (reply.verdict().as_str(), &reply.json()["state"]),
        ("409 wrong_state", &json!("cancelled"))
    );
    assert_eq!(app.join("b", "line").await.json()["state"], "cancelled", "the entry must be found");
    let a = app.joined("a").await;
    assert_eq!(app.waiting_entry("a", &a).await["ahead"], 0, "the buyer must be on the waitlist");
    // Two units are held, so two buyers may wait.
    app.joined("d").await;
    assert_eq!(app.join("e", "line").await.verdict(), "409 waitlist_full");
    assert_eq!(app.join("d", "again").await.verdict(), "200", "the buyer must keep the entry");
    app.cancel("c", &held).await;
    app.becomes("a", &a, "reserved").await;
    app.joined("e").await;
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waitlist_offer_lasts_at_most_five_minutes_and_its_buyer_is_notified_at_once() {
    let app = TestApp::start().await;
    let first = app.held_out(1, 1, 900).await;
    let b = app.joined("b").await;
    let mut events = socket(&app, "b", "").await;
    let begun = crate::watch::Stopwatch::start();
    app.cancel("a", &first).await;
    let order = loop {
        let event = next(&mut events).await;
        if event["type"] == "order" {
            break event["order"].clone();
        }
    };
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!((&order["id"], &order["state"]), (&json!(b), &json!("reserved")));
    let time = |member: &str| {
        doorbuster_api::value::Time::parse(order[member].as_str().expect("a time")).expect("a time")
    };
    assert_eq!(time("pay_by").millis() - time("reserved_at").millis(), 300_000, "{order}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_who_leaves_has_no_entry_and_later_entries_move_up() {
    let app = TestApp::start().await;
    let first = app.held_out(1, 1, 900).await;
    let (b, c) = (app.joined("b").await, app.joined("c").await);
    for _ in 0..2 {
        assert_eq!(app.buyer("b", "DELETE", WAITLIST).await.verdict(), "204");
    }
    let left = app.waiting_entry("b", &b).await;
    assert_eq!(
        (&left["state"], &left["code"], &left["buyer"]),
        (&json!("refused"), &json!("left"), &json!("b"))
    );
    assert_eq!(
        app.admin("GET", &format!("/v1/admin/orders/{b}"), None).await.json()["code"],
        "left"
    );
    assert_eq!(app.waiting_entry("c", &c).await["ahead"], 0);
    let operators = app.admin("GET", &format!("/v1/admin/orders/{c}"), None).await.json();
    assert_eq!((&operators["state"], &operators["buyer"]), (&json!("waiting"), &json!("c")));
    let again = app.join("b", "line").await;
    assert_eq!((again.verdict().as_str(), &again.json()["ahead"]), ("201", &json!(1)));
    assert_ne!(id(&again.json()), b);
    app.cancel("a", &first).await;
    app.becomes("c", &c, "reserved").await;
    assert_eq!(
        app.buyer("c", "DELETE", WAITLIST).await.verdict(),
        "409 wrong_state",
        "a buyer must not leave after the entry has become an order"
    );
    assert_eq!(app.waiting_entry("c", &c).await["state"], "reserved", "the order must stay");
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_waitlist_while_units_are_available_or_none_can_return() {
    let app = TestApp::start().await;
    let path = async |path: &str, buyer: &str| {
        let headers = [("Authorization", &*bearer(buyer)), ("Idempotency-Key", "k")];
        app.call("POST", path, &headers, b"").await
    };
    assert_eq!(path(WAITLIST, "b").await.verdict(), "404 not_found");
    app.make_sale("spring", 2.into(), 2).await;
    assert_eq!(path(WAITLIST, "b").await.verdict(), "404 not_found", "a draft");
    app.step("spring", "open").await;
    assert_eq!(path(WAITLIST, "b").await.verdict(), "409 not_held_out");
    assert_eq!(path("/v1/sales/spring/items/none/waitlist", "b").await.verdict(), "404 not_found");
    assert_eq!(app.buy("a", "k", "spring", "phone", 2).await.verdict(), "201");
    let begun = Instant::now();
    loop {
        // Units that are being moved count as free, so the first answers may be `not_held_out`.
        let reply = app.join("a", "more").await;
        if reply.verdict() == "409 limit_reached" {
            assert_eq!((&reply.json()["limit"], &reply.json()["used"]), (&json!(2), &json!(2)));
            break;
        }
        assert!(
            reply.verdict() == "409 not_held_out" && begun.elapsed() < TIMEOUT,
            "{}",
            reply.text()
        );
    }
    assert_eq!(app.join("a", "k").await.verdict(), "422 idempotency_key_reused", "units differ");
    // Each of these requests has no token, has no valid key, or names another buyer's entry.
    assert_eq!(
        app.call("POST", WAITLIST, &[("Idempotency-Key", "k")], b"").await.verdict(),
        "401 unauthenticated"
    );
    let name = bearer("b");
    let bare = app.call("POST", WAITLIST, &[("Authorization", &name)], b"").await;
    assert_eq!(bare.verdict(), "422 invalid_request");
    assert_eq!(bare.json()["errors"][0]["header"], "Idempotency-Key");
    for key in ["", "two words", &"x".repeat(65)] {
        assert_eq!(app.join("b", key).await.verdict(), "422 invalid_request", "{key}");
    }
    let b = app.joined("b").await;
    for (method, path) in
        [("GET", format!("/v1/orders/{b}")), ("POST", format!("/v1/orders/{b}/cancel"))]
    {
        assert_eq!(app.buyer("c", method, &path).await.verdict(), "404 not_found", "{method}");
    }
    assert_eq!(app.buyer("c", "GET", WAITLIST).await.verdict(), "404 not_found");
    assert_eq!(app.buyer("c", "DELETE", WAITLIST).await.verdict(), "204");
    for step in ["cancel", "checkout"] {
        let reply = app.buyer("b", "POST", &format!("/v1/orders/{b}/{step}")).await;
        assert_eq!(
            (reply.verdict().as_str(), &reply.json()["state"]),
            ("409 wrong_state", &json!("waiting")),
            "{step}"
        );
    }
    let history = app.buyer("b", "GET", &format!("/v1/orders/{b}/history")).await.json();
    assert_eq!(history["history"], json!([]));
    assert_eq!(app.waiting_entry("b", &b).await["state"], "waiting", "b's entry must stay");
    let orders = app.buyer("b", "GET", "/v1/orders").await.json();
    assert_eq!(orders["orders"], json!([]));
    // A sale that has ended offers no units.
    app.step("spring", "close").await;
    let over = app.waiting_entry("b", &b).await;
    assert_eq!((&over["state"], &over["code"]), (&json!("refused"), &json!("ended")));
    assert_eq!(app.buyer("b", "GET", WAITLIST).await.verdict(), "404 not_found");
    assert_eq!(app.buyer("b", "DELETE", WAITLIST).await.verdict(), "204");
    assert_eq!(app.waiting_entry("b", &b).await, over, "a verdict must not change");
    assert_eq!(app.join("c", "k").await.verdict(), "409 ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_sale_keeps_its_waitlist_and_serves_it_after_it_resumes() {
    let app = TestApp::start().await;
    let first = app.held_out(1, 1, 900).await;
    let b = app.joined("b").await;
    app.step("spring", "pause").await;
    assert_eq!(app.join("c", "k").await.verdict(), "409 paused");
    app.cancel("a", &first).await;
    let row = app.row().await;
    assert_eq!(
        (&row["pool"], &row["kept"], &row["waiting"]),
        (&json!(1), &json!(1), &json!(1)),
        "the waitlist must keep the unit while the buyer waits"
    );
    assert_eq!(app.waiting_entry("b", &b).await["state"], "waiting");
    app.step("spring", "resume").await;
    app.becomes("b", &b, "reserved").await;
    assert_eq!(app.buy("d", "k", "spring", "phone", 1).await.verdict(), "409 sold_out");
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_at_the_limit_is_skipped_and_notified() {
    let app = money::start().await;
    app.open_sale("spring", 2.into(), 1).await;
    let a = money::order(&app, "a", "k", 1).await;
    let ended = money::order(&app, "b", "k", 1).await;
    app.cancel("b", &ended).await;
    let begun = Instant::now();
    let e = loop {
        let reply = app.buy("e", "k", "spring", "phone", 1).await;
        if reply.status == 201 {
            break id(&reply.json());
        }
        assert!(begun.elapsed() < TIMEOUT, "{}", reply.text());
    };
    let (b, c) = (app.joined("b").await, app.joined("c").await);
    let mut events = socket(&app, "b", "").await;
    // While the sale is paused, a payment for the cancelled order takes the kept unit.
    app.step("spring", "pause").await;
    app.cancel("a", &a).await;
    assert_eq!(app.row().await["kept"], 1);
    assert_eq!(
        send_message(&app, "evt_late", &captured("pay_late", &ended, 10)).await.verdict(),
        "200"
    );
    app.becomes("b", &ended, "paid").await;
    app.step("spring", "resume").await;
    assert_eq!(app.waiting_entry("b", &b).await["state"], "waiting");
    app.cancel("e", &e).await;
    app.becomes("c", &c, "reserved").await;
    let over = app.waiting_entry("b", &b).await;
    assert_eq!((&over["state"], &over["code"]), (&json!("refused"), &json!("limit_reached")));
    loop {
        let event = next(&mut events).await;
        if event["order"]["id"] == *b {
            assert_eq!(event["order"], over);
            break;
        }
    }
    let metrics = app.get("/metrics").await.text();
    let line = "doorbuster_waitlist_ended_total{outcome=\"passed_over\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{line}");
    app.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_stock_goes_to_the_waitlist_first() {
    let app = TestApp::start().await;
    app.held_out(1, 1, 900).await;
    let (b, c) = (app.joined("b").await, app.joined("c").await);
    let path = "/v1/admin/sales/spring/items/phone/adjustments";
    let raise = async |units: i64| {
        let (key, body) = (format!("k{units}"), json!({"units": units, "reason": "found"}));
        let reply = app.admin_with("POST", path, &[("Idempotency-Key", &key)], Some(body)).await;
        assert_eq!(reply.verdict(), "200", "{}", reply.text());
    };
    raise(1).await;
    app.becomes("b", &b, "reserved").await;
    assert_eq!(app.join("b", "again").await.verdict(), "409 limit_reached");
    assert_eq!(app.waiting_entry("c", &c).await["ahead"], 0);
    raise(3).await;
    app.becomes("c", &c, "reserved").await;
    let begun = Instant::now();
    for buyer in ["d", "e"] {
        while app.buy(buyer, "k", "spring", "phone", 1).await.status != 201 {
            assert!(begun.elapsed() < TIMEOUT, "units are not for sale: {}", app.row().await);
        }
    }
    app.is_well().await;
}
