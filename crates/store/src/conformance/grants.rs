//! Tests grants, which move units between an item's pool and its slots. Also tests their feeds.
use doorbuster_core::rows::FeedCause;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{
    CloseCause, Counter, Epoch, GrantId, ItemId, Seq, SlotKey, Spread, Stock, Verdict,
};

use super::{Fixture, new_item, new_sale};
use crate::contract::{AdjustOutcome, Adjustment};

/// If a slot already has an open grant, a call to open a grant returns this grant, and takes no
/// units from the pool.
pub async fn a_slot_has_one_open_grant(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(100), 1).await;
    let slot = SlotKey { item, index: 3 };
    let first =
        fixture.store.open_grant(slot, GrantId(11), 30).await.expect("writes").expect("an item");
    assert_eq!(
        (first.id, first.epoch, first.granted, first.open, first.acked),
        (GrantId(11), Epoch(1), 30, true, false)
    );
    let again = fixture.store.open_grant(slot, GrantId(12), 30).await.expect("writes");
    assert_eq!(again, Some(first.clone()));
    assert_eq!(fixture.store.grant(GrantId(12)).await.expect("reads"), None);
    fixture.expect_units(item, 70, 30, 0, 0).await;
    assert_eq!(fixture.store.open_grants().await.expect("reads"), [first]);
}

/// A grant takes at most the units that are in the pool, and none from an empty pool.
pub async fn a_grant_takes_no_more_than_the_pool_holds(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(5), 1).await;
    let all = fixture.open(SlotKey { item, index: 0 }, 50).await;
    let none = fixture.open(SlotKey { item, index: 1 }, 50).await;
    assert_eq!((all.granted, none.granted), (5, 0));
    fixture.expect_units(item, 0, 5, 0, 0).await;
    let open = fixture.store.open_grants().await.expect("reads");
    assert_eq!(
        open.iter().map(|g| g.slot.index).collect::<Vec<_>>(),
        [0, 1],
        "the grants must be sorted by slot"
    );
}

/// An unknown item gets no grant.
pub async fn an_unknown_item_gets_no_grant(fixture: Fixture) {
    let slot = SlotKey { item: ItemId(404), index: 0 };
    assert_eq!(fixture.store.open_grant(slot, GrantId(1), 1).await.expect("writes"), None);
    assert_eq!(fixture.store.grants(ItemId(404)).await.expect("reads"), []);
}

/// A slot keeps the spread that it got with its grant. So if an operator changes the spread before
/// the sale opens, the store closes the grants. If the sale is open, the grants stay open.
pub async fn a_new_spread_closes_the_grants_before_the_opening(fixture: Fixture) {
    let sale = new_sale("spring", vec![new_item("phone", Stock::Counted(9), 2)]);
    let sale = fixture.store.create_sale(sale).await.expect("writes").expect("a free id");
    let slot = SlotKey { item: sale.items[0].id, index: 0 };
    let spread = Spread { initial: 4, ..sale.items[0].spread };
    for (step, spread, is_open) in [
        (PhaseStep::Schedule, spread, false),
        (PhaseStep::Open, Spread { refill: 3, ..spread }, true),
    ] {
        fixture.store.step_sale("spring", step).await.expect("writes");
        let id = GrantId(1 + u64::from(is_open));
        let grant = fixture.store.open_grant(slot, id, 5).await.expect("writes").expect("a grant");
        fixture.store.set_spread(slot.item, spread, None).await.expect("writes");
        assert_eq!(fixture.grant(&grant).await.open, is_open, "{step:?}");
    }
}

/// A draft, a paused sale and a closed sale have no open grants.
pub async fn only_an_open_sale_has_grants(fixture: Fixture) {
    let sale = new_sale("spring", vec![new_item("phone", Stock::Counted(9), 2)]);
    let sale = fixture.store.create_sale(sale).await.expect("writes").expect("a free id");
    let slot = SlotKey { item: sale.items[0].id, index: 0 };
    let mut next = 0;
    let mut open = async || {
        next += 1;
        fixture.store.open_grant(slot, GrantId(next), 5).await.expect("writes")
    };
    let step = async |step| fixture.store.step_sale("spring", step).await.expect("writes");
    assert_eq!(open().await, None, "a draft must not get a grant");
    step(PhaseStep::Open).await;
    let first = open().await.expect("the sale is open");
    fixture.reserve(&first, 1, "anna", 2).await;
    step(PhaseStep::Pause).await;
    assert_eq!(fixture.grant(&first).await.closed, Some(CloseCause::Rolled));
    assert_eq!(
        fixture.settle(&fixture.ticket(&first, 2, "bert", "k", 2)).await.verdict,
        Verdict::Unavailable
    );
    assert_eq!(open().await, None, "a paused sale must not get a grant");
    fixture.expect_units(slot.item, 7, 0, 2, 0).await;
    step(PhaseStep::Resume).await;
    let second = open().await.expect("the sale is open again");
    assert_eq!(second.epoch, Epoch(2));
    step(PhaseStep::Close).await;
    assert_eq!(fixture.grant(&second).await.closed, Some(CloseCause::Ended));
    assert_eq!(open().await, None, "a closed sale must not get a grant");
    fixture.expect_units(slot.item, 7, 0, 2, 0).await;
}

/// At most one grant is ever opened with a given id. If the transaction runs again, it opens no
/// second grant, even if the first grant is already closed.
pub async fn an_id_opens_one_grant(fixture: Fixture) {
    let grant = fixture.slot(10, 4, 1).await;
    fixture.store.close_grant(grant.id, CloseCause::Rolled).await.expect("writes");
    assert_eq!(fixture.store.open_grant(grant.slot, grant.id, 4).await.expect("writes"), None);
    fixture.expect_units(grant.slot.item, 10, 0, 0, 0).await;
}

/// A refill moves units to an acknowledged grant. The units reach the slot through the feed.
pub async fn a_refill_reaches_the_slot_through_its_feed(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(100), 1).await;
    let slot = SlotKey { item, index: 0 };
    let grant =
        fixture.store.open_grant(slot, GrantId(7), 10).await.expect("writes").expect("an item");
    assert_eq!(
        fixture.store.refill(grant.id, 5, Counter::A).await.expect("writes"),
        0,
        "a grant must not be refilled before the slot acknowledged it"
    );
    fixture.store.acknowledge_init(grant.id).await.expect("writes");
    assert_eq!(fixture.store.refill(grant.id, 60, Counter::A).await.expect("writes"), 60);
    assert_eq!(
        fixture.store.refill(grant.id, 60, Counter::A).await.expect("writes"),
        30,
        "the grant must get all remaining units"
    );
    assert_eq!(fixture.store.refill(grant.id, 60, Counter::A).await.expect("writes"), 0);
    assert_eq!(fixture.store.refill(GrantId(404), 1, Counter::A).await.expect("writes"), 0);
    fixture.expect_units(item, 0, 100, 0, 0).await;
    let feed = fixture.store.feed_after(grant.id, Seq(0), 10).await.expect("reads");
    let seen: Vec<_> = feed.iter().map(|f| (f.seq.0, f.units, f.quota_delta, f.cause)).collect();
    assert_eq!(seen, [(1, 60, 0, FeedCause::Refill), (2, 30, 0, FeedCause::Refill)]);
    assert_eq!(fixture.grant(&grant).await.feed_len, Seq(2));
}

/// When a grant is closed, its unsettled units return to the pool once. The slot's next grant has
/// the next epoch.
pub async fn closing_a_grant_returns_its_unsettled_units_once(fixture: Fixture) {
    let grant = fixture.slot(100, 40, 10).await;
    let item = grant.slot.item;
    fixture.reserve(&grant, 1, "anna", 4).await;
    assert!(fixture.store.close_grant(grant.id, CloseCause::Rolled).await.expect("writes"));
    fixture.expect_units(item, 96, 0, 4, 0).await;
    assert!(!fixture.store.close_grant(grant.id, CloseCause::QuietMismatch).await.expect("writes"));
    assert!(!fixture.store.close_grant(GrantId(404), CloseCause::Ended).await.expect("writes"));
    fixture.expect_units(item, 96, 0, 4, 0).await;
    let closed = fixture.grant(&grant).await;
    assert_eq!(
        (closed.open, closed.closed, closed.granted, closed.settled),
        (false, Some(CloseCause::Rolled), 40, 4)
    );
    let next = fixture.open(grant.slot, 10).await;
    assert_eq!((next.epoch, next.granted), (Epoch(2), 10));
    let all = fixture.store.grants(item).await.expect("reads");
    assert_eq!(
        all.iter().map(|g| g.epoch.0).collect::<Vec<_>>(),
        [2, 1],
        "the newest grant must come first"
    );
    assert_eq!(
        fixture.store.refill(grant.id, 1, Counter::A).await.expect("writes"),
        0,
        "a closed grant must not get units"
    );
}

/// Closed grants are counted by the cause of their closing. If the cause is a failed slot, the
/// closing also counts as a repair.
pub async fn closings_are_counted_by_cause(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(10), 1).await;
    for cause in [CloseCause::EpochMissing, CloseCause::Ended, CloseCause::EpochMissing] {
        let grant = fixture.open(SlotKey { item, index: 0 }, 1).await;
        assert!(fixture.store.close_grant(grant.id, cause).await.expect("writes"));
    }
    let mut closings = fixture.store.closings().await.expect("reads");
    closings.sort();
    assert_eq!(closings, [(CloseCause::Ended, 1), (CloseCause::EpochMissing, 2)]);
    assert_eq!(fixture.store.repairs().await.expect("reads"), 2);
}

/// The rows of a feed are numbered from 1 without gaps, and can be read from any row.
pub async fn a_feed_has_no_gaps(fixture: Fixture) {
    let grant = fixture.slot(100, 20, 5).await;
    let kept = fixture.reserve(&grant, 1, "anna", 1).await;
    fixture.store.refill(grant.id, 3, Counter::A).await.expect("writes");
    fixture.settle(&fixture.ticket(&grant, 2, "anna", "too-many", 5)).await;
    fixture
        .store
        .end_order(
            kept.id,
            doorbuster_core::order::EndReason::Cancel,
            doorbuster_core::event::Attribution::BUYER.clone(),
        )
        .await
        .expect("writes");
    fixture.store.refill(grant.id, 3, Counter::A).await.expect("writes");
    let feed = fixture.store.feed_after(grant.id, Seq(0), 100).await.expect("reads");
    let causes: Vec<_> = feed.iter().map(|f| f.cause).collect();
    assert_eq!(
        causes,
        [FeedCause::Refill, FeedCause::Returned, FeedCause::OrderEnded, FeedCause::Refill]
    );
    assert_eq!(feed.iter().map(|f| f.seq.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let part = fixture.store.feed_after(grant.id, Seq(1), 2).await.expect("reads");
    assert_eq!(part, feed[1..3]);
    assert_eq!(fixture.store.feed_after(grant.id, Seq(4), 9).await.expect("reads"), []);
    fixture.check_invariants().await;
}

/// Unlimited stock has no number of units, so grants and refills of unlimited stock move no units.
/// Held and paid units are still counted.
pub async fn unlimited_stock_is_not_counted(fixture: Fixture) {
    let item = fixture.item(Stock::Unlimited, 3).await;
    let grant = fixture.open(SlotKey { item, index: 0 }, 50).await;
    assert_eq!((grant.counted, grant.granted), (false, 0));
    assert_eq!(fixture.store.refill(grant.id, 5, Counter::A).await.expect("writes"), 0);
    let order = fixture.reserve(&grant, 1, "anna", 3).await;
    fixture.reserve(&grant, 2, "bert", 2).await;
    fixture.expect_units(item, 0, 0, 5, 0).await;
    fixture.store.pay_order(order.id).await.expect("writes");
    fixture.expect_units(item, 0, 0, 2, 3).await;
    fixture.store.close_grant(grant.id, CloseCause::Ended).await.expect("writes");
    fixture.expect_units(item, 0, 0, 2, 3).await;
    assert_eq!(fixture.counts(item).await.total, Stock::Unlimited);
}

fn by(item: ItemId, units: i64, key: &str) -> Adjustment {
    Adjustment { item, units, reason: "recount".to_owned(), key: key.to_owned() }
}

/// An adjustment adds units to the pool or removes units from it. A repeated call with the same key
/// changes nothing.
pub async fn an_adjustment_happens_once(fixture: Fixture) {
    let grant = fixture.slot(100, 60, 1).await;
    let item = grant.slot.item;
    let adjust = async |change| fixture.store.adjust(change).await.expect("writes");
    let AdjustOutcome::Done(raised) = adjust(by(item, 50, "a")).await else {
        panic!("the increase must succeed")
    };
    assert_eq!((raised.total, raised.pool), (Stock::Counted(150), 90));
    let AdjustOutcome::Repeated(again) = adjust(by(item, 50, "a")).await else {
        panic!("the repeated call must be recognized")
    };
    assert_eq!(again, raised);
    assert_eq!(adjust(by(item, 51, "a")).await, AdjustOutcome::KeyReused);
    let AdjustOutcome::Done(lowered) = adjust(by(item, -90, "b")).await else {
        panic!("the removal of units in the pool must succeed")
    };
    assert_eq!((lowered.total, lowered.pool), (Stock::Counted(60), 0));
    assert_eq!(adjust(by(item, -1, "c")).await, AdjustOutcome::NotInPool(0));
    fixture.store.close_grant(grant.id, CloseCause::Rolled).await.expect("writes");
    let AdjustOutcome::Done(last) = adjust(by(item, -1, "c")).await else {
        panic!("a refused adjustment must not use up its key")
    };
    assert_eq!(last.total, Stock::Counted(59));
    fixture.check_invariants().await;
}

/// After a sale is closed, new adjustments of its items are refused. A repeat of an earlier
/// adjustment is still recognized.
pub async fn an_adjustment_leaves_a_closed_sale_unchanged(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(10), 1).await;
    let adjust = async |change| fixture.store.adjust(change).await.expect("writes");
    assert!(matches!(adjust(by(item, 5, "a")).await, AdjustOutcome::Done(_)));
    fixture.store.step_sale("sale-0", PhaseStep::Close).await.expect("writes");
    for units in [1, -1, -100] {
        assert_eq!(adjust(by(item, units, "b")).await, AdjustOutcome::Closed, "{units}");
    }
    assert!(matches!(adjust(by(item, 5, "a")).await, AdjustOutcome::Repeated(_)));
    assert_eq!(adjust(by(item, 6, "a")).await, AdjustOutcome::KeyReused);
    fixture.expect_units(item, 15, 0, 0, 0).await;
}

/// An adjustment that the item does not allow is refused and changes nothing.
pub async fn an_impossible_adjustment_does_nothing(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(10), 1).await;
    let endless = fixture.item(Stock::Unlimited, 1).await;
    let adjust = async |change| fixture.store.adjust(change).await.expect("writes");
    assert_eq!(adjust(by(item, 1_000_000_000, "a")).await, AdjustOutcome::TooMuch);
    assert_eq!(adjust(by(item, i64::MIN, "b")).await, AdjustOutcome::NotInPool(10));
    assert_eq!(adjust(by(endless, 1, "c")).await, AdjustOutcome::Unlimited);
    assert_eq!(adjust(by(ItemId(404), 1, "d")).await, AdjustOutcome::NotFound);
    fixture.expect_units(item, 10, 0, 0, 0).await;
}
