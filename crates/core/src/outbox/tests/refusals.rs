//! Tests events that the endpoint refuses: when the queue gives them up, and what happens to the
//! other events.
use super::*;

const REFUSED_MS: i64 = 100_000;

fn is_dead(change: Option<&RowChange>) -> bool {
    matches!(change, Some(RowChange::Pending(row)) if row.dead)
}

/// Sends 40 events, more than `pending` allows, to an endpoint that accepts only some of them.
/// Returns when the endpoint accepted event 40, in milliseconds, and the number of dead events.
fn refuse_others(accepts: fn(i64) -> bool) -> (i64, usize) {
    let bounds = DeliveryBounds { tries: 100, refused_ms: REFUSED_MS, ..bounds() };
    let mut queue = DeliveryQueue::new(bounds, 0, Vec::new());
    let (mut now, mut accepted_at, mut dead) = (AT, 0_i64, 0_usize);
    while queue.read_after() < 40 || queue.waiting() > 0 {
        assert!(now.0 - AT.0 < 10 * REFUSED_MS, "{} events still wait", queue.waiting());
        while queue.free_capacity() > 0 && queue.read_after() < 40 {
            let at = queue.read_after() + 1;
            queue.add(at, &format!("order-{at}"), true);
        }
        for at in sent(&mut queue, now) {
            if at == 40 {
                accepted_at = now.0 - AT.0;
            }
            let outcome = if accepts(at) { SendOutcome::Delivered } else { refused() };
            let change = queue.record(at, outcome, now, 0);
            dead += usize::from(is_dead(change.as_ref()));
            assert!(
                !is_dead(change.as_ref()) || is_pending(change, 3, true),
                "only three refusals may count as tries"
            );
            assert!(!queue.is_open(), "an endpoint that answers must count as up");
        }
        queue.next_advance();
        queue.confirm_advance();
        now = now.plus(1_000);
    }
    (accepted_at, dead)
}

#[test]
fn an_endpoint_that_refuses_many_events_is_up_and_gets_the_others() {
    // At least `pending` / 2 events are refused, and the endpoint accepts others. So most of the
    // refused events are dead before `refused_ms`.
    let (accepted_at, dead) = refuse_others(|at| at % 4 == 0);
    assert_eq!(dead, 30);
    assert!(accepted_at < REFUSED_MS, "event 40 was accepted after {accepted_at} ms");
}

#[test]
fn an_endpoint_that_refuses_everything_gets_a_new_event_when_the_refused_ones_are_dead() {
    // The endpoint accepts nothing, so every refused event waits for at least `refused_ms`.
    let (accepted_at, dead) = refuse_others(|at| at == 40);
    assert_eq!(dead, 39);
    assert!(accepted_at > 2 * REFUSED_MS, "event 40 was accepted after {accepted_at} ms");
}

#[test]
fn an_endpoint_that_refuses_everything_for_three_minutes_loses_nothing() {
    const EVENTS: usize = 4_800;
    // Each order has two events, two seconds apart.
    let order_of = |at: i64| (at / 80, at % 40);
    let mut queue = DeliveryQueue::new(DeliveryBounds::default(), 0, Vec::new());
    let mut accepted: HashMap<(i64, i64), Vec<i64>> = HashMap::new();
    let (mut now, mut arrived, mut total) = (AT, 0_i64, 0_usize);
    while total < EVENTS {
        let away_ms = now.0 - AT.0;
        assert!(away_ms < 300_000, "only {total} events were accepted");
        arrived = (arrived + 5).min(EVENTS as i64);
        loop {
            while queue.free_capacity() > 0 && queue.read_after() < arrived {
                let at = queue.read_after() + 1;
                queue.add(at, &format!("order-{:?}", order_of(at)), true);
            }
            let positions = sent(&mut queue, now);
            for at in &positions {
                let is_away = away_ms < 180_000;
                let outcome = if is_away { refused() } else { SendOutcome::Delivered };
                let change = queue.record(*at, outcome, now, 0);
                assert!(!is_dead(change.as_ref()), "event {at} is dead after {away_ms} ms");
                if !is_away {
                    accepted.entry(order_of(*at)).or_default().push(*at);
                    total += 1;
                }
            }
            while let Some(progress) = queue.next_advance() {
                assert!(progress.failed.iter().all(|row| !row.dead), "dead after {away_ms} ms");
                queue.confirm_advance();
            }
            if positions.is_empty() {
                break;
            }
        }
        now = now.plus(250);
    }
    for (order, positions) in &accepted {
        assert!(positions.is_sorted(), "order {order:?} got its events as {positions:?}");
    }
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn refusals_leave_enough_tries_for_failures() {
    let mut queue = DeliveryQueue::new(DeliveryBounds::default(), 0, Vec::new());
    queue.add(1, "order-1", true);
    let (mut now, mut failures) = (AT, vec![1_037_000_i64, 587_000]);
    while now.0 - AT.0 < 1_200_000 {
        for at in sent(&mut queue, now) {
            let fails = failures.pop_if(|from| now.0 - AT.0 >= *from).is_some();
            let before = queue.rows.get(&at).map_or(0, |row| row.parcel.tries);
            let change = queue.record(at, if fails { failed() } else { refused() }, now, 0);
            assert!(!is_dead(change.as_ref()), "the event is dead after {} ms", now.0 - AT.0);
            if let Some(RowChange::Pending(row)) = change {
                assert!(row.can_follow(before), "the store must accept the changed row");
            }
        }
        queue.next_advance();
        queue.confirm_advance();
        now = queue.next_due_at().expect("the event must be tried again");
    }
    assert_eq!(failures, [] as [i64; 0]);
    assert_eq!(queue.rows[&1].parcel.tries, 8, "six refusals and two failures must count");
}
