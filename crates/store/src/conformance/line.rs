//! Lines: who joins, who is served, and how a place ends.
use futures_util::future::join_all;

use doorbuster_core::event::{By, EventType};
use doorbuster_core::limits::LINE_HOLD_MS;
use doorbuster_core::line::{Joined, Left};
use doorbuster_core::order::Ending;
use doorbuster_core::sale::Step;
use doorbuster_core::{
    BuyerId, Counter, Grant, ItemId, Millis, Order, Place, PlaceState, SlotKey, Stock, TicketId,
    Verdict,
};

use super::{HOLD_MS, Rig, buyer, new_item, new_sale, request_key};
use crate::contract::LineServed;

pub mod ends;
pub mod orders;

/// An item whose every unit is in a reserved order, one for each.
async fn held_out(rig: &Rig, stock: u64, limit: u32) -> (Grant, Vec<Order>) {
    let grant = rig.slot(stock, stock, limit).await;
    let mut orders = Vec::new();
    for n in 1..=stock {
        orders.push(rig.reserve(&grant, n, &format!("holder-{n}"), 1).await);
    }
    (grant, orders)
}

async fn join(rig: &Rig, item: ItemId, who: &str, key: &str) -> Joined {
    rig.store.join_line(item, buyer(who), request_key(key)).await.expect("writes")
}

/// Joins and expects a new place.
async fn stand(rig: &Rig, item: ItemId, who: &str) -> Place {
    let Joined::Done(place) = join(rig, item, who, &format!("line-{who}")).await else {
        panic!("{who} gets a place")
    };
    place
}

async fn serve(rig: &Rig, item: ItemId) -> LineServed {
    rig.store.serve_line(item).await.expect("writes")
}

async fn cancel(rig: &Rig, order: &Order) {
    rig.store.end_order(order.id, Ending::Cancel, By::BUYER.clone()).await.expect("writes");
}

/// The turn of whoever waits there, and what became of it.
async fn place(rig: &Rig, id: TicketId) -> (PlaceState, u64) {
    let found = rig.store.line_place(id).await.expect("reads").expect("a place");
    (found.place.state, found.ahead)
}

/// Asserts how many wait, and how many units are kept for them.
async fn expect_line(rig: &Rig, item: ItemId, waiting: u64, kept: u64) {
    let c = rig.counts(item).await;
    assert_eq!((c.waiting, c.kept), (waiting, kept), "waiting, kept");
    rig.adds_up().await;
}

fn names(orders: &[Order]) -> Vec<&str> {
    orders.iter().map(|order| order.buyer.as_str()).collect()
}

/// A place is by turn, one for each buyer; asking again is answered with it.
pub async fn a_buyer_has_one_place(rig: Rig) {
    let (grant, _) = held_out(&rig, 2, 1).await;
    let item = grant.slot.item;
    rig.told.forget();
    let anna = stand(&rig, item, "anna").await;
    let told = rig.told.take();
    let counts = told.iter().flat_map(|c| &c.counts).next_back().expect("counts are told");
    assert_eq!((counts.waiting, counts.kept, counts.held), (1, 0, 2));
    assert_eq!((anna.state, anna.n.0, anna.joined_at), (PlaceState::Waiting, 1, rig.clock.now()));
    for key in ["line-anna", "other"] {
        assert_eq!(join(&rig, item, "anna", key).await, Joined::Already(anna.clone()));
    }
    let bert = stand(&rig, item, "bert").await;
    assert_eq!((place(&rig, anna.id).await.1, place(&rig, bert.id).await.1), (0, 1));
    let found =
        rig.store.line_place_of(item, &buyer("bert")).await.expect("reads").expect("a place");
    assert_eq!((&found.place, found.ahead), (&bert, 1));
    assert_eq!(rig.store.line_place_of(item, &buyer("cleo")).await.expect("reads"), None);
    expect_line(&rig, item, 2, 0).await;
    let (grants, closings) = (rig.store.grants(item).await, rig.store.closings().await);
    assert_eq!(grants.expect("reads").len(), 1, "a line has no slot");
    assert_eq!(closings.expect("reads"), [], "and nothing of it was closed");
}

/// However many ask at once, also for the first place of all: each buyer has one, and each place its turn.
pub async fn a_crowd_joins_at_once(rig: Rig) {
    const EACH: usize = 4;
    const BUYERS: usize = 12;
    let (grant, _) = held_out(&rig, BUYERS as u64, 1).await;
    let item = grant.slot.item;
    let asked = (0..BUYERS * EACH).map(|i| {
        let store = rig.store.clone();
        let (who, key) = (format!("b{}", i % BUYERS), format!("k{i}"));
        tokio::spawn(async move {
            store.join_line(item, buyer(&who), request_key(&key)).await.expect("writes")
        })
    });
    let answers: Vec<Joined> =
        join_all(asked).await.into_iter().map(|a| a.expect("no panic")).collect();
    let mut new: Vec<Place> = Vec::new();
    for answer in &answers {
        match answer {
            Joined::Done(place) => new.push(place.clone()),
            Joined::Already(_) => {}
            other => panic!("{other:?}"),
        }
    }
    new.sort_by_key(|place| place.n);
    assert_eq!(
        new.iter().map(|place| place.n.0).collect::<Vec<_>>(),
        (1..=BUYERS as u64).collect::<Vec<_>>()
    );
    for answer in answers {
        let (Joined::Done(place) | Joined::Already(place)) = answer else { panic!("a place") };
        assert!(new.contains(&place), "{place:?}");
    }
    expect_line(&rig, item, BUYERS as u64, 0).await;
}

/// A line is for what is held out: not for what may be had, is sold, or is not on sale.
pub async fn a_line_is_for_what_is_held_out(rig: Rig) {
    let in_pool = rig.item(Stock::Counted(1), 1).await;
    assert_eq!(join(&rig, in_pool, "anna", "k").await, Joined::NotHeldOut, "it lies in the pool");
    let in_slot = rig.slot(1, 1, 1).await;
    assert_eq!(
        join(&rig, in_slot.slot.item, "anna", "k").await,
        Joined::NotHeldOut,
        "it is in a slot"
    );
    let endless = rig.item(Stock::Unlimited, 1).await;
    assert_eq!(join(&rig, endless, "anna", "k").await, Joined::NotHeldOut);
    assert_eq!(join(&rig, ItemId(404), "anna", "k").await, Joined::NotFound);
    let sale = new_sale("draft", vec![new_item("phone", Stock::Counted(1), 2)]);
    let draft = rig.store.create_sale(sale).await.expect("writes").expect("a free id").items[0].id;
    assert_eq!(join(&rig, draft, "anna", "k").await, Joined::NotOnSale);
    let (grant, orders) = held_out(&rig, 2, 2).await;
    let item = grant.slot.item;
    rig.store.pay_order(orders[0].id).await.expect("writes");
    assert_eq!(
        join(&rig, item, "holder-1", "key-1").await,
        Joined::Order(rig.store.order(orders[0].id).await.expect("reads").expect("an order"))
    );
    stand(&rig, item, "holder-1").await;
    rig.store.pay_order(orders[1].id).await.expect("writes");
    assert_eq!(join(&rig, item, "anna", "k").await, Joined::SoldOut);
    let full = rig.slot(1, 1, 1).await;
    rig.reserve(&full, 9, "holder-9", 1).await;
    assert_eq!(join(&rig, full.slot.item, "holder-9", "k").await, Joined::LimitReached);
    assert_eq!(
        join(&rig, full.slot.item, "holder-2", "key-2").await,
        Joined::KeyReused,
        "of another item's order"
    );
    expect_line(&rig, item, 1, 0).await;
}

/// Units that come back are kept: no slot gets them, and whoever waited longest is served, with a short window to pay in.
pub async fn those_in_line_are_served_by_turn(rig: Rig) {
    let (grant, orders) = held_out(&rig, 3, 1).await;
    let item = grant.slot.item;
    assert_eq!(serve(&rig, item).await, LineServed::default(), "nobody waits");
    let (anna, bert) = (stand(&rig, item, "anna").await, stand(&rig, item, "bert").await);
    assert_eq!(serve(&rig, item).await, LineServed::default(), "there is nothing to give");
    cancel(&rig, &orders[0]).await;
    expect_line(&rig, item, 2, 1).await;
    assert_eq!(rig.store.refill(grant.id, 9, Counter::A).await.expect("writes"), 0, "it is kept");
    assert_eq!(rig.open(SlotKey { item, index: 1 }, 9).await.granted, 0, "it is kept");
    rig.clock.pass(1_000);
    rig.told.forget();
    let served = serve(&rig, item).await;
    assert_eq!(
        (names(&served.orders), served.passed_over.len(), served.more),
        (vec!["anna"], 0, false)
    );
    let order = &served.orders[0];
    assert_eq!((order.id, &order.key, order.units.get()), (anna.id, &anna.key, 1));
    assert_eq!(
        (order.reserved_at, order.pay_by),
        (rig.clock.now(), rig.clock.now().plus(LINE_HOLD_MS))
    );
    assert_eq!(rig.store.order(anna.id).await.expect("reads").as_ref(), Some(order));
    assert_eq!(
        rig.store.verdict(anna.id).await.expect("reads").map(|r| r.verdict),
        Some(Verdict::Reserved)
    );
    let told = rig.told.take();
    assert!(told.iter().any(|c| c.orders.contains(order) && c.events), "{told:?}");
    let counts = told.iter().flat_map(|c| &c.counts).next_back().expect("counts are told");
    assert_eq!((counts.waiting, counts.kept, counts.pool, counts.held), (1, 0, 0, 3));
    let history = rig.store.history(anna.id).await.expect("reads");
    let said: Vec<_> = history.iter().map(|t| (t.event.what, t.event.by.why.is_some())).collect();
    assert_eq!(said, [(EventType::OrderReserved, true)]);
    assert_eq!(
        (place(&rig, anna.id).await, place(&rig, bert.id).await),
        ((PlaceState::Served, 0), (PlaceState::Waiting, 0))
    );
    assert_eq!(rig.store.quota(item, buyer("anna")).await.expect("reads"), 1);
    assert_eq!(join(&rig, item, "anna", "line-anna").await, Joined::Order(order.clone()));
    assert_eq!(join(&rig, item, "anna", "more").await, Joined::LimitReached);
    // What nobody waits for is for slots again.
    cancel(&rig, &orders[1]).await;
    cancel(&rig, &orders[2]).await;
    expect_line(&rig, item, 1, 1).await;
    assert_eq!(rig.store.refill(grant.id, 9, Counter::A).await.expect("writes"), 1);
    assert_eq!(names(&serve(&rig, item).await.orders), ["bert"]);
    rig.expect_units(item, 0, 1, 2, 0).await;
}

/// However many serve while orders end: as many are served as units came back, by turn, and nobody twice.
pub async fn served_at_once_nobody_is_twice(rig: Rig) {
    const UNITS: u64 = 12;
    const WAIT: u64 = 18;
    let (grant, orders) = held_out(&rig, WAIT, 1).await;
    let item = grant.slot.item;
    let mut places = Vec::new();
    for who in 0..WAIT {
        places.push(stand(&rig, item, &format!("w{who:02}")).await);
    }
    let (expire, cancel) = orders[..UNITS as usize].split_at(4);
    rig.clock.pass(HOLD_MS);
    let ended = cancel.iter().chain(expire).enumerate().map(|(at, order)| {
        let (store, id) = (rig.store.clone(), order.id);
        tokio::spawn(async move {
            let how = if at % 2 == 0 { Ending::Cancel } else { Ending::Expire };
            drop(store.end_order(id, how, By::BUYER.clone()).await.expect("writes"));
            Vec::new()
        })
    });
    let served = (0..UNITS).map(|_| {
        let store = rig.store.clone();
        tokio::spawn(async move { store.serve_line(item).await.expect("writes").orders })
    });
    let mut all: Vec<Order> = Vec::new();
    for made in join_all(ended.chain(served).collect::<Vec<_>>()).await {
        all.extend(made.expect("no panic"));
    }
    all.extend(serve(&rig, item).await.orders);
    all.sort_by_key(|order| order.n);
    let first: Vec<_> = places.iter().take(UNITS as usize).map(|place| place.id).collect();
    assert_eq!(
        all.iter().map(|order| order.id).collect::<Vec<_>>(),
        first,
        "those who had waited longest"
    );
    expect_line(&rig, item, WAIT - UNITS, 0).await;
    rig.expect_units(item, 0, 0, WAIT, 0).await;
}

/// When their turn comes, who holds as much as they may, or whose key holds an order, are passed over; the next one is served.
pub async fn whoever_has_enough_is_passed_over(rig: Rig) {
    let (grant, orders) = held_out(&rig, 3, 1).await;
    let item = grant.slot.item;
    let anna = stand(&rig, item, "anna").await;
    let bert = stand(&rig, item, "bert").await;
    let cleo = stand(&rig, item, "cleo").await;
    // Three for those in line, two for everybody: the first two buy one, the second under the key of the place.
    let more = crate::contract::Adjustment {
        item,
        units: 5,
        reason: "found".to_owned(),
        key: "a".to_owned(),
    };
    rig.store.adjust(more).await.expect("writes");
    assert_eq!(rig.store.refill(grant.id, 9, Counter::A).await.expect("writes"), 2);
    rig.settle(&rig.ticket(&grant, 4, "anna", "bought", 1)).await.order.expect("an order");
    let bought =
        rig.settle(&rig.ticket(&grant, 5, "bert", "line-bert", 1)).await.order.expect("an order");
    rig.told.forget();
    let served = serve(&rig, item).await;
    assert_eq!(names(&served.orders), ["cleo"]);
    let passed: Vec<_> = served.passed_over.iter().map(|p| (p.id, p.state)).collect();
    assert_eq!(passed, [(anna.id, PlaceState::PassedOver), (bert.id, PlaceState::PassedOver)]);
    assert!(rig.told.take().iter().any(|c| c.events), "they are told");
    let verdict = async |id| rig.store.verdict(id).await.expect("reads").expect("a verdict");
    assert_eq!(verdict(anna.id).await.verdict, Verdict::LimitReached);
    let of_bert = verdict(bert.id).await;
    assert_eq!((of_bert.verdict, of_bert.order), (Verdict::Order(bought.id), Some(bought)));
    assert_eq!(verdict(cleo.id).await.verdict, Verdict::Reserved);
    assert_eq!(
        rig.store.leave_line(anna.id).await.expect("writes"),
        Left::Already(served.passed_over[0].clone())
    );
    rig.expect_units(item, 2, 0, 6, 0).await;
    assert_eq!(orders.len(), 3);
    expect_line(&rig, item, 0, 0).await;
}

/// A place is given up once; whoever stood behind it moves on.
pub async fn a_place_is_given_up_once(rig: Rig) {
    let (grant, orders) = held_out(&rig, 2, 1).await;
    let item = grant.slot.item;
    let (anna, bert) = (stand(&rig, item, "anna").await, stand(&rig, item, "bert").await);
    rig.clock.pass(500);
    rig.told.forget();
    let Left::Done(left) = rig.store.leave_line(anna.id).await.expect("writes") else {
        panic!("it waited")
    };
    assert_eq!((left.state, left.ended_at), (PlaceState::Left, Some(rig.clock.now())));
    assert!(rig.told.take().iter().any(|c| c.events && c.counts.iter().any(|c| c.waiting == 1)));
    assert_eq!(rig.store.leave_line(anna.id).await.expect("writes"), Left::Already(left));
    assert_eq!(
        rig.store.verdict(anna.id).await.expect("reads").map(|r| r.verdict),
        Some(Verdict::Unavailable)
    );
    assert_eq!(place(&rig, bert.id).await, (PlaceState::Waiting, 0));
    // The same key as before: a refusal is not remembered by key.
    let again = stand(&rig, item, "anna").await;
    assert_eq!(place(&rig, again.id).await, (PlaceState::Waiting, 1), "at the end of the line");
    let stranger = TicketId::parse(&orders[0].id.to_string()).expect("an id");
    assert_eq!(
        rig.store.leave_line(stranger).await.expect("writes"),
        Left::NotFound,
        "an order is no place"
    );
    cancel(&rig, &orders[0]).await;
    let served = serve(&rig, item).await.orders;
    assert_eq!(names(&served), ["bert"]);
    let Left::Already(served) = rig.store.leave_line(bert.id).await.expect("writes") else {
        panic!("it was served")
    };
    assert_eq!(served.state, PlaceState::Served);
    expect_line(&rig, item, 1, 0).await;
}

/// As many stand in a line as units are held or kept; what is paid for does not come back.
pub async fn a_line_is_no_longer_than_what_may_come_back(rig: Rig) {
    let (grant, orders) = held_out(&rig, 3, 1).await;
    let item = grant.slot.item;
    rig.store.pay_order(orders[0].id).await.expect("writes");
    stand(&rig, item, "anna").await;
    stand(&rig, item, "bert").await;
    assert_eq!(join(&rig, item, "cleo", "k").await, Joined::Full, "two are held");
    cancel(&rig, &orders[1]).await;
    assert_eq!(join(&rig, item, "cleo", "k").await, Joined::Full, "one is held, one kept");
    assert_eq!(names(&serve(&rig, item).await.orders), ["anna"]);
    stand(&rig, item, "cleo").await;
    assert_eq!(join(&rig, item, "dora", "k").await, Joined::Full);
    rig.store.pay_order(orders[2].id).await.expect("writes");
    expect_line(&rig, item, 2, 0).await;
    rig.expect_units(item, 0, 0, 1, 2).await;
}

/// Nobody is served while the sale is paused, nor after its end; nobody joins then either.
pub async fn a_line_stands_while_its_sale_does(rig: Rig) {
    let (grant, orders) = held_out(&rig, 2, 1).await;
    let item = grant.slot.item;
    let sale = rig.store.sales().await.expect("reads")[0].id.clone();
    let step = async |step| rig.store.step_sale(&sale, step).await.expect("writes");
    stand(&rig, item, "anna").await;
    let bert = stand(&rig, item, "bert").await;
    step(Step::Pause).await;
    cancel(&rig, &orders[0]).await;
    assert_eq!(serve(&rig, item).await, LineServed::default());
    assert_eq!(join(&rig, item, "cleo", "k").await, Joined::NotOnSale);
    expect_line(&rig, item, 2, 1).await;
    step(Step::Resume).await;
    assert_eq!(names(&serve(&rig, item).await.orders), ["anna"]);
    step(Step::Close).await;
    cancel(&rig, &orders[1]).await;
    assert_eq!(serve(&rig, item).await, LineServed::default());
    rig.expect_units(item, 1, 0, 1, 0).await;
    assert!(
        matches!(rig.store.leave_line(bert.id).await.expect("writes"), Left::Done(_)),
        "nobody has to stay"
    );
    expect_line(&rig, item, 0, 0).await;
}

/// The verdict on a place is not forced while it waits, however long that is.
pub async fn the_verdict_of_a_place_that_waits_is_not_forced(rig: Rig) {
    let (grant, orders) = held_out(&rig, 2, 1).await;
    let item = grant.slot.item;
    let (anna, bert) = (stand(&rig, item, "anna").await, stand(&rig, item, "bert").await);
    rig.clock.pass(HOLD_MS);
    let force = async |place: &Place, who: &BuyerId| {
        let parts = place.id.parts().expect("an id of ours");
        rig.store.force(place.id, parts, who.clone()).await.expect("writes").map(|r| r.verdict)
    };
    assert_eq!(force(&anna, &anna.buyer).await, None);
    cancel(&rig, &orders[0]).await;
    serve(&rig, item).await;
    assert_eq!(force(&anna, &anna.buyer).await, Some(Verdict::Reserved));
    rig.store.leave_line(bert.id).await.expect("writes");
    assert_eq!(force(&bert, &bert.buyer).await, Some(Verdict::Unavailable));
    let at: Millis = rig.clock.now();
    assert!(at > anna.joined_at);
    rig.expect_units(item, 0, 0, 2, 0).await;
}
