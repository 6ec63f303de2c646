//! A pause that an endpoint asks for: it holds for everything that the endpoint is to be told, and
//! nothing but an operator shortens it.
use super::*;
use crate::limits::{DEFERRALS_MAX, DEFERRED_PAUSE_MAX_MS};

fn asks(pause_ms: i64) -> SendOutcome {
    SendOutcome::Failed { error: "503".to_owned(), pause_ms }
}

/// A desk of this many orders' events, of which up to eight are on their way at once.
fn wide(events: i64) -> DeliveryQueue {
    let bounds = DeliveryBounds { tries: 20, at_once: 8, window: 20, pending: 20, ..bounds() };
    let mut desk = DeliveryQueue::new(bounds, 0, Vec::new());
    (1..=events).for_each(|at| desk.read(at, &format!("order-{at}"), true));
    desk
}

fn keep(desk: &mut DeliveryQueue) {
    desk.go();
    desk.gone();
}

#[test]
fn an_endpoint_may_ask_for_a_longer_pause() {
    let mut desk = desk(&["a"]);
    assert_eq!(sent(&mut desk, AT), [1]);
    desk.done(1, asks(30_000), AT, u32::MAX);
    desk.go().expect("a row");
    assert_eq!(desk.due(), None, "not before the store has it");
    desk.gone();
    assert_eq!(desk.due(), Some(AT.plus(30_000)));
}

#[test]
fn a_pause_holds_what_is_new_and_what_is_taken_meanwhile_ends_it_no_sooner() {
    let mut desk = desk(&["a", "b", "c", "d", "e"]);
    assert_eq!(sent(&mut desk, AT), [1, 2, 3]);
    desk.done(1, asks(30_000), AT, 0);
    assert_eq!(desk.next(AT), None, "a place is free, and two are new");
    desk.done(2, SendOutcome::Delivered, AT.plus(10_000), 0);
    desk.done(3, failed(), AT.plus(11_000), 0);
    keep(&mut desk);
    assert_eq!(sent(&mut desk, AT.plus(29_999)), [] as [i64; 0]);
    assert_eq!(desk.due(), Some(AT.plus(30_000)));
    assert_eq!(sent(&mut desk, AT.plus(30_000)), [1, 3, 4], "then it goes on");
    assert!(!desk.is_open());
}

#[test]
fn what_is_new_is_due_at_the_end_of_a_pause() {
    let mut desk = desk(&["a", "b", "c", "d"]);
    assert_eq!(sent(&mut desk, AT), [1, 2, 3]);
    desk.done(1, asks(5_000), AT, 0);
    desk.done(2, SendOutcome::Delivered, AT, 0);
    desk.done(3, SendOutcome::Delivered, AT, 0);
    assert_eq!(
        desk.due(),
        Some(AT.plus(5_000)),
        "for the fourth: the first is not in the store yet"
    );
    assert_eq!(sent(&mut desk, AT.plus(5_000)), [4]);
}

#[test]
fn an_endpoint_that_is_down_is_not_tried_in_a_pause() {
    let mut desk = wide(10);
    for at in sent(&mut desk, AT) {
        desk.done(at, asks(600_000), AT, 0);
    }
    keep(&mut desk);
    assert!(desk.is_open());
    let mut now = AT;
    for round in 1..4 {
        let over = now.plus(600_000);
        assert_eq!(desk.due(), Some(over), "round {round}");
        assert_eq!(sent(&mut desk, Millis(over.0 - 1)), [] as [i64; 0]);
        now = over;
        let probe = sent(&mut desk, now);
        assert_eq!(probe.len(), 1, "one at a time");
        desk.done(probe[0], asks(600_000), now, 0);
        keep(&mut desk);
    }
    now = now.plus(600_000);
    let probe = sent(&mut desk, now);
    desk.done(probe[0], SendOutcome::Delivered, now, 0);
    assert_eq!(sent(&mut desk, now).len(), 8, "it is up, and no pause is left");
}

#[test]
fn a_shorter_pause_shortens_none_and_a_refusal_ends_none() {
    let mut desk = wide(10);
    let flying = sent(&mut desk, AT);
    for at in &flying[..6] {
        desk.done(*at, asks(60_000), AT, 0);
    }
    assert!(desk.is_open());
    desk.done(flying[6], asks(1_000), AT, 0);
    desk.done(flying[7], refused(), AT, 0);
    keep(&mut desk);
    assert!(!desk.is_open(), "a refusal says that somebody is there");
    assert_eq!(sent(&mut desk, AT.plus(59_999)), [] as [i64; 0]);
    assert_eq!(sent(&mut desk, AT.plus(60_000)).len(), 8);
}

#[test]
fn an_operator_who_asks_for_an_event_ends_a_pause() {
    let hour = 3_600_000;
    let check = |row: PendingDelivery, wanted: &[i64]| {
        let mut desk = wide(2);
        assert_eq!(sent(&mut desk, AT), [1, 2]);
        desk.done(1, asks(hour), AT, 0);
        desk.done(2, SendOutcome::Delivered, AT, 0);
        keep(&mut desk);
        let now = AT.plus(5_000);
        // As the store has it: nobody asked for anything.
        let known = desk.rows[&1].parcel.clone();
        desk.know(vec![known.clone()]);
        assert_eq!(desk.next(now), None);
        desk.know(if row.position == 1 { vec![row] } else { vec![row, known] });
        assert_eq!(sent(&mut desk, now), wanted);
    };
    let now = AT.plus(4_000);
    check(PendingDelivery { next_at: now, ..blocked_delivery(1, &"order-1".into()) }, &[1]);
    check(
        PendingDelivery { tries: 1, next_at: now, ..blocked_delivery(1, &"order-1".into()) },
        &[1],
    );
    check(PendingDelivery { next_at: now, ..blocked_delivery(0, &"order-0".into()) }, &[0]);
}

#[test]
fn at_another_address_neither_a_pause_nor_a_failure_is_left() {
    let mut desk = wide(8);
    for at in sent(&mut desk, AT) {
        desk.done(at, asks(3_600_000), AT, 0);
    }
    keep(&mut desk);
    assert!(desk.is_open());
    let now = AT.plus(1_000);
    assert_eq!(desk.next(now), None);
    desk.moved(now);
    assert!(!desk.is_open());
    assert_eq!(sent(&mut desk, now).len(), 8);
}

#[test]
fn what_an_address_of_before_answers_says_nothing_of_the_new_one() {
    let mut desk = wide(3);
    assert_eq!(sent(&mut desk, AT), [1, 2, 3]);
    // Kept behind the first, which is on its way still.
    desk.done(2, asks(3_600_000), AT, 0);
    desk.moved(AT);
    desk.sent_to_old_address(1);
    assert_eq!(sent(&mut desk, AT), [1], "it waits as if it had not been sent");
    desk.done(1, SendOutcome::Delivered, AT, 0);
    desk.done(3, SendOutcome::Delivered, AT, 0);
    keep(&mut desk);
    assert_eq!(sent(&mut desk, AT), [2], "what the old address asked for holds no longer");
}

#[test]
fn what_cannot_be_sent_for_a_day_and_a_half_is_given_up() {
    let mut desk = wide(1);
    for times in 1..=DEFERRALS_MAX {
        let now = AT.plus(i64::from(times) * 2 * DEFERRED_PAUSE_MAX_MS);
        assert_eq!(sent(&mut desk, now), [1], "{times}");
        let note =
            desk.done(1, SendOutcome::Deferred { error: "not known here".to_owned() }, now, 0);
        let is_dead = matches!(&note, Some(RowChange::Pending(parcel)) if parcel.dead);
        assert_eq!(is_dead, times == DEFERRALS_MAX, "{times}: {note:?}");
        keep(&mut desk);
    }
}
