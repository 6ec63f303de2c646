//! Tests waitlists: which buyers join, which buyers are served, and how an entry ends.
use futures_util::future::join_all;

use doorbuster_core::event::{Attribution, EventType};
use doorbuster_core::limits::WAITLIST_HOLD_MS;
use doorbuster_core::order::EndReason;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::waitlist::{JoinOutcome, LeaveOutcome};
use doorbuster_core::{
    BuyerId, Counter, Grant, ItemId, Millis, Order, SlotKey, Stock, TicketId, Verdict,
    WaitlistEntry, WaitlistState,
};

use super::{Fixture, HOLD_MS, buyer, new_item, new_sale, request_key};
use crate::contract::WaitlistServed;

pub mod ends;
pub mod orders;

/// Creates an item whose units are all held, each in its own reserved order.
async fn all_on_hold(fixture: &Fixture, stock: u64, limit: u32) -> (Grant, Vec<Order>) {
    let grant = fixture.slot(stock, stock, limit).await;
    let mut orders = Vec::new();
    for n in 1..=stock {
        orders.push(fixture.reserve(&grant, n, &format!("holder-{n}"), 1).await);
    }
    (grant, orders)
}

async fn join(fixture: &Fixture, item: ItemId, who: &str, key: &str) -> JoinOutcome {
    fixture.store.join_waitlist(item, buyer(who), request_key(key)).await.expect("writes")
}

async fn join_new(fixture: &Fixture, item: ItemId, who: &str) -> WaitlistEntry {
    let JoinOutcome::Done(entry) = join(fixture, item, who, &format!("line-{who}")).await else {
        panic!("{who} must get an entry")
    };
    entry
}

async fn serve(fixture: &Fixture, item: ItemId) -> WaitlistServed {
    fixture.store.serve_waitlist(item).await.expect("writes")
}

async fn cancel(fixture: &Fixture, order: &Order) {
    fixture
        .store
        .end_order(order.id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
}

async fn entry_state(fixture: &Fixture, id: TicketId) -> (WaitlistState, u64) {
    let found = fixture.store.waitlist_position(id).await.expect("reads").expect("an entry");
    (found.entry.state, found.ahead)
}

async fn expect_waitlist(fixture: &Fixture, item: ItemId, waiting: u64, kept: u64) {
    let c = fixture.counts(item).await;
    assert_eq!((c.waiting, c.kept), (waiting, kept), "wrong number of entries or kept units");
    fixture.check_invariants().await;
}

fn names(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.buyer.as_str()).collect()
}

/// Each buyer has one entry, which repeated calls return. The entries are in the order of joining.
pub async fn a_buyer_has_one_waitlist_entry(fixture: Fixture) {
    let (grant, _) = all_on_hold(&fixture, 2, 1).await;
    let item = grant.slot.item;
    fixture.commits.forget();
    let anna = join_new(&fixture, item, "anna").await;
    let commits = fixture.commits.take();
    let counts = commits.iter().flat_map(|c| &c.counts).next_back().expect("published counts");
    assert_eq!((counts.waiting, counts.kept, counts.held), (1, 0, 2));
    assert_eq!(
        (anna.state, anna.n.0, anna.joined_at),
        (WaitlistState::Waiting, 1, fixture.clock.now())
    );
    for key in ["line-anna", "other"] {
        assert_eq!(join(&fixture, item, "anna", key).await, JoinOutcome::Already(anna.clone()));
    }
    let bert = join_new(&fixture, item, "bert").await;
    assert_eq!(
        (entry_state(&fixture, anna.id).await.1, entry_state(&fixture, bert.id).await.1),
        (0, 1)
    );
    let found = fixture
        .store
        .waitlist_position_of(item, &buyer("bert"))
        .await
        .expect("reads")
        .expect("an entry");
    assert_eq!((&found.entry, found.ahead), (&bert, 1));
    assert_eq!(
        fixture.store.waitlist_position_of(item, &buyer("cleo")).await.expect("reads"),
        None
    );
    expect_waitlist(&fixture, item, 2, 0).await;
    let (grants, closings) = (fixture.store.grants(item).await, fixture.store.closings().await);
    assert_eq!(grants.expect("reads").len(), 1, "the waitlist's grant must not be listed");
    assert_eq!(closings.expect("reads"), [], "joining must not close a grant");
}

/// If many calls join an empty waitlist concurrently, each buyer gets one entry, and each entry has
/// its own number.
pub async fn concurrent_joins_give_each_buyer_one_entry(fixture: Fixture) {
    const EACH: usize = 4;
    const BUYERS: usize = 12;
    let (grant, _) = all_on_hold(&fixture, BUYERS as u64, 1).await;
    let item = grant.slot.item;
    let calls = (0..BUYERS * EACH).map(|i| {
        let store = fixture.store.clone();
        let (who, key) = (format!("b{}", i % BUYERS), format!("k{i}"));
        tokio::spawn(async move {
            store.join_waitlist(item, buyer(&who), request_key(&key)).await.expect("writes")
        })
    });
    let answers: Vec<JoinOutcome> =
        join_all(calls).await.into_iter().map(|a| a.expect("no panic")).collect();
    let mut new: Vec<WaitlistEntry> = Vec::new();
    for answer in &answers {
        match answer {
            JoinOutcome::Done(entry) => new.push(entry.clone()),
            JoinOutcome::Already(_) => {}
            other => panic!("{other:?}"),
        }
    }
    new.sort_by_key(|entry| entry.n);
    assert_eq!(
        new.iter().map(|entry| entry.n.0).collect::<Vec<_>>(),
        (1..=BUYERS as u64).collect::<Vec<_>>()
    );
    for answer in answers {
        let (JoinOutcome::Done(entry) | JoinOutcome::Already(entry)) = answer else {
            panic!("no entry")
        };
        assert!(new.contains(&entry), "{entry:?}");
    }
    expect_waitlist(&fixture, item, BUYERS as u64, 0).await;
}

/// Buyers can join a waitlist while the item has no free unit and some of its units may return.
pub async fn a_waitlist_is_for_held_out_items(fixture: Fixture) {
    let in_pool = fixture.item(Stock::Counted(1), 1).await;
    assert_eq!(
        join(&fixture, in_pool, "anna", "k").await,
        JoinOutcome::UnitsFree,
        "a buyer must not join while a unit is in the pool"
    );
    let in_slot = fixture.slot(1, 1, 1).await;
    assert_eq!(
        join(&fixture, in_slot.slot.item, "anna", "k").await,
        JoinOutcome::UnitsFree,
        "a buyer must not join while a unit is in a slot"
    );
    let endless = fixture.item(Stock::Unlimited, 1).await;
    assert_eq!(join(&fixture, endless, "anna", "k").await, JoinOutcome::UnitsFree);
    assert_eq!(join(&fixture, ItemId(404), "anna", "k").await, JoinOutcome::NotFound);
    let sale = new_sale("draft", vec![new_item("phone", Stock::Counted(1), 2)]);
    let draft =
        fixture.store.create_sale(sale).await.expect("writes").expect("a free id").items[0].id;
    assert_eq!(join(&fixture, draft, "anna", "k").await, JoinOutcome::NotOnSale);
    let (grant, orders) = all_on_hold(&fixture, 2, 2).await;
    let item = grant.slot.item;
    fixture.store.pay_order(orders[0].id).await.expect("writes");
    assert_eq!(
        join(&fixture, item, "holder-1", "key-1").await,
        JoinOutcome::Order(
            fixture.store.order(orders[0].id).await.expect("reads").expect("an order")
        )
    );
    join_new(&fixture, item, "holder-1").await;
    fixture.store.pay_order(orders[1].id).await.expect("writes");
    assert_eq!(join(&fixture, item, "anna", "k").await, JoinOutcome::SoldOut);
    let full = fixture.slot(1, 1, 1).await;
    fixture.reserve(&full, 9, "holder-9", 1).await;
    assert_eq!(join(&fixture, full.slot.item, "holder-9", "k").await, JoinOutcome::LimitReached);
    assert_eq!(
        join(&fixture, full.slot.item, "holder-2", "key-2").await,
        JoinOutcome::KeyReused,
        "a key that has an order of another item must be refused"
    );
    expect_waitlist(&fixture, item, 1, 0).await;
}

/// A returned unit goes to the buyer who has waited longest. The buyer's payment window is short.
pub async fn waiting_buyers_are_served_in_order(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 3, 1).await;
    let item = grant.slot.item;
    assert_eq!(serve(&fixture, item).await, WaitlistServed::default(), "no entry may be served");
    let (anna, bert) =
        (join_new(&fixture, item, "anna").await, join_new(&fixture, item, "bert").await);
    assert_eq!(serve(&fixture, item).await, WaitlistServed::default(), "no entry may be served");
    cancel(&fixture, &orders[0]).await;
    expect_waitlist(&fixture, item, 2, 1).await;
    assert_eq!(
        fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes"),
        0,
        "a kept unit must not go to a slot"
    );
    assert_eq!(fixture.open(SlotKey { item, index: 1 }, 9).await.granted, 0, "slot 1 got a unit");
    fixture.clock.advance(1_000);
    fixture.commits.forget();
    let served = serve(&fixture, item).await;
    assert_eq!(
        (names(&served.orders), served.passed_over.len(), served.more),
        (vec!["anna"], 0, false)
    );
    let order = &served.orders[0];
    assert_eq!((order.id, &order.key, order.units.get()), (anna.id, &anna.key, 1));
    assert_eq!(
        (order.reserved_at, order.pay_by),
        (fixture.clock.now(), fixture.clock.now().plus(WAITLIST_HOLD_MS))
    );
    assert_eq!(fixture.store.order(anna.id).await.expect("reads").as_ref(), Some(order));
    assert_eq!(
        fixture.store.verdict(anna.id).await.expect("reads").map(|r| r.verdict),
        Some(Verdict::Reserved)
    );
    let commits = fixture.commits.take();
    assert!(commits.iter().any(|c| c.orders.contains(order) && c.events), "{commits:?}");
    let counts = commits.iter().flat_map(|c| &c.counts).next_back().expect("published counts");
    assert_eq!((counts.waiting, counts.kept, counts.pool, counts.held), (1, 0, 0, 3));
    let history = fixture.store.history(anna.id).await.expect("reads");
    let rows: Vec<_> = history.iter().map(|t| (t.event.what, t.event.by.why.is_some())).collect();
    assert_eq!(rows, [(EventType::OrderReserved, true)]);
    assert_eq!(
        (entry_state(&fixture, anna.id).await, entry_state(&fixture, bert.id).await),
        ((WaitlistState::Served, 0), (WaitlistState::Waiting, 0))
    );
    assert_eq!(fixture.store.quota(item, buyer("anna")).await.expect("reads"), 1);
    assert_eq!(join(&fixture, item, "anna", "line-anna").await, JoinOutcome::Order(order.clone()));
    assert_eq!(join(&fixture, item, "anna", "more").await, JoinOutcome::LimitReached);
    // If a unit returns and no buyer waits for it, a refill can move the unit to a slot again.
    cancel(&fixture, &orders[1]).await;
    cancel(&fixture, &orders[2]).await;
    expect_waitlist(&fixture, item, 1, 1).await;
    assert_eq!(fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes"), 1);
    assert_eq!(names(&serve(&fixture, item).await.orders), ["bert"]);
    fixture.expect_units(item, 0, 1, 2, 0).await;
}

/// Concurrent calls serve the entries that have waited longest, and serve no entry twice.
pub async fn concurrent_serving_serves_each_buyer_once(fixture: Fixture) {
    const UNITS: u64 = 12;
    const WAIT: u64 = 18;
    let (grant, orders) = all_on_hold(&fixture, WAIT, 1).await;
    let item = grant.slot.item;
    let mut entries = Vec::new();
    for who in 0..WAIT {
        entries.push(join_new(&fixture, item, &format!("w{who:02}")).await);
    }
    let (expire, cancel) = orders[..UNITS as usize].split_at(4);
    fixture.clock.advance(HOLD_MS);
    let ended = cancel.iter().chain(expire).enumerate().map(|(at, order)| {
        let (store, id) = (fixture.store.clone(), order.id);
        tokio::spawn(async move {
            let how = if at % 2 == 0 { EndReason::Cancel } else { EndReason::Expire };
            drop(store.end_order(id, how, Attribution::BUYER.clone()).await.expect("writes"));
            Vec::new()
        })
    });
    let served = (0..UNITS).map(|_| {
        let store = fixture.store.clone();
        tokio::spawn(async move { store.serve_waitlist(item).await.expect("writes").orders })
    });
    let mut all: Vec<Order> = Vec::new();
    for made in join_all(ended.chain(served).collect::<Vec<_>>()).await {
        all.extend(made.expect("no panic"));
    }
    all.extend(serve(&fixture, item).await.orders);
    all.sort_by_key(|order| order.n);
    let first: Vec<_> = entries.iter().take(UNITS as usize).map(|entry| entry.id).collect();
    assert_eq!(
        all.iter().map(|order| order.id).collect::<Vec<_>>(),
        first,
        "the entries that waited longest must be served"
    );
    expect_waitlist(&fixture, item, WAIT - UNITS, 0).await;
    fixture.expect_units(item, 0, 0, WAIT, 0).await;
}

/// The waitlist passes over a buyer who has reached the limit, or whose entry has the request key
/// of an existing order.
pub async fn a_buyer_at_the_limit_is_passed_over(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 3, 1).await;
    let item = grant.slot.item;
    let anna = join_new(&fixture, item, "anna").await;
    let bert = join_new(&fixture, item, "bert").await;
    let cleo = join_new(&fixture, item, "cleo").await;
    // Three units are kept for the three waiting buyers. Anna and Bert buy the slot's two units
    // while they wait. Bert uses the request key of his waitlist entry.
    let more = crate::contract::Adjustment {
        item,
        units: 5,
        reason: "found".to_owned(),
        key: "a".to_owned(),
    };
    fixture.store.adjust(more).await.expect("writes");
    assert_eq!(fixture.store.refill(grant.id, 9, Counter::A).await.expect("writes"), 2);
    fixture.settle(&fixture.ticket(&grant, 4, "anna", "bought", 1)).await.order.expect("an order");
    let bought = fixture
        .settle(&fixture.ticket(&grant, 5, "bert", "line-bert", 1))
        .await
        .order
        .expect("an order");
    fixture.commits.forget();
    let served = serve(&fixture, item).await;
    assert_eq!(names(&served.orders), ["cleo"]);
    let passed: Vec<_> = served.passed_over.iter().map(|p| (p.id, p.state)).collect();
    assert_eq!(
        passed,
        [(anna.id, WaitlistState::PassedOver), (bert.id, WaitlistState::PassedOver)]
    );
    assert!(fixture.commits.take().iter().any(|c| c.events), "events must be appended");
    let verdict = async |id| fixture.store.verdict(id).await.expect("reads").expect("a verdict");
    assert_eq!(verdict(anna.id).await.verdict, Verdict::LimitReached);
    let of_bert = verdict(bert.id).await;
    assert_eq!((of_bert.verdict, of_bert.order), (Verdict::Order(bought.id), Some(bought)));
    assert_eq!(verdict(cleo.id).await.verdict, Verdict::Reserved);
    assert_eq!(
        fixture.store.leave_waitlist(anna.id).await.expect("writes"),
        LeaveOutcome::Already(served.passed_over[0].clone())
    );
    fixture.expect_units(item, 2, 0, 6, 0).await;
    assert_eq!(orders.len(), 3);
    expect_waitlist(&fixture, item, 0, 0).await;
}

/// A buyer can leave a waiting entry only once. The later entries then move forward.
pub async fn a_waitlist_entry_is_left_once(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 2, 1).await;
    let item = grant.slot.item;
    let (anna, bert) =
        (join_new(&fixture, item, "anna").await, join_new(&fixture, item, "bert").await);
    fixture.clock.advance(500);
    fixture.commits.forget();
    let LeaveOutcome::Done(left) = fixture.store.leave_waitlist(anna.id).await.expect("writes")
    else {
        panic!("a buyer must be able to leave a waiting entry")
    };
    assert_eq!((left.state, left.ended_at), (WaitlistState::Left, Some(fixture.clock.now())));
    assert!(
        fixture.commits.take().iter().any(|c| c.events && c.counts.iter().any(|c| c.waiting == 1))
    );
    assert_eq!(
        fixture.store.leave_waitlist(anna.id).await.expect("writes"),
        LeaveOutcome::Already(left)
    );
    assert_eq!(
        fixture.store.verdict(anna.id).await.expect("reads").map(|r| r.verdict),
        Some(Verdict::Unavailable)
    );
    assert_eq!(entry_state(&fixture, bert.id).await, (WaitlistState::Waiting, 0));
    // The buyer left without an order, so the request key of the entry can be used again.
    let again = join_new(&fixture, item, "anna").await;
    assert_eq!(
        entry_state(&fixture, again.id).await,
        (WaitlistState::Waiting, 1),
        "the new entry must be at the end of the waitlist"
    );
    let bought = TicketId::parse(&orders[0].id.to_string()).expect("an id");
    assert_eq!(
        fixture.store.leave_waitlist(bought).await.expect("writes"),
        LeaveOutcome::NotFound,
        "an order must not count as a waitlist entry"
    );
    cancel(&fixture, &orders[0]).await;
    let served = serve(&fixture, item).await.orders;
    assert_eq!(names(&served), ["bert"]);
    let LeaveOutcome::Already(served) =
        fixture.store.leave_waitlist(bert.id).await.expect("writes")
    else {
        panic!("a buyer must not be able to leave the waitlist after the entry was served")
    };
    assert_eq!(served.state, WaitlistState::Served);
    expect_waitlist(&fixture, item, 1, 0).await;
}

/// A waitlist has at most as many entries as the item has held and kept units, because only these
/// units can go to waiting buyers.
pub async fn a_waitlist_is_bounded_by_the_units_that_may_come_back(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 3, 1).await;
    let item = grant.slot.item;
    fixture.store.pay_order(orders[0].id).await.expect("writes");
    join_new(&fixture, item, "anna").await;
    join_new(&fixture, item, "bert").await;
    assert_eq!(join(&fixture, item, "cleo", "k").await, JoinOutcome::Full, "the list must be full");
    cancel(&fixture, &orders[1]).await;
    assert_eq!(join(&fixture, item, "cleo", "k").await, JoinOutcome::Full, "the list must be full");
    assert_eq!(names(&serve(&fixture, item).await.orders), ["anna"]);
    join_new(&fixture, item, "cleo").await;
    assert_eq!(join(&fixture, item, "dora", "k").await, JoinOutcome::Full);
    fixture.store.pay_order(orders[2].id).await.expect("writes");
    expect_waitlist(&fixture, item, 2, 0).await;
    fixture.expect_units(item, 0, 0, 1, 2).await;
}

/// While the sale is paused, and after its end, no entry is served and no buyer joins.
pub async fn a_waitlist_lasts_as_long_as_its_sale(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 2, 1).await;
    let item = grant.slot.item;
    let sale = fixture.store.sales().await.expect("reads")[0].id.clone();
    let step = async |step| fixture.store.step_sale(&sale, step).await.expect("writes");
    join_new(&fixture, item, "anna").await;
    let bert = join_new(&fixture, item, "bert").await;
    step(PhaseStep::Pause).await;
    cancel(&fixture, &orders[0]).await;
    assert_eq!(serve(&fixture, item).await, WaitlistServed::default());
    assert_eq!(join(&fixture, item, "cleo", "k").await, JoinOutcome::NotOnSale);
    expect_waitlist(&fixture, item, 2, 1).await;
    step(PhaseStep::Resume).await;
    assert_eq!(names(&serve(&fixture, item).await.orders), ["anna"]);
    step(PhaseStep::Close).await;
    cancel(&fixture, &orders[1]).await;
    assert_eq!(serve(&fixture, item).await, WaitlistServed::default());
    fixture.expect_units(item, 1, 0, 1, 0).await;
    assert!(
        matches!(
            fixture.store.leave_waitlist(bert.id).await.expect("writes"),
            LeaveOutcome::Done(_)
        ),
        "a buyer must be able to leave after the sale's end"
    );
    expect_waitlist(&fixture, item, 0, 0).await;
}

/// While an entry waits, a caller cannot force a verdict for it, even after a long time.
pub async fn the_verdict_of_a_waiting_entry_is_not_forced(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 2, 1).await;
    let item = grant.slot.item;
    let (anna, bert) =
        (join_new(&fixture, item, "anna").await, join_new(&fixture, item, "bert").await);
    fixture.clock.advance(HOLD_MS);
    let force = async |entry: &WaitlistEntry, who: &BuyerId| {
        let parts = entry.id.parts().expect("a valid id");
        let forced = fixture.store.force_verdict(entry.id, parts, who.clone()).await;
        forced.expect("writes").map(|r| r.verdict)
    };
    assert_eq!(force(&anna, &anna.buyer).await, None);
    cancel(&fixture, &orders[0]).await;
    serve(&fixture, item).await;
    assert_eq!(force(&anna, &anna.buyer).await, Some(Verdict::Reserved));
    fixture.store.leave_waitlist(bert.id).await.expect("writes");
    assert_eq!(force(&bert, &bert.buyer).await, Some(Verdict::Unavailable));
    let at: Millis = fixture.clock.now();
    assert!(at > anna.joined_at);
    fixture.expect_units(item, 0, 0, 2, 0).await;
}
