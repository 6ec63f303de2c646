//! Tests the waiting room's rules with tables of inputs and expected results.
use super::*;

fn line(entered: u64, participants: Option<u64>, admitted: u64) -> RoomProgress {
    RoomProgress { entered, participants, admitted }
}

#[test]
fn ranks_continue_after_the_participants_of_the_draw() {
    let mut it = RoomProgress::default();
    assert_eq!(
        (it.add_visitor(), it.add_visitor()),
        (Some(AddedVisitor::InDraw(1)), Some(AddedVisitor::InDraw(2)))
    );
    assert!(it.close_draw() && !it.close_draw());
    assert_eq!(it.add_visitor(), Some(AddedVisitor::Ranked(3)));
    assert_eq!(it, line(3, Some(2), 0));
    assert_eq!((it.admit(2), it.admit(9), it.admit(1)), ((0, 2), (2, 3), (3, 3)));
    let mut full = line(VISITORS_MAX, None, 0);
    assert_eq!(full.add_visitor(), None);
}

#[test]
fn visitors_are_admitted_only_while_units_are_left_for_them() {
    let many = line(1_000, Some(1_000), 0);
    let check = |free, limit, open, used, used_units, wanted| {
        let shop = RoomSupply { free, limit, open, used, used_units };
        assert_eq!(shop.admissions(&many, STEP_ADMISSIONS_MAX), wanted, "{shop:?}");
    };
    check(Some(100), 1, 0, 0, 0, 100);
    check(Some(100), 1, 60, 0, 0, 40);
    check(Some(100), 1, 100, 0, 0, 0);
    check(Some(60), 1, 100, 0, 0, 0);
    check(Some(0), 1, 0, 0, 0, 0);
    check(None, 1, 0, 0, 0, STEP_ADMISSIONS_MAX);
    check(None, 1, OPEN_ADMISSIONS_MAX - 3, 0, 0, 3);
    // No buyer has used an admission yet, so the room does not know how many units a buyer takes.
    // It expects the limit or an eighth of the free units, whichever is smaller.
    check(Some(100), 10, 0, 0, 0, 10);
    check(Some(100), 1_000_000, 0, 0, 0, 9);
    check(Some(3), 10, 0, 0, 0, 3);
    // Eight buyers took two units each, so the room expects two units for the next buyer.
    check(Some(100), 10, 0, 8, 16, 50);
    check(Some(100), 10, 10, 8, 16, 40);
    check(Some(1), 10, 0, 8, 16, 1);
    check(Some(2), 10, 1, 8, 16, 0);
    let five = RoomSupply { free: Some(5), limit: 1, ..RoomSupply::default() };
    assert_eq!(
        five.admissions(&line(3, None, 0), STEP_ADMISSIONS_MAX),
        0,
        "the room must stay shut before the sale opens"
    );
    assert_eq!(
        five.admissions(&line(3, Some(0), 1), STEP_ADMISSIONS_MAX),
        2,
        "the room must not admit more visitors than wait"
    );
    assert_eq!(
        five.admissions(&many, 3),
        3,
        "a step must not admit more visitors than its maximum"
    );
}

#[test]
fn each_visitor_is_shown_the_current_state() {
    let it = line(10, Some(10), 4);
    let check = |rank, until: Option<i64>, free, wanted| {
        assert_eq!(
            QueuePosition { rank, until: until.map(Millis) }.status(&it, free, Millis(100)),
            wanted
        );
    };
    check(None, None, Some(5), VisitorStatus::NotDrawn);
    check(Some(5), None, Some(5), VisitorStatus::Waiting(1));
    check(Some(9), None, Some(5), VisitorStatus::Waiting(5));
    check(Some(10), None, Some(5), VisitorStatus::BeyondStock(6));
    check(Some(10), None, None, VisitorStatus::Waiting(6));
    check(Some(5), None, Some(0), VisitorStatus::BeyondStock(1));
    check(Some(4), Some(101), Some(0), VisitorStatus::Admitted(Millis(101)));
    check(Some(4), Some(100), Some(9), VisitorStatus::Lapsed);
    check(Some(4), None, Some(9), VisitorStatus::Waiting(1));
}

#[test]
fn a_visitor_who_leaves_keeps_the_rank_until_it_is_admitted() {
    let (now, until) = (Millis(1_000), Millis(2_000));
    let waits = QueuePosition { rank: Some(3), until: None };
    let left = waits.leave(now).expect("a waiting visitor must be able to leave");
    assert_eq!(left, QueuePosition { rank: Some(3), until: Some(LEFT) });
    assert_eq!(left.leave(now), None, "a visitor who has left must not leave again");
    assert_eq!(left.status(&line(3, Some(0), 2), None, now), VisitorStatus::Lapsed);
    assert_eq!(left.reentry_outcome(&line(3, Some(0), 2), now), ReentryOutcome::SamePosition);
    assert_eq!((left.admission_end(until), waits.admission_end(until)), (LEFT, until));
    assert_eq!(
        left.reentry_outcome(&line(3, Some(0), 3), now),
        ReentryOutcome::NewRank,
        "after the rank was admitted, the visitor must get a new rank"
    );
    let drawn = QueuePosition { rank: None, until: Some(LEFT) };
    assert_eq!(drawn.reentry_outcome(&line(3, None, 0), now), ReentryOutcome::SamePosition);
    let admitted = QueuePosition { rank: Some(3), until: Some(until) };
    let gone = admitted.leave(now).expect("an admitted visitor must be able to leave");
    assert_eq!(gone.until, Some(now), "the admission must end immediately");
    assert_eq!(gone.reentry_outcome(&line(3, Some(0), 3), now), ReentryOutcome::NewRank);
    assert_eq!(admitted.reentry_outcome(&line(3, Some(0), 3), now), ReentryOutcome::Unchanged);
    assert_eq!(admitted.leave(until), None, "a visitor must not leave after the admission lapsed");
}

#[test]
fn an_idle_visitors_admission_ends_early_while_others_wait_and_a_used_admission_stays() {
    let whole = 150_000;
    assert_eq!(first_turn_ms(whole, true), IDLE_TURN_MS);
    assert_eq!(
        first_turn_ms(whole, false),
        whole,
        "an admission must have its full length if no other visitor waits"
    );
    assert_eq!(first_turn_ms(5_000, true), 5_000, "a short admission must not become shorter");
    let (admitted, first) = (Millis(1_000), Millis(1_000 + IDLE_TURN_MS));
    let kept = |until, now| extended_end(admitted, until, whole, Millis(now));
    assert_eq!(kept(first, 1_000), Some(Millis(151_000)));
    assert_eq!(
        kept(first, first.0 - 1),
        Some(Millis(151_000)),
        "an admission must be extended even at its last moment"
    );
    assert_eq!(kept(first, first.0), None, "an ended admission must not be extended");
    assert_eq!(kept(Millis(151_000), 2_000), None, "a full admission must not be extended again");
}
