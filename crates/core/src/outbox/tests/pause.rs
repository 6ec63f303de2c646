//! Tests the pause that an endpoint asks for in its answer. No event is sent during the pause. Only
//! an operator can end the pause early, with a retry or a new address.
use super::*;
use crate::limits::{DEFERRALS_MAX, DEFERRED_PAUSE_MAX_MS};

fn asks(pause_ms: i64) -> SendOutcome {
    SendOutcome::Failed { error: "503".to_owned(), pause_ms }
}

/// Returns a queue with this many events. At most eight of them are in delivery at the same time.
fn wide(events: i64) -> DeliveryQueue {
    let bounds = DeliveryBounds { tries: 20, at_once: 8, window: 20, pending: 20, ..bounds() };
    let mut queue = DeliveryQueue::new(bounds, 0, Vec::new());
    (1..=events).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    queue
}

fn keep(queue: &mut DeliveryQueue) {
    queue.next_advance();
    queue.confirm_advance();
}

#[test]
fn an_endpoint_may_ask_for_a_longer_pause() {
    let mut queue = queue(&["a"]);
    assert_eq!(sent(&mut queue, AT), [1]);
    queue.record(1, asks(30_000), AT, u32::MAX);
    queue.next_advance().expect("a row");
    assert_eq!(queue.next_due_at(), None, "nothing may be due until the store has the row");
    queue.confirm_advance();
    assert_eq!(queue.next_due_at(), Some(AT.plus(30_000)));
}

#[test]
fn a_pause_holds_new_events_and_an_accepted_event_does_not_end_it() {
    let mut queue = queue(&["a", "b", "c", "d", "e"]);
    assert_eq!(sent(&mut queue, AT), [1, 2, 3]);
    queue.record(1, asks(30_000), AT, 0);
    assert_eq!(queue.next(AT), None, "new events must wait during a pause");
    queue.record(2, SendOutcome::Delivered, AT.plus(10_000), 0);
    queue.record(3, failed(), AT.plus(11_000), 0);
    keep(&mut queue);
    assert_eq!(sent(&mut queue, AT.plus(29_999)), [] as [i64; 0]);
    assert_eq!(queue.next_due_at(), Some(AT.plus(30_000)));
    assert_eq!(
        sent(&mut queue, AT.plus(30_000)),
        [1, 3, 4],
        "delivery must continue after the pause"
    );
    assert!(!queue.is_open());
}

#[test]
fn new_events_are_due_at_the_end_of_a_pause() {
    let mut queue = queue(&["a", "b", "c", "d"]);
    assert_eq!(sent(&mut queue, AT), [1, 2, 3]);
    queue.record(1, asks(5_000), AT, 0);
    queue.record(2, SendOutcome::Delivered, AT, 0);
    queue.record(3, SendOutcome::Delivered, AT, 0);
    assert_eq!(
        queue.next_due_at(),
        Some(AT.plus(5_000)),
        "the fourth event must be due after the pause; the first event waits for its stored row"
    );
    assert_eq!(sent(&mut queue, AT.plus(5_000)), [4]);
}

#[test]
fn an_endpoint_that_is_down_is_not_tried_in_a_pause() {
    let mut queue = wide(10);
    for at in sent(&mut queue, AT) {
        queue.record(at, asks(600_000), AT, 0);
    }
    keep(&mut queue);
    assert!(queue.is_open());
    let mut now = AT;
    for round in 1..4 {
        let over = now.plus(600_000);
        assert_eq!(queue.next_due_at(), Some(over), "round {round}");
        assert_eq!(sent(&mut queue, Millis(over.0 - 1)), [] as [i64; 0]);
        now = over;
        let probe = sent(&mut queue, now);
        assert_eq!(probe.len(), 1, "the endpoint must get one event at a time");
        queue.record(probe[0], asks(600_000), now, 0);
        keep(&mut queue);
    }
    now = now.plus(600_000);
    let probe = sent(&mut queue, now);
    queue.record(probe[0], SendOutcome::Delivered, now, 0);
    assert_eq!(
        sent(&mut queue, now).len(),
        8,
        "after the pause, an endpoint that is up must get eight events in parallel"
    );
}

#[test]
fn neither_a_shorter_pause_nor_a_refusal_ends_a_pause() {
    let mut queue = wide(10);
    let in_flight = sent(&mut queue, AT);
    for at in &in_flight[..6] {
        queue.record(*at, asks(60_000), AT, 0);
    }
    assert!(queue.is_open());
    queue.record(in_flight[6], asks(1_000), AT, 0);
    queue.record(in_flight[7], refused(), AT, 0);
    keep(&mut queue);
    assert!(!queue.is_open(), "an endpoint that refuses an event must count as up");
    assert_eq!(sent(&mut queue, AT.plus(59_999)), [] as [i64; 0]);
    assert_eq!(sent(&mut queue, AT.plus(60_000)).len(), 8);
}

#[test]
fn an_operators_retry_ends_a_pause() {
    let hour = 3_600_000;
    let check = |row: PendingDelivery, wanted: &[i64]| {
        let mut queue = wide(2);
        assert_eq!(sent(&mut queue, AT), [1, 2]);
        queue.record(1, asks(hour), AT, 0);
        queue.record(2, SendOutcome::Delivered, AT, 0);
        keep(&mut queue);
        let now = AT.plus(5_000);
        // The queue reads its rows again before an operator requests a retry. This must not end the
        // pause.
        let known = queue.rows[&1].parcel.clone();
        queue.replace_rows(vec![known.clone()]);
        assert_eq!(queue.next(now), None);
        queue.replace_rows(if row.position == 1 { vec![row] } else { vec![row, known] });
        assert_eq!(sent(&mut queue, now), wanted);
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
fn a_new_address_ends_pauses_and_clears_failures() {
    let mut queue = wide(8);
    for at in sent(&mut queue, AT) {
        queue.record(at, asks(3_600_000), AT, 0);
    }
    keep(&mut queue);
    assert!(queue.is_open());
    let now = AT.plus(1_000);
    assert_eq!(queue.next(now), None);
    queue.reset_for_new_address(now);
    assert!(!queue.is_open());
    assert_eq!(sent(&mut queue, now).len(), 8);
}

#[test]
fn an_answer_from_an_earlier_address_does_not_affect_the_new_one() {
    let mut queue = wide(3);
    assert_eq!(sent(&mut queue, AT), [1, 2, 3]);
    // The store gets no row for event 2 yet, because event 1 is still in delivery.
    queue.record(2, asks(3_600_000), AT, 0);
    queue.reset_for_new_address(AT);
    queue.sent_to_old_address(1);
    assert_eq!(sent(&mut queue, AT), [1], "the event must be due, as if it had not been sent");
    queue.record(1, SendOutcome::Delivered, AT, 0);
    queue.record(3, SendOutcome::Delivered, AT, 0);
    keep(&mut queue);
    assert_eq!(sent(&mut queue, AT), [2], "the pause for the old address must be over");
}

#[test]
fn an_event_that_cannot_be_sent_for_36_hours_is_dead() {
    let mut queue = wide(1);
    for times in 1..=DEFERRALS_MAX {
        let now = AT.plus(i64::from(times) * 2 * DEFERRED_PAUSE_MAX_MS);
        assert_eq!(sent(&mut queue, now), [1], "{times}");
        let note = queue.record(
            1,
            SendOutcome::Deferred { error: "not known to this version".to_owned() },
            now,
            0,
        );
        let is_dead = matches!(&note, Some(RowChange::Pending(parcel)) if parcel.dead);
        assert_eq!(is_dead, times == DEFERRALS_MAX, "{times}: {note:?}");
        keep(&mut queue);
    }
}
