//! Tests the steps of a feed: which effects they request, in which sequence, and each way in which
//! they end.
use doorbuster_core::rows::FeedCause;
use doorbuster_core::{Counter, GrantId};

use super::*;

fn row(seq: u64) -> FeedRow {
    FeedRow {
        grant: GrantId(1),
        seq: Seq(seq),
        ticket: None,
        buyer: None,
        key: None,
        units: 1,
        counter: Counter::A,
        quota_delta: 0,
        cause: FeedCause::Refill,
    }
}

#[test]
fn rows_are_sent_until_none_is_left() {
    let (mut feed, first) = SlotFeed::begin(Seq(3));
    assert_eq!(first, Effect::ReadRows(Seq(3)));
    let rows = vec![row(4), row(5)];
    assert_eq!(feed.next(Input::Rows(rows.clone())), Effect::Apply(rows));
    let applied = feed.next(Input::Applied(ApplyOutcome::At(Seq(5))));
    assert_eq!(applied, Effect::ReadRows(Seq(5)));
    assert_eq!(feed.next(Input::Rows(Vec::new())), Effect::Finish);
}

#[test]
fn a_slot_that_another_node_feeds_continues_after_its_own_position() {
    let (mut feed, _) = SlotFeed::begin(Seq(3));
    feed.next(Input::Rows(vec![row(4)]));
    let applied = feed.next(Input::Applied(ApplyOutcome::At(Seq(9))));
    assert_eq!(applied, Effect::ReadRows(Seq(9)));
}

#[test]
fn a_slot_that_lacks_earlier_rows_or_has_another_grant_ends_the_feed() {
    for answer in [ApplyOutcome::At(Seq(3)), ApplyOutcome::Foreign] {
        let (mut feed, _) = SlotFeed::begin(Seq(3));
        feed.next(Input::Rows(vec![row(4)]));
        assert_eq!(feed.next(Input::Applied(answer)), Effect::Finish);
    }
}
