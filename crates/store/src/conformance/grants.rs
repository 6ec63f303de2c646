//! Grants: units between an item's pool and its slots, and the feed through which slots learn of them.
use doorbuster_core::rows::FeedCause;
use doorbuster_core::sale::Step;
use doorbuster_core::{Cause, Counter, Epoch, GrantId, ItemId, Seq, SlotKey, Stock, Verdict};

use super::{Rig, new_item, new_sale};
use crate::contract::{AdjustOutcome, Adjustment};

/// A grant takes units from the pool once; asked again, the slot's open grant is the answer.
pub async fn a_slot_has_one_open_grant(rig: Rig) {
    let item = rig.item(Stock::Counted(100), 1).await;
    let slot = SlotKey { item, index: 3 };
    let first =
        rig.store.open_grant(slot, GrantId(11), 30).await.expect("writes").expect("an item");
    assert_eq!(
        (first.id, first.epoch, first.granted, first.open, first.acked),
        (GrantId(11), Epoch(1), 30, true, false)
    );
    let again = rig.store.open_grant(slot, GrantId(12), 30).await.expect("writes");
    assert_eq!(again, Some(first.clone()));
    assert_eq!(rig.store.grant(GrantId(12)).await.expect("reads"), None);
    rig.expect_units(item, 70, 30, 0, 0).await;
    assert_eq!(rig.store.open_grants().await.expect("reads"), [first]);
}

/// A grant takes what there is, also nothing.
pub async fn a_grant_takes_no_more_than_the_pool_holds(rig: Rig) {
    let item = rig.item(Stock::Counted(5), 1).await;
    let all = rig.open(SlotKey { item, index: 0 }, 50).await;
    let none = rig.open(SlotKey { item, index: 1 }, 50).await;
    assert_eq!((all.granted, none.granted), (5, 0));
    rig.expect_units(item, 0, 5, 0, 0).await;
    let open = rig.store.open_grants().await.expect("reads");
    assert_eq!(open.iter().map(|g| g.slot.index).collect::<Vec<_>>(), [0, 1], "by slot");
}

/// No item, no grant.
pub async fn a_slot_of_no_item_gets_no_grant(rig: Rig) {
    let slot = SlotKey { item: ItemId(404), index: 0 };
    assert_eq!(rig.store.open_grant(slot, GrantId(1), 1).await.expect("writes"), None);
    assert_eq!(rig.store.grants(ItemId(404)).await.expect("reads"), []);
}

/// A draft, a paused and a closed sale get no grant, and pausing and closing a sale closes its grants.
pub async fn only_a_sale_that_is_on_has_grants(rig: Rig) {
    let sale = new_sale("spring", vec![new_item("phone", Stock::Counted(9), 2)]);
    let sale = rig.store.create_sale(sale).await.expect("writes").expect("a free id");
    let slot = SlotKey { item: sale.items[0].id, index: 0 };
    let mut next = 0;
    let mut open = async || {
        next += 1;
        rig.store.open_grant(slot, GrantId(next), 5).await.expect("writes")
    };
    let step = async |step| rig.store.step_sale("spring", step).await.expect("writes");
    assert_eq!(open().await, None, "a draft");
    step(Step::Open).await;
    let first = open().await.expect("it is open");
    rig.reserve(&first, 1, "anna", 2).await;
    step(Step::Pause).await;
    assert_eq!(rig.grant(&first).await.closed, Some(Cause::Rolled));
    assert_eq!(
        rig.settle(&rig.ticket(&first, 2, "bert", "k", 2)).await.verdict,
        Verdict::Unavailable
    );
    assert_eq!(open().await, None, "paused");
    rig.expect_units(slot.item, 7, 0, 2, 0).await;
    step(Step::Resume).await;
    let second = open().await.expect("it goes on");
    assert_eq!(second.epoch, Epoch(2));
    step(Step::Close).await;
    assert_eq!(rig.grant(&second).await.closed, Some(Cause::Ended));
    assert_eq!(open().await, None, "closed");
    rig.expect_units(slot.item, 7, 0, 2, 0).await;
}

/// An id opens one grant, also when the transaction is run again after that grant was closed.
pub async fn an_id_opens_one_grant(rig: Rig) {
    let grant = rig.slot(10, 4, 1).await;
    rig.store.close_grant(grant.id, Cause::Rolled).await.expect("writes");
    assert_eq!(rig.store.open_grant(grant.slot, grant.id, 4).await.expect("writes"), None);
    rig.expect_units(grant.slot.item, 10, 0, 0, 0).await;
}

/// A grant is refilled once its slot took it, from the pool, through the feed.
pub async fn a_refill_reaches_the_slot_through_its_feed(rig: Rig) {
    let item = rig.item(Stock::Counted(100), 1).await;
    let slot = SlotKey { item, index: 0 };
    let grant = rig.store.open_grant(slot, GrantId(7), 10).await.expect("writes").expect("an item");
    assert_eq!(
        rig.store.refill(grant.id, 5, Counter::A).await.expect("writes"),
        0,
        "its slot did not take it yet"
    );
    rig.store.acknowledge_init(grant.id).await.expect("writes");
    assert_eq!(rig.store.refill(grant.id, 60, Counter::A).await.expect("writes"), 60);
    assert_eq!(
        rig.store.refill(grant.id, 60, Counter::A).await.expect("writes"),
        30,
        "what is left"
    );
    assert_eq!(rig.store.refill(grant.id, 60, Counter::A).await.expect("writes"), 0);
    assert_eq!(rig.store.refill(GrantId(404), 1, Counter::A).await.expect("writes"), 0);
    rig.expect_units(item, 0, 100, 0, 0).await;
    let feed = rig.store.feed_after(grant.id, Seq(0), 10).await.expect("reads");
    let seen: Vec<_> = feed.iter().map(|f| (f.seq.0, f.units, f.quota_delta, f.cause)).collect();
    assert_eq!(seen, [(1, 60, 0, FeedCause::Refill), (2, 30, 0, FeedCause::Refill)]);
    assert_eq!(rig.grant(&grant).await.feed_len, Seq(2));
}

/// A closed grant gives back what it did not settle, once; the slot's next grant has the next epoch.
pub async fn closing_returns_what_was_not_settled_once(rig: Rig) {
    let grant = rig.slot(100, 40, 10).await;
    let item = grant.slot.item;
    rig.reserve(&grant, 1, "anna", 4).await;
    assert!(rig.store.close_grant(grant.id, Cause::Rolled).await.expect("writes"));
    rig.expect_units(item, 96, 0, 4, 0).await;
    assert!(!rig.store.close_grant(grant.id, Cause::QuietMismatch).await.expect("writes"));
    assert!(!rig.store.close_grant(GrantId(404), Cause::Ended).await.expect("writes"));
    rig.expect_units(item, 96, 0, 4, 0).await;
    let closed = rig.grant(&grant).await;
    assert_eq!(
        (closed.open, closed.closed, closed.granted, closed.settled),
        (false, Some(Cause::Rolled), 40, 4)
    );
    let next = rig.open(grant.slot, 10).await;
    assert_eq!((next.epoch, next.granted), (Epoch(2), 10));
    let all = rig.store.grants(item).await.expect("reads");
    assert_eq!(all.iter().map(|g| g.epoch.0).collect::<Vec<_>>(), [2, 1], "newest first");
    assert_eq!(
        rig.store.refill(grant.id, 1, Counter::A).await.expect("writes"),
        0,
        "closed grants get nothing"
    );
}

/// Closings are counted by cause, and those that mended a failed slot are repairs.
pub async fn closings_are_counted_by_cause(rig: Rig) {
    let item = rig.item(Stock::Counted(10), 1).await;
    for cause in [Cause::EpochMissing, Cause::Ended, Cause::EpochMissing] {
        let grant = rig.open(SlotKey { item, index: 0 }, 1).await;
        assert!(rig.store.close_grant(grant.id, cause).await.expect("writes"));
    }
    let mut closings = rig.store.closings().await.expect("reads");
    closings.sort();
    assert_eq!(closings, [(Cause::Ended, 1), (Cause::EpochMissing, 2)]);
    assert_eq!(rig.store.repairs().await.expect("reads"), 2);
}

/// Whatever fills it, a feed counts from one without gaps, and is read from anywhere.
pub async fn a_feed_has_no_gaps(rig: Rig) {
    let grant = rig.slot(100, 20, 5).await;
    let kept = rig.reserve(&grant, 1, "anna", 1).await;
    rig.store.refill(grant.id, 3, Counter::A).await.expect("writes");
    rig.settle(&rig.ticket(&grant, 2, "anna", "too-many", 5)).await;
    rig.store
        .end_order(
            kept.id,
            doorbuster_core::order::Ending::Cancel,
            doorbuster_core::event::By::BUYER.clone(),
        )
        .await
        .expect("writes");
    rig.store.refill(grant.id, 3, Counter::A).await.expect("writes");
    let feed = rig.store.feed_after(grant.id, Seq(0), 100).await.expect("reads");
    let causes: Vec<_> = feed.iter().map(|f| f.cause).collect();
    assert_eq!(
        causes,
        [FeedCause::Refill, FeedCause::Returned, FeedCause::OrderEnded, FeedCause::Refill]
    );
    assert_eq!(feed.iter().map(|f| f.seq.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let part = rig.store.feed_after(grant.id, Seq(1), 2).await.expect("reads");
    assert_eq!(part, feed[1..3]);
    assert_eq!(rig.store.feed_after(grant.id, Seq(4), 9).await.expect("reads"), []);
    rig.adds_up().await;
}

/// Unlimited stock is granted and sold without being counted.
pub async fn unlimited_stock_is_not_counted(rig: Rig) {
    let item = rig.item(Stock::Unlimited, 3).await;
    let grant = rig.open(SlotKey { item, index: 0 }, 50).await;
    assert_eq!((grant.counted, grant.granted), (false, 0));
    assert_eq!(rig.store.refill(grant.id, 5, Counter::A).await.expect("writes"), 0);
    let order = rig.reserve(&grant, 1, "anna", 3).await;
    rig.reserve(&grant, 2, "bert", 2).await;
    rig.expect_units(item, 0, 0, 5, 0).await;
    rig.store.pay_order(order.id).await.expect("writes");
    rig.expect_units(item, 0, 0, 2, 3).await;
    rig.store.close_grant(grant.id, Cause::Ended).await.expect("writes");
    rig.expect_units(item, 0, 0, 2, 3).await;
    assert_eq!(rig.counts(item).await.total, Stock::Unlimited);
}

fn by(item: ItemId, units: i64, key: &str) -> Adjustment {
    Adjustment { item, units, reason: "recount".to_owned(), key: key.to_owned() }
}

/// Stock is raised into the pool and lowered out of it, once for each key.
pub async fn an_adjustment_happens_once(rig: Rig) {
    let grant = rig.slot(100, 60, 1).await;
    let item = grant.slot.item;
    let adjust = async |change| rig.store.adjust(change).await.expect("writes");
    let AdjustOutcome::Done(raised) = adjust(by(item, 50, "a")).await else {
        panic!("raising is possible")
    };
    assert_eq!((raised.total, raised.pool), (Stock::Counted(150), 90));
    let AdjustOutcome::Repeated(again) = adjust(by(item, 50, "a")).await else {
        panic!("the same again")
    };
    assert_eq!(again, raised);
    assert_eq!(adjust(by(item, 51, "a")).await, AdjustOutcome::KeyReused);
    let AdjustOutcome::Done(lowered) = adjust(by(item, -90, "b")).await else {
        panic!("the pool holds them")
    };
    assert_eq!((lowered.total, lowered.pool), (Stock::Counted(60), 0));
    assert_eq!(adjust(by(item, -1, "c")).await, AdjustOutcome::NotInPool(0));
    rig.store.close_grant(grant.id, Cause::Rolled).await.expect("writes");
    let AdjustOutcome::Done(last) = adjust(by(item, -1, "c")).await else {
        panic!("a refusal is not remembered")
    };
    assert_eq!(last.total, Stock::Counted(59));
    rig.adds_up().await;
}

/// What cannot be adjusted is refused, and nothing is done.
pub async fn an_impossible_adjustment_does_nothing(rig: Rig) {
    let item = rig.item(Stock::Counted(10), 1).await;
    let endless = rig.item(Stock::Unlimited, 1).await;
    let adjust = async |change| rig.store.adjust(change).await.expect("writes");
    assert_eq!(adjust(by(item, 1_000_000_000, "a")).await, AdjustOutcome::TooMuch);
    assert_eq!(adjust(by(item, i64::MIN, "b")).await, AdjustOutcome::NotInPool(10));
    assert_eq!(adjust(by(endless, 1, "c")).await, AdjustOutcome::Unlimited);
    assert_eq!(adjust(by(ItemId(404), 1, "d")).await, AdjustOutcome::NotFound);
    rig.expect_units(item, 10, 0, 0, 0).await;
}
