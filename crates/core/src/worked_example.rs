//! Tests the worked example of the protocol with its exact numbers. The item has 10,000 units, and
//! its slot gets 400 of them. A batch of 30 tickets is settled, and then the slot gets a refill of
//! 100 units.
use std::sync::Arc;

use crate::model::Model;
use crate::refill::{self, Portion};
use crate::rows::Item;
use crate::slot::{GrantTerms, Slot, SlotBounds, TicketAnswer, TicketRequest};
use crate::spread::{Counter, PartitionChoice, Spread};
use crate::value::{
    BuyerId, GrantId, ItemId, Millis, NodeId, RequestKey, Seq, SlotKey, Stock, Token, Units,
};
use crate::{IdKey, Ledger, Verdict, settle, stock};

/// One partition, opened with 400 units. A counter with fewer than 380 units gets a refill of 100.
const SPREAD: Spread = Spread {
    partitions: 1,
    auto: false,
    choose: PartitionChoice::Buyer,
    initial: 400,
    threshold: 380,
    refill: 100,
};
const SLOT: SlotKey = SlotKey { item: ItemId(1), index: 0 };

fn unwrap_infallible<T>(result: Result<T, std::convert::Infallible>) -> T {
    let Ok(value) = result;
    value
}

fn unit_counts(model: &mut Model) -> (u64, u64, u64) {
    let item = unwrap_infallible(model.item(SLOT.item)).expect("the item");
    let grant = unwrap_infallible(model.open_grant(SLOT)).expect("the slot has an open grant");
    (item.pool, grant.unsettled(), item.pool + grant.unsettled())
}

fn sell(slot: &mut Slot, key: &IdKey, nth: u64) {
    let name = format!("b{nth}");
    let (buyer, request_key) =
        (BuyerId::new(&name).expect("a name"), RequestKey::new("k").expect("a key"));
    let answer = slot.ticket(&TicketRequest {
        token: Token(nth),
        buyer,
        key: request_key,
        buyer_hash: key.buyer_hash(&name),
        request: key.request_hash(&name, "k"),
        units: Units::new(1).expect("one"),
        limit: 1,
        decide_by: Millis(1_000),
        node: NodeId(1),
    });
    assert!(matches!(answer, TicketAnswer::Issued(_)), "{answer:?}");
}

#[test]
fn ten_thousand_units_are_given_in_portions() {
    assert_eq!(SPREAD.fault(), None);
    let key = IdKey::new([3; 32]);
    let mut model = Model::default();
    let total = Stock::Counted(10_000);
    let item = Item {
        id: SLOT.item,
        total,
        pool: 10_000,
        limit: 1,
        hold_ms: 60_000,
        ended: 0,
        paid: 0,
        waiting: 0,
    };
    unwrap_infallible(model.put_item(&item));

    // The slot gets 400 units.
    let first = refill::initial_portions(&SPREAD, item.pool, 1)[0];
    let grant =
        unwrap_infallible(stock::open(&mut model, SLOT, GrantId(7), first)).expect("a grant");
    assert_eq!(unit_counts(&mut model), (9_600, 400, 10_000));
    let mut slot = Slot::with_bounds(SLOT.item, SlotBounds::default());
    let terms = GrantTerms {
        grant: grant.id,
        epoch: grant.epoch,
        counted: true,
        available: grant.granted,
        threshold: SPREAD.threshold,
    };
    slot.init(terms);
    unwrap_infallible(stock::acknowledge_init(&mut model, grant.id));

    // A batch of 30 tickets for one unit each is settled.
    (1..=30).for_each(|nth| sell(&mut slot, &key, nth));
    let mut batch = Vec::new();
    slot.take(500, &mut batch);
    assert_eq!(batch.len(), 30);
    for delivery in &batch {
        let ticket = Arc::clone(&delivery.ticket);
        let resolved = unwrap_infallible(settle::settle(&mut model, &key, &ticket, Millis(1)));
        assert_eq!(resolved.verdict, Verdict::Reserved);
    }
    assert_eq!(unit_counts(&mut model), (9_600, 370, 9_970));

    // The slot needs more units, so a refill of 100 units goes to the inactive counter.
    let view = slot.view().expect("an epoch");
    assert_eq!((view.counters, view.active, view.mark), ([370, 0], Counter::A, true));
    let portion = refill::next_portion(&SPREAD, 9_600, 1, &view, 0)
        .expect("a counter below its threshold must get a refill");
    assert_eq!(portion, Portion { units: 100, counter: Counter::B });
    assert_eq!(
        unwrap_infallible(stock::refill(&mut model, grant.id, portion.units, portion.counter)),
        100
    );
    assert_eq!(unit_counts(&mut model), (9_500, 470, 9_970));
    let row = model.feed[&(grant.id, Seq(1))].clone();
    slot.apply(grant.epoch, &row, &key);
    let view = slot.view().expect("an epoch");
    assert_eq!((view.counters, view.available, view.mark), ([370, 100], 470, false));
}
