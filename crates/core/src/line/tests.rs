//! Who joins, what is kept for them, the id of a place, and the end of a line.

use std::convert::Infallible;

use super::*;
use crate::limits::LINE_PLACES_MAX;
use crate::model::Model;
use crate::order::{self, Ending};
use crate::settle::{self, settle};
use crate::stock;
use crate::ticket::Ticket;
use crate::value::NodeId;

const ITEM: ItemId = ItemId(1);
const SLOT: SlotKey = SlotKey { item: ITEM, index: 0 };
const NOW: Millis = Millis(1_000);

fn sure<T>(result: Result<T, Infallible>) -> T {
    let Ok(value) = result;
    value
}

fn id_key() -> IdKey {
    IdKey::new([5; 32])
}

fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).expect("a name")
}

fn key(name: &str) -> RequestKey {
    RequestKey::new(name).expect("a key")
}

/// One item of two units, both held by one buyer.
fn held_out() -> (Model, Order) {
    let mut model = Model::default();
    let item = Item {
        id: ITEM,
        total: Stock::Counted(2),
        pool: 2,
        limit: 2,
        hold_ms: 3_600_000,
        ended: 0,
        paid: 0,
        waiting: 0,
    };
    sure(model.put_item(&item));
    let grant = sure(stock::open(&mut model, SLOT, GrantId(7), 2)).expect("a grant");
    let ticket = Ticket {
        token: Token(1),
        grant: grant.id,
        n: TicketN(1),
        item: ITEM,
        buyer: buyer("holder"),
        key: key("k"),
        units: Units::new(2).expect("two"),
        decide_by: NOW,
        node: NodeId(1),
    };
    let order = sure(settle(&mut model, &id_key(), &ticket, NOW)).order.expect("an order");
    (model, order)
}

fn stand(model: &mut Model, name: &str) -> Joined {
    let (grant, token, places_max) = (GrantId(9), Token(2), LINE_PLACES_MAX);
    let joiner = Joiner { buyer: buyer(name), key: key("k"), grant, token, places_max };
    sure(join(model, &id_key(), ITEM, &joiner, NOW))
}

fn item(model: &mut Model) -> Item {
    sure(model.item(ITEM)).expect("the item")
}

#[test]
fn a_line_takes_so_many_and_no_more() {
    let (mut model, _) = held_out();
    let total = Stock::Counted(LINE_PLACES_MAX + 2);
    let row = Item { waiting: LINE_PLACES_MAX - 1, total, ..item(&mut model) };
    sure(model.put_item(&row));
    assert!(matches!(stand(&mut model, "anna"), Joined::Done(_)));
    assert_eq!(stand(&mut model, "bert"), Joined::Full);
    assert_eq!(item(&mut model).waiting, LINE_PLACES_MAX);
}

#[test]
fn a_line_is_no_longer_than_what_may_come_back() {
    let (mut model, order) = held_out();
    assert!(matches!(stand(&mut model, "anna"), Joined::Done(_)));
    assert!(matches!(stand(&mut model, "bert"), Joined::Done(_)));
    assert_eq!(stand(&mut model, "cleo"), Joined::Full, "two are held");
    sure(order::end(&mut model, &order.id, Ending::Cancel, By::BUYER, NOW));
    assert_eq!(stand(&mut model, "cleo"), Joined::Full, "two are kept");
    let served = sure(serve(&mut model, ITEM, 1, NOW)).orders;
    assert!(matches!(stand(&mut model, "cleo"), Joined::Done(_)), "one is kept, one is held");
    assert!(matches!(
        sure(order::pay(&mut model, &served[0].id, By::BUYER, NOW)),
        order::Paid::Done(_)
    ));
    assert_eq!(stand(&mut model, "dora"), Joined::Full, "what is paid for does not come back");
    assert_eq!(item(&mut model).waiting, 2, "whoever stands there stays");
}

/// Anna was served out of the line and did not pay; what came back was bought.
fn served_in_vain(how: Ending, by: &By) -> (Model, Place) {
    let (mut model, first) = held_out();
    let Joined::Done(anna) = stand(&mut model, "anna") else { panic!("a place") };
    sure(order::end(&mut model, &first.id, Ending::Cancel, By::BUYER, NOW));
    sure(serve(&mut model, ITEM, 9, NOW));
    sure(order::end(&mut model, &anna.id, how, by, NOW.plus(LINE_HOLD_MS)));
    let row = Item { pool: 0, ..item(&mut model) };
    sure(model.put_item(&row));
    (model, anna)
}

#[test]
fn whose_order_out_of_a_line_an_operator_cancelled_may_join_it_again() {
    let (mut model, anna) =
        served_in_vain(Ending::Cancel, &By::actor(Actor::Operator("key_1".to_owned())));
    assert_eq!(model.orders[&anna.id].state, OrderState::Cancelled);
    let (grant, token, places_max) = (GrantId(9), Token(3), LINE_PLACES_MAX);
    let again = Joiner { buyer: buyer("anna"), key: key("new"), grant, token, places_max };
    let joined = sure(join(&mut model, &id_key(), ITEM, &again, NOW));
    assert!(matches!(joined, Joined::Done(_)), "it was not hers to keep: {joined:?}");
}

#[test]
fn whoever_let_an_order_out_of_a_line_lapse_does_not_join_it_again() {
    for (how, by) in [(Ending::Cancel, By::BUYER), (Ending::Expire, By::ENGINE)] {
        let (mut model, anna) = served_in_vain(how, by);
        let ended = model.orders[&anna.id].clone();
        assert_eq!(stand(&mut model, "anna"), Joined::Order(ended.clone()), "the key has an order");
        let (grant, token, places_max) = (GrantId(9), Token(3), LINE_PLACES_MAX);
        let again = Joiner { buyer: buyer("anna"), key: key("new"), grant, token, places_max };
        assert_eq!(sure(join(&mut model, &id_key(), ITEM, &again, NOW)), Joined::Lapsed(ended));
        let holder = Joiner { buyer: buyer("holder"), ..again };
        let joined = sure(join(&mut model, &id_key(), ITEM, &holder, NOW));
        assert!(
            matches!(joined, Joined::Done(_)),
            "an order that was bought is another matter: {joined:?}"
        );
    }
}

#[test]
fn units_that_come_back_are_kept_and_more_than_that_is_for_slots() {
    let (mut model, order) = held_out();
    let Joined::Done(anna) = stand(&mut model, "anna") else { panic!("a place") };
    sure(order::end(&mut model, &order.id, Ending::Cancel, By::BUYER, NOW));
    assert_eq!((item(&mut model).pool, item(&mut model).kept()), (2, 1));
    sure(stock::acknowledge_init(&mut model, GrantId(7)));
    assert_eq!(
        sure(stock::refill(&mut model, GrantId(7), 2, crate::Counter::A)),
        1,
        "one is anna's"
    );
    let served = sure(serve(&mut model, ITEM, 9, NOW));
    let orders: Vec<_> = served.orders.iter().map(|order| (order.id, order.pay_by)).collect();
    assert_eq!((orders, served.more), (vec![(anna.id, NOW.plus(LINE_HOLD_MS))], false));
    assert_eq!(sure(serve(&mut model, ITEM, 9, NOW)), LineServed::default());
    assert_eq!((item(&mut model).pool, item(&mut model).waiting), (0, 0));
    let from_line: Vec<_> =
        model.events.iter().map(|event| (event.what, event.is_from_line())).collect();
    assert_eq!(
        from_line,
        [
            (EventType::OrderReserved, false),
            (EventType::OrderCancelled, false),
            (EventType::OrderReserved, true)
        ]
    );
    let line = sure(model.line(ITEM)).expect("its grant");
    assert!(!line.open && line.closed == Some(Cause::Line));
    assert_eq!((line.granted, line.settled, line.resolved, line.max_n), (1, 1, 1, TicketN(1)));
}

#[test]
fn the_id_of_a_place_proves_itself_and_is_not_decided_while_it_waits() {
    let (mut model, _) = held_out();
    let Joined::Done(anna) = stand(&mut model, "anna") else { panic!("a place") };
    let parts = id_key().open(&anna.id, "anna").expect("it is hers");
    assert_eq!((parts.n, parts.units, parts.grant), (anna.n, Units::ONE, GrantId(9)));
    assert!(id_key().open(&anna.id, "bert").is_none());
    let late = NOW.plus(1_000_000);
    assert_eq!(
        sure(settle::force(&mut model, &id_key(), anna.id, &parts, &anna.buyer, late)),
        None
    );
    assert!(matches!(sure(leave(&mut model, &anna.id, late)), Left::Done(_)));
    let verdict = sure(settle::force(&mut model, &id_key(), anna.id, &parts, &anna.buyer, late));
    assert_eq!(verdict.map(|resolved| resolved.verdict), Some(Verdict::Unavailable));
    assert!(matches!(sure(leave(&mut model, &anna.id, late)), Left::Already(_)));
}

#[test]
fn a_line_ends_with_its_sale_and_not_before() {
    let (mut model, order) = held_out();
    let Joined::Done(anna) = stand(&mut model, "anna") else { panic!("a place") };
    let Joined::Done(bert) = stand(&mut model, "bert") else { panic!("a place") };
    assert_eq!(sure(end_with_sale(&mut model, ITEM, 9, NOW)), LineEnded::default(), "it is on");
    model.stopped.insert(ITEM);
    assert_eq!(sure(end_with_sale(&mut model, ITEM, 9, NOW)), LineEnded::default(), "it is paused");
    model.over.insert(ITEM);
    sure(order::end(&mut model, &order.id, Ending::Cancel, By::BUYER, NOW));
    assert_eq!(
        sure(serve(&mut model, ITEM, 9, NOW)),
        LineServed::default(),
        "nobody is served after the end"
    );
    let mut ended = Vec::new();
    for more in [true, false] {
        let some = sure(end_with_sale(&mut model, ITEM, 1, NOW));
        assert_eq!((some.places.len(), some.more), (1, more));
        ended.extend(some.places.iter().map(|place| (place.id, place.state)));
    }
    assert_eq!(ended, [(anna.id, PlaceState::PassedOver), (bert.id, PlaceState::PassedOver)]);
    assert_eq!(
        sure(end_with_sale(&mut model, ITEM, 9, NOW)),
        LineEnded::default(),
        "nobody is left"
    );
    let row = item(&mut model);
    assert_eq!((row.waiting, row.kept(), row.pool), (0, 0, 2));
    assert_eq!(
        model.events.iter().filter(|event| event.is_end_of_line()).count(),
        2,
        "each is told once"
    );
    assert!(
        [anna.id, bert.id].iter().all(|id| model.resolutions[id].verdict == Verdict::Unavailable)
    );
    assert!(matches!(sure(leave(&mut model, &anna.id, NOW)), Left::Already(_)), "it ended before");
    assert_eq!(sure(model.line(ITEM)).map(|line| (line.settled, line.resolved)), Some((0, 2)));
}
