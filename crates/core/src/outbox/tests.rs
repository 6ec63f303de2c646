//! Tests one delivery queue, step by step.

use super::*;
use crate::limits::DEFERRED_PAUSE_MAX_MS;

mod down;
mod pause;
mod random_failures;
mod recovery;
mod refusals;

const AT: Millis = Millis(1_000_000);

fn failed() -> SendOutcome {
    SendOutcome::Failed { error: "no".to_owned(), pause_ms: 0 }
}

fn later() -> SendOutcome {
    SendOutcome::Deferred { error: "not known".to_owned() }
}

fn refused() -> SendOutcome {
    SendOutcome::Refused { error: "400".to_owned() }
}

fn bounds() -> DeliveryBounds {
    DeliveryBounds { tries: 4, refusals: 3, refused_ms: 0, at_once: 3, window: 8, pending: 6 }
}

fn queue(events: &[&str]) -> DeliveryQueue {
    let mut queue = DeliveryQueue::new(bounds(), 0, Vec::new());
    events.iter().zip(1..).for_each(|(about, at)| queue.add(at, about, true));
    queue
}

fn sent(queue: &mut DeliveryQueue, now: Millis) -> Vec<i64> {
    std::iter::from_fn(|| queue.next(now)).collect()
}

fn is_pending(change: Option<RowChange>, tries: u32, dead: bool) -> bool {
    matches!(change, Some(RowChange::Pending(row)) if row.tries == tries && row.dead == dead)
}

#[test]
fn events_of_one_order_are_sent_in_turn_and_other_orders_in_parallel() {
    let mut queue = queue(&["a", "a", "b", "c", "d"]);
    assert_eq!(sent(&mut queue, AT), [1, 3, 4], "three events of different orders must be sent");
    assert_eq!(queue.record(3, SendOutcome::Delivered, AT, 0), None);
    assert_eq!(queue.next_advance(), None, "the position must not pass an event in delivery");
    assert_eq!(sent(&mut queue, AT), [5]);
    assert_eq!(queue.record(1, SendOutcome::Delivered, AT, 0), None);
    assert_eq!(queue.next_advance(), Some(PositionAdvance { from: 0, to: 1, failed: vec![] }));
    assert_eq!(queue.next_advance(), None, "an advance must wait until the first one is confirmed");
    assert_eq!(sent(&mut queue, AT), [2]);
    for at in [2, 4, 5] {
        queue.record(at, SendOutcome::Delivered, AT, 0);
    }
    queue.confirm_advance();
    assert_eq!(queue.next_advance(), Some(PositionAdvance { from: 1, to: 5, failed: vec![] }));
}

#[test]
fn a_failed_event_is_retried_with_growing_pauses_and_events_behind_it_wait() {
    let mut queue = queue(&["a", "a", "b"]);
    assert_eq!(sent(&mut queue, AT), [1, 3]);
    queue.record(1, failed(), AT, 0);
    queue.record(3, SendOutcome::Delivered, AT, 0);
    let progress = queue.next_advance().expect("the position must move");
    assert_eq!(
        (progress.to, progress.failed.len()),
        (3, 2),
        "the failed event and the event behind it must have rows"
    );
    assert_eq!((progress.failed[0].tries, progress.failed[1].tries), (1, 0));
    queue.confirm_advance();
    let mut now = AT;
    for (tries, wait) in [(2, 750), (3, 1_500)] {
        assert_eq!(queue.next(now), None);
        assert_eq!(queue.next_due_at(), Some(now.plus(wait)));
        now = now.plus(wait);
        assert_eq!(sent(&mut queue, now), [1], "alone");
        let note = queue.record(1, failed(), now, 0);
        assert!(is_pending(note, tries, false));
    }
    now = now.plus(3_000);
    assert_eq!(sent(&mut queue, now), [1]);
    let note = queue.record(1, failed(), now, 0);
    assert!(
        matches!(note, Some(RowChange::Pending(parcel)) if parcel.dead),
        "the event must be dead after four tries"
    );
    assert_eq!(sent(&mut queue, now), [2], "the event behind a dead one must be sent now");
    assert_eq!(queue.record(2, SendOutcome::Delivered, now, 0), Some(RowChange::Delivered(2)));
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn no_event_is_due_while_every_allowed_delivery_is_in_progress() {
    let row = |at| blocked_delivery(at, &format!("o-{at}").into());
    let rows = (1..=4).map(|at| PendingDelivery { next_at: AT, ..row(at) });
    let mut queue = DeliveryQueue::new(bounds(), 4, rows.collect());
    assert_eq!(queue.next_due_at(), Some(AT));
    assert_eq!(sent(&mut queue, AT), [1, 2, 3]);
    assert_eq!(
        queue.next_due_at(),
        None,
        "the driver must not poll while every allowed delivery is in progress"
    );
    assert_eq!(queue.record(2, SendOutcome::Delivered, AT, 0), Some(RowChange::Delivered(2)));
    assert_eq!(queue.next_due_at(), Some(AT));
}

#[test]
fn an_event_that_is_always_refused_does_not_stop_other_events() {
    let mut queue = DeliveryQueue::new(DeliveryBounds { tries: 100, ..bounds() }, 0, Vec::new());
    queue.add(1, "bad", true);
    let mut now = AT;
    for _ in 0..50 {
        assert_eq!(sent(&mut queue, now), [1]);
        queue.record(1, failed(), now, 0);
        queue.next_advance();
        queue.confirm_advance();
        assert!(!queue.is_open());
        now = queue.next_due_at().expect("the event must be tried again");
    }
}

#[test]
fn an_event_refused_during_a_deployment_is_delivered_soon_after() {
    let bounds = DeliveryBounds { tries: 20, pending: 100, ..DeliveryBounds::default() };
    let check = |away_ms: i64, spread: u32, arrives: bool| {
        let mut queue = DeliveryQueue::new(bounds, 0, Vec::new());
        (1..=3).for_each(|at| queue.add(at, &format!("order-{at}"), true));
        queue.add(4, "order-1", true);
        let (mut now, mut delivered, mut dead) = (AT, Vec::new(), 0);
        while queue.waiting() > 0 {
            for at in sent(&mut queue, now) {
                let is_away = now.0 - AT.0 < away_ms && at < 3;
                let note = queue.record(
                    at,
                    if is_away { refused() } else { SendOutcome::Delivered },
                    now,
                    spread,
                );
                dead += u32::from(matches!(note, Some(RowChange::Pending(parcel)) if parcel.dead));
                delivered.extend((!is_away).then_some(at));
            }
            queue.next_advance();
            queue.confirm_advance();
            assert!(now.0 - AT.0 < away_ms + 80_000 || !arrives, "delivered late: {now:?}");
            now = queue.next_due_at().unwrap_or(now).max(now);
        }
        assert_eq!((delivered.contains(&1), dead == 0), (arrives, arrives), "{away_ms}");
        assert_eq!(delivered[0], 3, "events of other orders must not wait");
        assert_eq!(delivered.last(), Some(&4), "the later event of the order must come last");
    };
    for spread in [0, u32::MAX] {
        check(31_000, spread, true);
        check(590_000, spread, true);
        check(3_600_000, spread, false);
    }
}

#[test]
fn an_event_that_cannot_be_rendered_is_dead_at_once_and_does_not_count_against_the_endpoint() {
    let mut queue =
        DeliveryQueue::new(DeliveryBounds { window: 20, pending: 20, ..bounds() }, 0, Vec::new());
    (1..=8).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    queue.add(9, "order-1", true);
    for _ in 0..3 {
        for at in sent(&mut queue, AT) {
            let outcome = if at < 9 {
                SendOutcome::Unsendable { error: "invalid row".to_owned() }
            } else {
                SendOutcome::Delivered
            };
            assert_eq!(queue.record(at, outcome, AT, 0), None);
        }
    }
    let progress = queue.next_advance().expect("the position must move");
    assert!(!queue.is_open() && progress.failed.len() == 9, "{progress:?}");
    assert!(progress.failed[..8].iter().all(|parcel| parcel.dead) && !progress.failed[8].dead);
    queue.confirm_advance();
    assert_eq!(sent(&mut queue, AT), [9], "the event behind a dead one must be sent");
}

#[test]
fn an_event_of_a_newer_version_waits_and_does_not_count_against_the_endpoint() {
    let mut queue =
        DeliveryQueue::new(DeliveryBounds { window: 20, pending: 20, ..bounds() }, 0, Vec::new());
    (1..=8).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    queue.add(9, "order-1", true);
    queue.add(10, "order-10", true);
    while let Some(at) = queue.next(AT) {
        let outcome = if at < 9 { later() } else { SendOutcome::Delivered };
        assert_eq!(queue.record(at, outcome, AT, 0), None);
    }
    let progress = queue.next_advance().expect("the position must move");
    assert!(!queue.is_open() && progress.to == 10, "{progress:?}");
    assert!(progress.failed.iter().all(|parcel| !parcel.dead && parcel.tries == 0), "{progress:?}");
    assert_eq!(progress.failed.len(), 9, "{progress:?}");
    queue.confirm_advance();
    // The newer program takes over the rows and sends their events in order.
    let mut queue = DeliveryQueue::new(
        DeliveryBounds { at_once: 20, ..bounds() },
        progress.to,
        progress.failed,
    );
    let now = queue.next_due_at().expect("the events must be tried again");
    assert!(now > AT && now < AT.plus(10_000), "{now:?}");
    let now = now.plus(1_000);
    let sent_now = sent(&mut queue, now);
    assert_eq!(sent_now, (1..=8).collect::<Vec<_>>());
    sent_now.into_iter().for_each(|at| {
        assert_eq!(queue.record(at, SendOutcome::Delivered, now, 0), Some(RowChange::Delivered(at)))
    });
    assert_eq!(sent(&mut queue, now), [9]);
}

#[test]
fn a_fault_of_this_server_does_not_count_as_a_try() {
    let mut queue = DeliveryQueue::new(
        DeliveryBounds { tries: 2, at_once: 8, window: 8, pending: 8, ..bounds() },
        0,
        Vec::new(),
    );
    (1..=8).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    let (mut now, mut pauses) = (AT, Vec::new());
    for _ in 0..20 {
        let all = sent(&mut queue, now);
        assert_eq!(all.len(), 8);
        for at in all {
            let note = queue.record(at, later(), now, 0);
            assert!(note.is_none_or(|note| matches!(
                note,
                RowChange::Pending(parcel) if parcel.tries == 0 && !parcel.dead
            )));
        }
        assert!(!queue.is_open(), "an endpoint that got no request must count as up");
        queue.next_advance();
        queue.confirm_advance();
        let due = queue.next_due_at().expect("the events must be tried again");
        pauses.push(due.0 - now.0);
        now = due;
    }
    assert!(
        pauses.is_sorted() && pauses[0] < 1_000 && pauses[19] <= DEFERRED_PAUSE_MAX_MS,
        "{pauses:?}"
    );
    // A failure of the endpoint counts as a try. An attempt that ends because this program is too
    // old for the event does not count.
    assert_eq!(sent(&mut queue, now).len(), 8);
    assert!(is_pending(queue.record(1, failed(), now, 0), 1, false));
    now = now.plus(750);
    assert_eq!(sent(&mut queue, now), [1]);
    assert!(is_pending(queue.record(1, failed(), now, 0), 2, true));
}

#[test]
fn an_event_of_a_newer_version_uses_no_try_while_the_endpoint_is_down() {
    let mut queue = DeliveryQueue::new(
        DeliveryBounds { tries: 20, at_once: 20, window: 20, pending: 20, ..bounds() },
        0,
        Vec::new(),
    );
    (1..=8).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    let outcome = |at| if at > 5 { later() } else { failed() };
    sent(&mut queue, AT)
        .into_iter()
        .for_each(|at| assert_eq!(queue.record(at, outcome(at), AT, 0), None));
    assert!(queue.is_open() && queue.next_advance().is_some_and(|progress| progress.to == 8));
    queue.confirm_advance();
    let (mut now, mut probes, mut tries) = (AT, 0, [0; 9]);
    while now < AT.plus(3_600_000) {
        now = queue.next_due_at().expect("an event is left to try").max(now);
        for at in sent(&mut queue, now) {
            probes += usize::from(at <= 5);
            if let Some(RowChange::Pending(parcel)) = queue.record(at, outcome(at), now, 0) {
                assert!(!parcel.dead, "{parcel:?}");
                tries[usize::try_from(at).expect("small")] = parcel.tries;
            }
        }
    }
    // The pause of an event doubles after each try, so the event gets about twelve tries in an
    // hour. The endpoint as a whole is tried about once a minute.
    assert!(tries.iter().all(|tries| *tries <= 13), "{tries:?}");
    assert_eq!(tries[6..], [0; 3]);
    assert!((30..=150).contains(&probes), "{probes}");
}

#[test]
fn an_endpoint_that_is_down_and_has_no_events_is_not_tried() {
    let mut queue = queue(&["a", "b", "c", "d", "e"]);
    while let Some(at) = queue.next(AT) {
        queue.record(at, failed(), AT, 0);
    }
    queue.next_advance();
    queue.confirm_advance();
    assert!(queue.is_open() && queue.next_due_at().is_some());
    queue.replace_rows(Vec::new());
    assert_eq!(queue.next_due_at(), None, "a discarded event must not be due");
}

#[test]
fn an_endpoint_that_is_gone_loses_no_event_and_no_try_is_counted() {
    let mut queue = queue(&["a", "a", "b"]);
    assert_eq!(sent(&mut queue, AT), [1, 3]);
    queue.record(1, failed(), AT, 0);
    queue.record(3, SendOutcome::Gone, AT, 0);
    let progress = queue.next_advance().expect("the position must pass the failed event");
    assert_eq!((progress.to, progress.failed.len()), (2, 2), "the third event must have no row");
    queue.confirm_advance();
    let later = AT.plus(10_000);
    assert_eq!(sent(&mut queue, later), [1, 3]);
    assert_eq!(queue.record(1, SendOutcome::Gone, later, 0), None);
    assert_eq!(queue.rows[&1].parcel.tries, 1);
    assert_eq!(queue.waiting(), 3);
}

#[test]
fn a_refusal_after_other_failures_counts_as_the_first_and_shows_that_the_endpoint_is_up() {
    let names: Vec<String> = (0..8).map(|n| format!("order-{n}")).collect();
    let mut queue = queue(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut now = AT;
    while !queue.is_open() {
        for at in sent(&mut queue, now) {
            queue.record(at, failed(), now, 0);
        }
        queue.next_advance();
        queue.confirm_advance();
        now = now.plus(1);
    }
    now = queue.next_due_at().expect("an event must be tried again");
    let tried = sent(&mut queue, now);
    let note = queue.record(tried[0], refused(), now, 0);
    assert!(!queue.is_open());
    assert!(
        matches!(note, Some(RowChange::Pending(parcel)) if !parcel.dead),
        "one refusal must not make an event dead"
    );
    assert_eq!(sent(&mut queue, now).len(), bounds().at_once);
}

#[test]
fn an_operators_retry_is_sent_at_once_with_all_tries() {
    let row =
        |tries, next_at| PendingDelivery { tries, next_at, ..blocked_delivery(1, &"a".into()) };
    let mut queue = DeliveryQueue::new(
        DeliveryBounds { tries: 20, ..bounds() },
        1,
        vec![row(14, AT.plus(8_000_000))],
    );
    assert_eq!(sent(&mut queue, AT), [1], "the endpoint must be tried after a restart");
    assert!(is_pending(queue.record(1, failed(), AT, 0), 14, false), "this try must not count");
    assert_eq!(queue.next(AT), None);
    queue.replace_rows(vec![row(0, AT)]);
    assert_eq!(sent(&mut queue, AT), [1]);
    let note = queue.record(1, failed(), AT, 0);
    assert!(
        matches!(note, Some(RowChange::Pending(parcel)) if parcel.tries == 1),
        "an operator's retry must restore all tries"
    );
}

#[test]
fn events_behind_a_given_up_event_wait_until_the_store_has_recorded_that() {
    let mut queue = DeliveryQueue::new(DeliveryBounds { tries: 1, ..bounds() }, 0, Vec::new());
    queue.add(1, "a", true);
    queue.add(2, "a", true);
    assert_eq!(sent(&mut queue, AT), [1]);
    queue.record(1, failed(), AT, 0);
    let progress = queue.next_advance().expect("the position must move");
    assert!(progress.failed[0].dead && !progress.failed[1].dead);
    assert_eq!(
        queue.next(AT),
        None,
        "event 2 must wait until the store has recorded that event 1 is dead"
    );
    queue.confirm_advance();
    assert_eq!(sent(&mut queue, AT), [2]);
}

#[test]
fn an_endpoint_with_too_many_pending_rows_gets_no_new_events() {
    let rows = (1..=6).map(|at| PendingDelivery {
        next_at: AT.plus(60_000),
        ..blocked_delivery(at, &format!("o-{at}").into())
    });
    let mut queue = DeliveryQueue::new(bounds(), 10, rows.collect());
    (11..=18).for_each(|at| queue.add(at, "x", true));
    assert_eq!(queue.free_capacity(), 0);
    assert_eq!(sent(&mut queue, AT), [11]);
    queue.record(11, failed(), AT, 0);
    assert_eq!(queue.next_advance(), None, "at the bound, no event may get a new row");
    assert_eq!(
        sent(&mut queue, AT.plus(50_000)),
        [] as [i64; 0],
        "a failed event without a row must not be sent again"
    );
    queue.replace_rows(vec![]);
    assert!(queue.next_advance().is_some(), "without rows, the position must move");
}

#[test]
fn an_event_that_an_operator_adds_is_sent_before_later_events_of_its_key() {
    let mut queue = queue(&["a", "b"]);
    let position = 0;
    queue.replace_rows(vec![blocked_delivery(position, &"a".into())]);
    assert_eq!(sent(&mut queue, AT), [position, 2]);
    queue.replace_rows(vec![]);
    assert_eq!(
        queue.record(position, SendOutcome::Delivered, AT, 0),
        Some(RowChange::Delivered(position)),
        "the queue must still know an event in delivery"
    );
    assert_eq!(sent(&mut queue, AT), [1]);
}
