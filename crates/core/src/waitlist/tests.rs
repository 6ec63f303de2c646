//! Tests which buyers can join a waitlist, which units are kept for a waitlist, and how a waitlist
//! ends. Also tests when the id of a waitlist entry has a verdict.

use std::convert::Infallible;

use super::*;
use crate::limits::WAITLIST_ENTRIES_MAX;
use crate::model::Model;
use crate::order::{self, EndReason};
use crate::settle::{self, settle};
use crate::stock;
use crate::ticket::Ticket;
use crate::value::NodeId;

const ITEM: ItemId = ItemId(1);
const SLOT: SlotKey = SlotKey { item: ITEM, index: 0 };
const NOW: Millis = Millis(1_000);

fn unwrap_infallible<T>(result: Result<T, Infallible>) -> T {
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

/// Returns a model with one item of two units, and the order of the buyer who holds both units.
fn item_on_hold() -> (Model, Order) {
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
    unwrap_infallible(model.put_item(&item));
    let grant = unwrap_infallible(stock::open(&mut model, SLOT, GrantId(7), 2)).expect("a grant");
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
    let order =
        unwrap_infallible(settle(&mut model, &id_key(), &ticket, NOW)).order.expect("an order");
    (model, order)
}

fn join_waitlist(model: &mut Model, name: &str) -> JoinOutcome {
    let (grant, token, entries_max) = (GrantId(9), Token(2), WAITLIST_ENTRIES_MAX);
    let joiner = JoinRequest { buyer: buyer(name), key: key("k"), grant, token, entries_max };
    unwrap_infallible(join(model, &id_key(), ITEM, &joiner, NOW))
}

fn item(model: &mut Model) -> Item {
    unwrap_infallible(model.item(ITEM)).expect("the item")
}

#[test]
fn a_full_waitlist_accepts_no_more_entries() {
    let (mut model, _) = item_on_hold();
    let total = Stock::Counted(WAITLIST_ENTRIES_MAX + 2);
    let row = Item { waiting: WAITLIST_ENTRIES_MAX - 1, total, ..item(&mut model) };
    unwrap_infallible(model.put_item(&row));
    assert!(matches!(join_waitlist(&mut model, "anna"), JoinOutcome::Done(_)));
    assert_eq!(join_waitlist(&mut model, "bert"), JoinOutcome::Full);
    assert_eq!(item(&mut model).waiting, WAITLIST_ENTRIES_MAX);
}

#[test]
fn a_waitlist_is_not_longer_than_the_units_that_may_return() {
    let (mut model, order) = item_on_hold();
    assert!(matches!(join_waitlist(&mut model, "anna"), JoinOutcome::Done(_)));
    assert!(matches!(join_waitlist(&mut model, "bert"), JoinOutcome::Done(_)));
    assert_eq!(
        join_waitlist(&mut model, "cleo"),
        JoinOutcome::Full,
        "a waitlist for two held units must not have three entries"
    );
    unwrap_infallible(order::end(
        &mut model,
        &order.id,
        EndReason::Cancel,
        Attribution::BUYER,
        NOW,
    ));
    assert_eq!(
        join_waitlist(&mut model, "cleo"),
        JoinOutcome::Full,
        "a waitlist with one entry for each unit must be full"
    );
    let served = unwrap_infallible(serve(&mut model, ITEM, 1, NOW)).orders;
    assert!(
        matches!(join_waitlist(&mut model, "cleo"), JoinOutcome::Done(_)),
        "a buyer must be able to join for the held unit, because it may return"
    );
    assert!(matches!(
        unwrap_infallible(order::pay(&mut model, &served[0].id, Attribution::BUYER, NOW)),
        order::PayOutcome::Done(_)
    ));
    assert_eq!(
        join_waitlist(&mut model, "dora"),
        JoinOutcome::Full,
        "a paid unit must not count, because it does not come back"
    );
    assert_eq!(item(&mut model).waiting, 2, "existing entries must stay");
}

/// Returns a model and the waitlist entry of Anna. The order that Anna got from the waitlist has
/// ended unpaid, and another buyer has bought the returned unit.
fn served_and_unpaid(how: EndReason, by: &Attribution) -> (Model, WaitlistEntry) {
    let (mut model, first) = item_on_hold();
    let JoinOutcome::Done(anna) = join_waitlist(&mut model, "anna") else { panic!("an entry") };
    unwrap_infallible(order::end(
        &mut model,
        &first.id,
        EndReason::Cancel,
        Attribution::BUYER,
        NOW,
    ));
    unwrap_infallible(serve(&mut model, ITEM, 9, NOW));
    unwrap_infallible(order::end(&mut model, &anna.id, how, by, NOW.plus(WAITLIST_HOLD_MS)));
    let row = Item { pool: 0, ..item(&mut model) };
    unwrap_infallible(model.put_item(&row));
    (model, anna)
}

#[test]
fn a_buyer_whose_waitlist_order_an_operator_cancelled_may_join_again() {
    let (mut model, anna) = served_and_unpaid(
        EndReason::Cancel,
        &Attribution::from_actor(Actor::Operator("key_1".to_owned())),
    );
    assert_eq!(model.orders[&anna.id].state, OrderState::Cancelled);
    let (grant, token, entries_max) = (GrantId(9), Token(3), WAITLIST_ENTRIES_MAX);
    let again = JoinRequest { buyer: buyer("anna"), key: key("new"), grant, token, entries_max };
    let joined = unwrap_infallible(join(&mut model, &id_key(), ITEM, &again, NOW));
    assert!(
        matches!(joined, JoinOutcome::Done(_)),
        "a cancellation by an operator must not prevent the join: {joined:?}"
    );
}

#[test]
fn a_buyer_whose_waitlist_order_lapsed_does_not_join_again() {
    for (how, by) in
        [(EndReason::Cancel, Attribution::BUYER), (EndReason::Expire, Attribution::ENGINE)]
    {
        let (mut model, anna) = served_and_unpaid(how, by);
        let ended = model.orders[&anna.id].clone();
        assert_eq!(
            join_waitlist(&mut model, "anna"),
            JoinOutcome::Order(ended.clone()),
            "a request whose key holds an ended order must get that order"
        );
        let (grant, token, entries_max) = (GrantId(9), Token(3), WAITLIST_ENTRIES_MAX);
        let again =
            JoinRequest { buyer: buyer("anna"), key: key("new"), grant, token, entries_max };
        assert_eq!(
            unwrap_infallible(join(&mut model, &id_key(), ITEM, &again, NOW)),
            JoinOutcome::Lapsed(ended)
        );
        let holder = JoinRequest { buyer: buyer("holder"), ..again };
        let joined = unwrap_infallible(join(&mut model, &id_key(), ITEM, &holder, NOW));
        assert!(
            matches!(joined, JoinOutcome::Done(_)),
            "an order that is not from the waitlist must not prevent the join: {joined:?}"
        );
    }
}

#[test]
fn returned_units_are_kept_for_the_waitlist_and_slots_get_the_others() {
    let (mut model, order) = item_on_hold();
    let JoinOutcome::Done(anna) = join_waitlist(&mut model, "anna") else { panic!("an entry") };
    unwrap_infallible(order::end(
        &mut model,
        &order.id,
        EndReason::Cancel,
        Attribution::BUYER,
        NOW,
    ));
    assert_eq!((item(&mut model).pool, item(&mut model).kept_for_waitlist()), (2, 1));
    unwrap_infallible(stock::acknowledge_init(&mut model, GrantId(7)));
    assert_eq!(
        unwrap_infallible(stock::refill(&mut model, GrantId(7), 2, crate::Counter::A)),
        1,
        "the refill must leave the unit that is kept for anna"
    );
    let served = unwrap_infallible(serve(&mut model, ITEM, 9, NOW));
    let orders: Vec<_> = served.orders.iter().map(|order| (order.id, order.pay_by)).collect();
    assert_eq!((orders, served.more), (vec![(anna.id, NOW.plus(WAITLIST_HOLD_MS))], false));
    assert_eq!(unwrap_infallible(serve(&mut model, ITEM, 9, NOW)), WaitlistServed::default());
    assert_eq!((item(&mut model).pool, item(&mut model).waiting), (0, 0));
    let from_waitlist: Vec<_> =
        model.events.iter().map(|event| (event.what, event.is_from_waitlist())).collect();
    assert_eq!(
        from_waitlist,
        [
            (EventType::OrderReserved, false),
            (EventType::OrderCancelled, false),
            (EventType::OrderReserved, true)
        ]
    );
    let waitlist = unwrap_infallible(model.waitlist(ITEM)).expect("its grant");
    assert!(!waitlist.open && waitlist.closed == Some(CloseCause::Waitlist));
    assert_eq!(
        (waitlist.granted, waitlist.settled, waitlist.resolved, waitlist.max_n),
        (1, 1, 1, TicketN(1))
    );
}

#[test]
fn an_entry_whose_key_belongs_to_an_order_of_another_item_is_refused() {
    let (mut model, order) = item_on_hold();
    let JoinOutcome::Done(anna) = join_waitlist(&mut model, "anna") else { panic!("an entry") };
    let parts = id_key().open(&anna.id, "anna").expect("anna's id");
    let other = Order {
        id: id_key().sign(&TicketParts { grant: GrantId(8), ..parts }, "anna"),
        item: ItemId(ITEM.0 + 1),
        buyer: anna.buyer.clone(),
        key: anna.key.clone(),
        ..order.clone()
    };
    unwrap_infallible(model.insert_order(&other));
    unwrap_infallible(order::end(
        &mut model,
        &order.id,
        EndReason::Cancel,
        Attribution::BUYER,
        NOW,
    ));
    let served = unwrap_infallible(serve(&mut model, ITEM, 9, NOW));
    let passed_over: Vec<_> = served.passed_over.iter().map(|entry| entry.id).collect();
    assert_eq!((served.orders, passed_over), (vec![], vec![anna.id]));
    let refused = model.events.last().map(|event| event.what);
    assert_eq!(refused, Some(EventType::OrderRefused), "the shop must hear of the refusal");
}

#[test]
fn the_id_of_an_entry_is_verified_and_gets_no_verdict_while_it_waits() {
    let (mut model, _) = item_on_hold();
    let JoinOutcome::Done(anna) = join_waitlist(&mut model, "anna") else { panic!("an entry") };
    let parts = id_key().open(&anna.id, "anna").expect("anna's id");
    assert_eq!((parts.n, parts.units, parts.grant), (anna.n, Units::ONE, GrantId(9)));
    assert!(id_key().open(&anna.id, "bert").is_none());
    let late = NOW.plus(1_000_000);
    assert_eq!(
        unwrap_infallible(settle::force_verdict(
            &mut model,
            &id_key(),
            anna.id,
            &parts,
            &anna.buyer,
            late
        )),
        None
    );
    assert!(matches!(unwrap_infallible(leave(&mut model, &anna.id, late)), LeaveOutcome::Done(_)));
    let verdict = unwrap_infallible(settle::force_verdict(
        &mut model,
        &id_key(),
        anna.id,
        &parts,
        &anna.buyer,
        late,
    ));
    assert_eq!(verdict.map(|resolved| resolved.verdict), Some(Verdict::Unavailable));
    assert!(matches!(
        unwrap_infallible(leave(&mut model, &anna.id, late)),
        LeaveOutcome::Already(_)
    ));
}

#[test]
fn a_waitlist_ends_with_its_sale_and_not_before() {
    let (mut model, order) = item_on_hold();
    let JoinOutcome::Done(anna) = join_waitlist(&mut model, "anna") else { panic!("an entry") };
    let JoinOutcome::Done(bert) = join_waitlist(&mut model, "bert") else { panic!("an entry") };
    assert_eq!(
        unwrap_infallible(end_with_sale(&mut model, ITEM, 9, NOW)),
        WaitlistEnded::default(),
        "an entry must not end while the sale is open"
    );
    model.stopped.insert(ITEM);
    assert_eq!(
        unwrap_infallible(end_with_sale(&mut model, ITEM, 9, NOW)),
        WaitlistEnded::default(),
        "an entry must not end while the sale is paused"
    );
    model.over.insert(ITEM);
    unwrap_infallible(order::end(
        &mut model,
        &order.id,
        EndReason::Cancel,
        Attribution::BUYER,
        NOW,
    ));
    assert_eq!(
        unwrap_infallible(serve(&mut model, ITEM, 9, NOW)),
        WaitlistServed::default(),
        "an entry must not be served after the sale's end"
    );
    let mut ended = Vec::new();
    for more in [true, false] {
        let some = unwrap_infallible(end_with_sale(&mut model, ITEM, 1, NOW));
        assert_eq!((some.entries.len(), some.more), (1, more));
        ended.extend(some.entries.iter().map(|entry| (entry.id, entry.state)));
    }
    assert_eq!(ended, [(anna.id, WaitlistState::PassedOver), (bert.id, WaitlistState::PassedOver)]);
    assert_eq!(
        unwrap_infallible(end_with_sale(&mut model, ITEM, 9, NOW)),
        WaitlistEnded::default(),
        "each entry must end only once"
    );
    let row = item(&mut model);
    assert_eq!((row.waiting, row.kept_for_waitlist(), row.pool), (0, 0, 2));
    assert_eq!(
        model.events.iter().filter(|event| event.is_end_of_waitlist()).count(),
        2,
        "each entry must get one event"
    );
    assert!(
        [anna.id, bert.id].iter().all(|id| model.resolutions[id].verdict == Verdict::Unavailable)
    );
    assert!(
        matches!(unwrap_infallible(leave(&mut model, &anna.id, NOW)), LeaveOutcome::Already(_)),
        "an entry that ended with its sale must not leave"
    );
    assert_eq!(
        unwrap_infallible(model.waitlist(ITEM))
            .map(|waitlist| (waitlist.settled, waitlist.resolved)),
        Some((0, 2))
    );
}
