//! Tests recalls: units leave a slot in three steps, and each step can be repeated.
use doorbuster_core::rows::FeedCause;
use doorbuster_core::{CloseCause, Counter, GrantId, RecallId, RecallTarget, Seq, SlotKey, Stock};

use super::Fixture;
use crate::contract::GrantTransfers;

/// Recalled units arrive in the pool once, even if the calls are repeated.
pub async fn a_recall_to_the_pool_happens_once(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let begin = async || {
        fixture
            .store
            .begin_recall(RecallId(5), grant.id, RecallTarget::Pool, 6)
            .await
            .expect("writes")
    };
    let recall = begin().await.expect("units to recall");
    assert_eq!((recall.grant, recall.asked, recall.taken, recall.done), (grant.id, 6, 0, false));
    assert_eq!(begin().await, Some(recall.clone()));
    assert_eq!(fixture.store.pending_recalls().await.expect("reads"), [recall]);
    fixture.expect_units(grant.slot.item, 0, 10, 0, 0).await;
    assert_eq!(fixture.store.finish_recall(RecallId(5), 4).await.expect("writes"), 4);
    assert_eq!(fixture.store.finish_recall(RecallId(5), 4).await.expect("writes"), 0);
    assert_eq!(fixture.store.pending_recalls().await.expect("reads"), []);
    let done = begin().await.expect("a repeated call must return the finished recall");
    assert_eq!((done.taken, done.done), (4, true));
    assert_eq!(fixture.grant(&grant).await.granted, 6);
    fixture.expect_units(grant.slot.item, 4, 6, 0, 0).await;
}

/// Units that are recalled for another slot reach this slot through its feed. The new counts are
/// published.
pub async fn a_recall_for_a_slot_reaches_it(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(10), 4).await;
    let from = fixture.open(SlotKey { item, index: 0 }, 6).await;
    let to = fixture.open(SlotKey { item, index: 1 }, 4).await;
    let target = RecallTarget::Grant(to.id);
    fixture
        .store
        .begin_recall(RecallId(1), from.id, target, 5)
        .await
        .expect("writes")
        .expect("units to recall");
    fixture.commits.forget();
    assert_eq!(fixture.store.finish_recall(RecallId(1), 5).await.expect("writes"), 5);
    assert!(
        fixture
            .commits
            .take()
            .iter()
            .flat_map(|commit| &commit.counts)
            .any(|counts| counts.item == item)
    );
    assert_eq!((fixture.grant(&from).await.granted, fixture.grant(&to).await.granted), (1, 9));
    let feed = fixture.store.feed_after(to.id, Seq(0), 9).await.expect("reads");
    assert_eq!(
        feed.iter().map(|f| (f.cause, f.units)).collect::<Vec<_>>(),
        [(FeedCause::Recalled, 5)]
    );
    fixture.expect_units(item, 0, 10, 0, 0).await;
}

/// If the grant that should get the units has been closed, the units go to the pool.
pub async fn a_recall_for_a_closed_slot_goes_to_the_pool(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(10), 4).await;
    let from = fixture.open(SlotKey { item, index: 0 }, 6).await;
    let to = fixture.open(SlotKey { item, index: 1 }, 4).await;
    let target = RecallTarget::Grant(to.id);
    fixture
        .store
        .begin_recall(RecallId(1), from.id, target, 5)
        .await
        .expect("writes")
        .expect("units to recall");
    fixture.store.close_grant(to.id, CloseCause::Ended).await.expect("writes");
    assert_eq!(fixture.store.finish_recall(RecallId(1), 5).await.expect("writes"), 5);
    fixture.expect_units(item, 9, 1, 0, 0).await;
}

/// The store counts refills and answered recalls for each grant.
pub async fn refills_and_recalls_are_counted(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(20), 4).await;
    let from = fixture.open(SlotKey { item, index: 0 }, 6).await;
    let to = fixture.open(SlotKey { item, index: 1 }, 4).await;
    let other = fixture.item(Stock::Counted(9), 1).await;
    fixture.open(SlotKey { item: other, index: 0 }, 3).await;
    for units in [2, 3] {
        assert_eq!(fixture.store.refill(from.id, units, Counter::A).await.expect("writes"), units);
    }
    for (id, taken) in [(1, 4), (2, 0)] {
        fixture
            .store
            .begin_recall(RecallId(id), from.id, RecallTarget::Grant(to.id), 5)
            .await
            .expect("writes");
        fixture.store.finish_recall(RecallId(id), taken).await.expect("writes");
    }
    fixture.store.begin_recall(RecallId(3), to.id, RecallTarget::Pool, 1).await.expect("writes");
    let mut moves = fixture.store.grant_transfers(item).await.expect("reads");
    moves.sort_by_key(|moves| moves.grant != from.id);
    let due = [(from.id, 2, 2), (to.id, 0, 0)].map(|(grant, refills, recalls)| GrantTransfers {
        grant,
        refills,
        recalls,
    });
    assert_eq!(moves, due, "only this grant's own answered recalls must count");
}

/// A recall takes at most the unsettled units of a grant, even if the slot reports more units.
pub async fn a_recall_is_clamped(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 8).await;
    fixture
        .store
        .begin_recall(RecallId(1), grant.id, RecallTarget::Pool, 10)
        .await
        .expect("writes");
    fixture.reserve(&grant, 1, "anna", 7).await;
    assert_eq!(fixture.store.finish_recall(RecallId(1), 10).await.expect("writes"), 3);
    fixture.expect_units(grant.slot.item, 3, 0, 7, 0).await;
}

/// Closing a grant finishes its recalls, because all unsettled units return to the pool.
pub async fn closing_finishes_recalls(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 8).await;
    for id in 1..=2 {
        fixture
            .store
            .begin_recall(RecallId(id), grant.id, RecallTarget::Pool, 3)
            .await
            .expect("writes");
    }
    assert_eq!(fixture.store.pending_recalls().await.expect("reads").len(), 2);
    fixture.store.close_grant(grant.id, CloseCause::EpochForeign).await.expect("writes");
    assert_eq!(fixture.store.pending_recalls().await.expect("reads"), []);
    assert_eq!(fixture.store.finish_recall(RecallId(1), 3).await.expect("writes"), 0);
    fixture.expect_units(grant.slot.item, 10, 0, 0, 0).await;
    let begun = fixture
        .store
        .begin_recall(RecallId(9), grant.id, RecallTarget::Pool, 3)
        .await
        .expect("writes");
    assert_eq!(begun, None, "a recall from a closed grant must not begin");
}

/// No recall begins from an unknown grant, from a grant of unlimited stock, or for 0 units.
pub async fn a_recall_of_nothing_is_not_begun(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 8).await;
    let begin = async |grant, units| {
        fixture
            .store
            .begin_recall(RecallId(1), grant, RecallTarget::Pool, units)
            .await
            .expect("writes")
    };
    assert_eq!(begin(GrantId(404), 1).await, None);
    assert_eq!(begin(grant.id, 0).await, None);
    let item = fixture.item(Stock::Unlimited, 4).await;
    let endless = fixture.open(SlotKey { item, index: 0 }, 6).await;
    assert_eq!(begin(endless.id, 1).await, None);
    assert_eq!(fixture.store.finish_recall(RecallId(1), 3).await.expect("writes"), 0);
    fixture.expect_units(grant.slot.item, 0, 10, 0, 0).await;
}
