//! Tests the tries before an event's `next_at`. With these early tries, the queue soon notices that
//! an endpoint works again. An early try does not count as a try of the event.
use super::*;

const HOUR_MS: i64 = 3_600_000;

fn production_queue(rows: Vec<PendingDelivery>) -> DeliveryQueue {
    let position = rows.last().map_or(0, |row| row.position);
    DeliveryQueue::new(DeliveryBounds::default(), position, rows)
}

/// Sends the events that can be sent now. Returns the number of attempts, and the number of events
/// that are dead now.
fn send_all(
    queue: &mut DeliveryQueue,
    now: Millis,
    outcome: impl Fn(i64) -> SendOutcome,
) -> (usize, usize) {
    let (mut attempts, mut dead) = (0, 0);
    loop {
        let positions = sent(queue, now);
        attempts += positions.len();
        for at in &positions {
            let change = queue.record(*at, outcome(*at), now, 0);
            dead += usize::from(matches!(change, Some(RowChange::Pending(row)) if row.dead));
        }
        while let Some(progress) = queue.next_advance() {
            dead += progress.failed.iter().filter(|row| row.dead).count();
            queue.confirm_advance();
        }
        if positions.is_empty() {
            return (attempts, dead);
        }
    }
}

#[test]
fn a_recovery_of_the_endpoint_spends_no_try_of_the_events_that_still_fail() {
    const BAD: i64 = 60;
    let mut queue = production_queue(Vec::new());
    let outcome = |at: i64| {
        let fails = at % 2 == 0 && at <= 2 * BAD;
        if fails { failed() } else { SendOutcome::Delivered }
    };
    let (mut now, mut attempts, mut dead) = (AT, 0, 0);
    // An event arrives each second. Each try of 60 of the events fails. After five failures in a
    // row, the endpoint counts as down until it accepts an event.
    for at in 1..=7_200 {
        queue.add(at, &format!("order-{at}"), true);
        let (more, now_dead) = send_all(&mut queue, now, outcome);
        (attempts, dead) = (attempts + more, dead + now_dead);
        now = now.plus(1_000);
    }
    assert_eq!(dead, 0, "20 tries must take longer than two hours");
    assert_eq!(queue.rows.len(), usize::try_from(BAD).expect("a small number"));
    assert!(queue.rows.values().all(|row| row.parcel.tries <= 14), "{:?}", queue.rows);
    assert!(attempts < 7_200 * 10, "{attempts} attempts");
}

#[test]
fn after_a_long_outage_a_few_events_are_delivered_within_a_minute() {
    for events in 1..=4 {
        let mut queue = production_queue(Vec::new());
        (1..=events).for_each(|at| queue.add(at, &format!("order-{at}"), true));
        let mut now = AT;
        let ends_at = AT.plus(9 * HOUR_MS);
        while now < ends_at {
            send_all(&mut queue, now, |_| failed());
            assert!(!queue.is_open(), "fewer than five events must not count as an outage");
            now = queue.next_due_at().expect("a failed event must be tried again");
        }
        let tries: Vec<u32> = queue.rows.values().map(|row| row.parcel.tries).collect();
        assert!(tries.iter().all(|tries| (14..=17).contains(tries)), "{tries:?}");
        while queue.waiting() > 0 {
            send_all(&mut queue, now, |_| SendOutcome::Delivered);
            now = queue.next_due_at().unwrap_or(now);
        }
        assert!(now.0 - ends_at.0 <= 2 * BREAKER_PAUSE_MAX_MS, "{} ms", now.0 - ends_at.0);
    }
}

#[test]
fn an_event_that_fails_alone_gets_one_early_try_for_each_try_that_counts() {
    let mut queue = production_queue(Vec::new());
    let (mut now, mut attempts) = (AT, 0);
    queue.add(1, "bad", true);
    for at in 2..=12_000 {
        queue.add(at, &format!("order-{at}"), true);
        let outcome = |at| if at == 1 { failed() } else { SendOutcome::Delivered };
        attempts += send_all(&mut queue, now, outcome).0;
        now = now.plus(5_000);
    }
    let tries = queue.rows[&1].parcel.tries;
    let of_bad = attempts - 11_999;
    assert!(tries >= 16 && of_bad <= 2 * tries as usize, "{of_bad} attempts, {tries} counted");
}

#[test]
fn after_a_restart_a_failed_event_is_tried_at_once_without_counting() {
    let row = PendingDelivery {
        tries: 9,
        next_at: AT.plus(HOUR_MS),
        error: Some("no".to_owned()),
        ..blocked_delivery(1, &"order-1".into())
    };
    let mut queue = production_queue(vec![row]);
    assert_eq!(sent(&mut queue, AT), [1]);
    assert_eq!(
        queue.record(1, failed(), AT, 0),
        None,
        "an early try must not count, and the row already has its error"
    );
    assert_eq!(queue.next_due_at(), Some(AT.plus(45_000)));
}

#[test]
fn an_early_try_that_fails_with_another_error_changes_only_the_error() {
    let row = PendingDelivery {
        tries: 9,
        next_at: AT.plus(HOUR_MS),
        error: Some("a".to_owned()),
        ..blocked_delivery(1, &"order-1".into())
    };
    let mut queue = production_queue(vec![row.clone()]);
    assert_eq!(sent(&mut queue, AT), [1]);
    let outcome = SendOutcome::Failed { error: "b".to_owned(), pause_ms: 0 };
    let changed = PendingDelivery { error: Some("b".to_owned()), ..row };
    assert!(changed.can_follow(9), "the store must accept the changed row");
    assert_eq!(queue.record(1, outcome, AT, 0), Some(RowChange::Pending(changed)));
    assert_eq!(queue.next_due_at(), Some(AT.plus(45_000)));
}

#[test]
fn an_outage_does_not_shorten_the_time_of_refusals() {
    let row = PendingDelivery { tries: 18, next_at: AT, ..blocked_delivery(1, &"order-1".into()) };
    let mut queue = production_queue(vec![row]);
    let mut now = AT;
    while now.0 - AT.0 < 590_000 {
        let (_, dead) = send_all(&mut queue, now, |_| refused());
        assert_eq!(dead, 0, "the event is dead after {} ms of refusals", now.0 - AT.0);
        now = queue.next_due_at().expect("a refused event must be tried again");
    }
}

/// While the shop is being deployed, the deliveries of most events fail, and the endpoint refuses
/// the other events. The failures open the breaker, and each refusal closes it again.
#[test]
fn early_refusals_do_not_shorten_the_time_of_refusals() {
    let mut queue = production_queue(Vec::new());
    (1..=12).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    let (mut now, mut refusals) = (AT, 0);
    while now.0 - AT.0 < 590_000 {
        let outcome = |at: i64| if at <= 4 { refused() } else { failed() };
        let (attempts, dead) = send_all(&mut queue, now, outcome);
        refusals += attempts;
        assert_eq!(dead, 0, "an event is dead after {} ms", now.0 - AT.0);
        now = queue.next_due_at().expect("an event must be tried again").max(now.plus(1));
    }
    assert!(refusals > 400, "the refusals must end the outage often: {refusals} attempts");
}
