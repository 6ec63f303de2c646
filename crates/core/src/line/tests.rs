//! Who joins, what is kept for them, and the id of a place.

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
    let row = Item { waiting: LINE_PLACES_MAX - 1, ..item(&mut model) };
    sure(model.put_item(&row));
    assert!(matches!(stand(&mut model, "anna"), Joined::Done(_)));
    assert_eq!(stand(&mut model, "bert"), Joined::Full);
    assert_eq!(item(&mut model).waiting, LINE_PLACES_MAX);
}

#[test]
fn units_that_come_back_are_kept_and_more_than_that_is_for_slots() {
    let (mut model, order) = held_out();
    let Joined::Done(anna) = stand(&mut model, "anna") else { panic!("a place") };
    sure(order::end(&mut model, &order.id, Ending::Cancel, By::BUYER, NOW));
    assert_eq!((item(&mut model).pool, item(&mut model).kept()), (2, 1));
    sure(stock::acknowledge_init(&mut model, GrantId(7)));
    assert_eq!(sure(stock::refill(&mut model, GrantId(7), 2, crate::Counter::A)), 1, "one is anna's");
    let served = sure(serve(&mut model, ITEM, 9, NOW));
    let orders: Vec<_> = served.orders.iter().map(|order| (order.id, order.pay_by)).collect();
    assert_eq!((orders, served.more), (vec![(anna.id, NOW.plus(LINE_HOLD_MS))], false));
    assert_eq!(sure(serve(&mut model, ITEM, 9, NOW)), LineServed::default());
    assert_eq!((item(&mut model).pool, item(&mut model).waiting), (0, 0));
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
    assert_eq!(sure(settle::force(&mut model, &id_key(), anna.id, &parts, &anna.buyer, late)), None);
    assert!(matches!(sure(leave(&mut model, &anna.id, late)), Left::Done(_)));
    let verdict = sure(settle::force(&mut model, &id_key(), anna.id, &parts, &anna.buyer, late));
    assert_eq!(verdict.map(|resolved| resolved.verdict), Some(Verdict::Unavailable));
    assert!(matches!(sure(leave(&mut model, &anna.id, late)), Left::Already(_)));
}
