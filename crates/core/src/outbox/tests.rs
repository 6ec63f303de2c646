//! One desk, step by step.

use super::*;
use crate::limits::DEFERRED_PAUSE_MAX_MS;

mod down;
mod pause;
mod whatever;

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

fn desk(events: &[&str]) -> DeliveryQueue {
    let mut desk = DeliveryQueue::new(bounds(), 0, Vec::new());
    events.iter().zip(1..).for_each(|(about, at)| desk.read(at, about, true));
    desk
}

fn sent(desk: &mut DeliveryQueue, now: Millis) -> Vec<i64> {
    std::iter::from_fn(|| desk.next(now)).collect()
}

#[test]
fn events_of_one_order_go_one_after_another_and_others_beside_them() {
    let mut desk = desk(&["a", "a", "b", "c", "d"]);
    assert_eq!(sent(&mut desk, AT), [1, 3, 4], "three at once, none behind another of its own");
    assert_eq!(desk.done(3, SendOutcome::Delivered, AT, 0), None);
    assert_eq!(desk.go(), None, "the first is still on its way");
    assert_eq!(sent(&mut desk, AT), [5]);
    assert_eq!(desk.done(1, SendOutcome::Delivered, AT, 0), None);
    assert_eq!(desk.go(), Some(PositionAdvance { from: 0, to: 1, failed: vec![] }));
    assert_eq!(desk.go(), None, "one at a time");
    assert_eq!(sent(&mut desk, AT), [2]);
    for at in [2, 4, 5] {
        desk.done(at, SendOutcome::Delivered, AT, 0);
    }
    desk.gone();
    assert_eq!(desk.go(), Some(PositionAdvance { from: 1, to: 5, failed: vec![] }));
}

#[test]
fn what_failed_is_tried_again_later_each_time_and_those_behind_it_wait() {
    let mut desk = desk(&["a", "a", "b"]);
    assert_eq!(sent(&mut desk, AT), [1, 3]);
    desk.done(1, failed(), AT, 0);
    desk.done(3, SendOutcome::Delivered, AT, 0);
    let progress = desk.go().expect("all is decided");
    assert_eq!(
        (progress.to, progress.failed.len()),
        (3, 2),
        "what failed, and what waits behind it"
    );
    assert_eq!((progress.failed[0].tries, progress.failed[1].tries), (1, 0));
    desk.gone();
    let mut now = AT;
    for (tries, wait) in [(2, 750), (3, 1_500)] {
        assert_eq!(desk.next(now), None);
        assert_eq!(desk.due(), Some(now.plus(wait)));
        now = now.plus(wait);
        assert_eq!(sent(&mut desk, now), [1], "alone");
        let note = desk.done(1, failed(), now, 0);
        assert!(
            matches!(note, Some(RowChange::Pending(parcel)) if parcel.tries == tries && !parcel.dead)
        );
    }
    now = now.plus(3_000);
    assert_eq!(sent(&mut desk, now), [1]);
    let note = desk.done(1, failed(), now, 0);
    assert!(
        matches!(note, Some(RowChange::Pending(parcel)) if parcel.dead),
        "four tries are all it has"
    );
    assert_eq!(sent(&mut desk, now), [2], "the one behind a dead one goes on at once");
    assert_eq!(desk.done(2, SendOutcome::Delivered, now, 0), Some(RowChange::Delivered(2)));
    assert_eq!(desk.waiting(), 0);
}

#[test]
fn where_every_place_is_taken_nothing_is_due() {
    let rows = (1..=4).map(|at| PendingDelivery {
        tries: 1,
        next_at: AT,
        ..blocked_delivery(at, &format!("o-{at}").into())
    });
    let mut desk = DeliveryQueue::new(bounds(), 4, rows.collect());
    assert_eq!(desk.due(), Some(AT));
    assert_eq!(sent(&mut desk, AT), [1, 2, 3]);
    assert_eq!(
        desk.due(),
        None,
        "or whoever drives it would ask again and again while they are on their way"
    );
    assert_eq!(desk.done(2, SendOutcome::Delivered, AT, 0), Some(RowChange::Delivered(2)));
    assert_eq!(desk.due(), Some(AT));
}

#[test]
fn one_event_that_is_always_refused_stops_nobody_else() {
    let mut desk = DeliveryQueue::new(DeliveryBounds { tries: 100, ..bounds() }, 0, Vec::new());
    desk.read(1, "bad", true);
    let mut now = AT;
    for _ in 0..50 {
        assert_eq!(sent(&mut desk, now), [1]);
        desk.done(1, failed(), now, 0);
        desk.go();
        desk.gone();
        assert!(!desk.is_open());
        now = desk.due().expect("it is tried again");
    }
}

#[test]
fn an_endpoint_that_refuses_many_is_not_down_and_goes_on_hearing_the_others() {
    // However long it would have: there is no room for so many.
    let mut desk = DeliveryQueue::new(
        DeliveryBounds { tries: 100, refused_ms: 100_000, ..bounds() },
        0,
        Vec::new(),
    );
    let (mut now, mut told, mut dead) = (AT, 0, 0);
    // Far more that it refuses than rows may wait, and one that it takes at the end.
    for _ in 0..200 {
        while desk.room() > 0 && desk.read_after() < 40 {
            let at = desk.read_after() + 1;
            desk.read(at, &format!("order-{at}"), true);
        }
        for at in sent(&mut desk, now) {
            let outcome = if at == 40 { SendOutcome::Delivered } else { refused() };
            told += u32::from(at == 40);
            let note = desk.done(at, outcome, now, 0);
            dead += u32::from(
                matches!(note, Some(RowChange::Pending(parcel)) if parcel.dead && parcel.tries >= 3),
            );
            assert!(!desk.is_open(), "it is there: it answers");
        }
        desk.go();
        desk.gone();
        now = now.plus(1_000);
    }
    assert_eq!((told, dead, desk.waiting()), (1, 39, 0));
}

#[test]
fn what_is_refused_while_a_shop_is_renewed_is_told_soon_after() {
    let bounds = DeliveryBounds { tries: 20, pending: 100, ..DeliveryBounds::default() };
    let check = |away_ms: i64, spread: u32, is_told: bool| {
        let mut desk = DeliveryQueue::new(bounds, 0, Vec::new());
        (1..=3).for_each(|at| desk.read(at, &format!("order-{at}"), true));
        desk.read(4, "order-1", true);
        let (mut now, mut told, mut dead) = (AT, Vec::new(), 0);
        while desk.waiting() > 0 {
            for at in sent(&mut desk, now) {
                let is_away = now.0 - AT.0 < away_ms && at < 3;
                let note = desk.done(
                    at,
                    if is_away { refused() } else { SendOutcome::Delivered },
                    now,
                    spread,
                );
                dead += u32::from(matches!(note, Some(RowChange::Pending(parcel)) if parcel.dead));
                told.extend((!is_away).then_some(at));
            }
            desk.go();
            desk.gone();
            assert!(now.0 - AT.0 < away_ms + 80_000 || !is_told, "it hears soon: {now:?}");
            now = desk.due().unwrap_or(now).max(now);
        }
        assert_eq!((told.contains(&1), dead == 0), (is_told, is_told), "{away_ms} {told:?}");
        assert_eq!(told[0], 3, "others go on");
        assert_eq!(told.last(), Some(&4), "what is about the same comes after it");
    };
    for spread in [0, u32::MAX] {
        check(31_000, spread, true);
        check(590_000, spread, true);
        check(3_600_000, spread, false);
    }
}

#[test]
fn what_can_never_be_sent_is_dead_at_once_and_says_nothing_of_the_endpoint() {
    let mut desk =
        DeliveryQueue::new(DeliveryBounds { window: 20, pending: 20, ..bounds() }, 0, Vec::new());
    (1..=8).for_each(|at| desk.read(at, &format!("order-{at}"), true));
    desk.read(9, "order-1", true);
    for _ in 0..3 {
        for at in sent(&mut desk, AT) {
            let outcome = if at < 9 {
                SendOutcome::Unsendable { error: "it cannot be read".to_owned() }
            } else {
                SendOutcome::Delivered
            };
            assert_eq!(desk.done(at, outcome, AT, 0), None);
        }
    }
    let progress = desk.go().expect("it is decided");
    assert!(!desk.is_open() && progress.failed.len() == 9, "{progress:?}");
    assert!(progress.failed[..8].iter().all(|parcel| parcel.dead) && !progress.failed[8].dead);
    desk.gone();
    assert_eq!(sent(&mut desk, AT), [9], "those behind it go on");
}

#[test]
fn what_only_a_newer_program_can_send_waits_and_says_nothing_of_the_endpoint() {
    let mut desk =
        DeliveryQueue::new(DeliveryBounds { window: 20, pending: 20, ..bounds() }, 0, Vec::new());
    (1..=8).for_each(|at| desk.read(at, &format!("order-{at}"), true));
    desk.read(9, "order-1", true);
    desk.read(10, "order-10", true);
    while let Some(at) = desk.next(AT) {
        let outcome = if at < 9 { later() } else { SendOutcome::Delivered };
        assert_eq!(desk.done(at, outcome, AT, 0), None);
    }
    let progress = desk.go().expect("it is decided");
    assert!(!desk.is_open() && progress.to == 10, "{progress:?}");
    assert!(progress.failed.iter().all(|parcel| !parcel.dead && parcel.tries == 0), "{progress:?}");
    assert_eq!(progress.failed.len(), 9, "{progress:?}");
    desk.gone();
    // The newer program takes the rows over, and sends them in their order.
    let mut desk = DeliveryQueue::new(
        DeliveryBounds { at_once: 20, ..bounds() },
        progress.to,
        progress.failed,
    );
    let now = desk.due().expect("they are tried again");
    assert!(now > AT && now < AT.plus(10_000), "{now:?}");
    let now = now.plus(1_000);
    let sent_now = sent(&mut desk, now);
    assert_eq!(sent_now, (1..=8).collect::<Vec<_>>());
    sent_now.into_iter().for_each(|at| {
        assert_eq!(desk.done(at, SendOutcome::Delivered, now, 0), Some(RowChange::Delivered(at)))
    });
    assert_eq!(sent(&mut desk, now), [9]);
}

#[test]
fn what_could_not_be_sent_through_no_fault_of_the_endpoints_uses_up_no_try() {
    let mut desk = DeliveryQueue::new(
        DeliveryBounds { tries: 2, at_once: 8, window: 8, pending: 8, ..bounds() },
        0,
        Vec::new(),
    );
    (1..=8).for_each(|at| desk.read(at, &format!("order-{at}"), true));
    let (mut now, mut pauses) = (AT, Vec::new());
    for _ in 0..20 {
        let all = sent(&mut desk, now);
        assert_eq!(all.len(), 8);
        for at in all {
            let note = desk.done(at, later(), now, 0);
            assert!(note.is_none_or(
                |note| matches!(note, RowChange::Pending(parcel) if parcel.tries == 0 && !parcel.dead)
            ));
        }
        assert!(!desk.is_open(), "the endpoint was asked nothing");
        desk.go();
        desk.gone();
        let due = desk.due().expect("they are tried again");
        pauses.push(due.0 - now.0);
        now = due;
    }
    assert!(
        pauses.is_sorted() && pauses[0] < 1_000 && pauses[19] <= DEFERRED_PAUSE_MAX_MS,
        "{pauses:?}"
    );
    // What the endpoint does not take counts from its first try on.
    assert_eq!(sent(&mut desk, now).len(), 8);
    assert!(
        matches!(desk.done(1, failed(), now, 0), Some(RowChange::Pending(parcel)) if parcel.tries == 1 && !parcel.dead)
    );
    now = now.plus(750);
    assert_eq!(sent(&mut desk, now), [1]);
    assert!(
        matches!(desk.done(1, failed(), now, 0), Some(RowChange::Pending(parcel)) if parcel.tries == 2 && parcel.dead)
    );
}

#[test]
fn what_only_a_newer_program_can_send_is_not_used_up_while_the_endpoint_is_down() {
    let mut desk = DeliveryQueue::new(
        DeliveryBounds { tries: 20, at_once: 20, window: 20, pending: 20, ..bounds() },
        0,
        Vec::new(),
    );
    (1..=8).for_each(|at| desk.read(at, &format!("order-{at}"), true));
    let outcome = |at| if at > 5 { later() } else { failed() };
    sent(&mut desk, AT)
        .into_iter()
        .for_each(|at| assert_eq!(desk.done(at, outcome(at), AT, 0), None));
    assert!(desk.is_open() && desk.go().is_some_and(|progress| progress.to == 8));
    desk.gone();
    let (mut now, mut known, mut tries) = (AT, 0, [0; 9]);
    while now < AT.plus(3_600_000) {
        now = desk.due().expect("there is something to try").max(now);
        for at in sent(&mut desk, now) {
            known += usize::from(at <= 5);
            if let Some(RowChange::Pending(parcel)) = desk.done(at, outcome(at), now, 0) {
                assert!(!parcel.dead, "{parcel:?}");
                tries[usize::try_from(at).expect("small")] = parcel.tries;
            }
        }
    }
    // Within an hour an event has its twelfth try at most, by the pauses that double; and the
    // endpoint is asked each minute or so whether it is there.
    assert!(tries.iter().all(|tries| *tries <= 13), "{tries:?}");
    assert_eq!(tries[6..], [0; 3]);
    assert!((30..=150).contains(&known), "{known}");
}

#[test]
fn an_endpoint_that_is_down_and_has_nothing_to_hear_is_not_looked_after() {
    let mut desk = desk(&["a", "b", "c", "d", "e"]);
    while let Some(at) = desk.next(AT) {
        desk.done(at, failed(), AT, 0);
    }
    desk.go();
    desk.gone();
    assert!(desk.is_open() && desk.due().is_some());
    desk.know(Vec::new());
    assert_eq!(desk.due(), None, "an operator discarded them");
}

#[test]
fn an_endpoint_that_is_gone_loses_nothing_and_nothing_is_counted() {
    let mut desk = desk(&["a", "a", "b"]);
    assert_eq!(sent(&mut desk, AT), [1, 3]);
    desk.done(1, failed(), AT, 0);
    desk.done(3, SendOutcome::Gone, AT, 0);
    let progress = desk.go().expect("what failed has a row");
    assert_eq!((progress.to, progress.failed.len()), (2, 2), "what was sent to nobody has none");
    desk.gone();
    let later = AT.plus(10_000);
    assert_eq!(sent(&mut desk, later), [1, 3]);
    assert_eq!(desk.done(1, SendOutcome::Gone, later, 0), None);
    assert_eq!(desk.rows[&1].parcel.tries, 1);
    assert_eq!(desk.waiting(), 3);
}

#[test]
fn a_refusal_after_other_failures_is_the_first_and_says_that_an_endpoint_is_up() {
    let names: Vec<String> = (0..8).map(|n| format!("order-{n}")).collect();
    let mut desk = desk(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut now = AT;
    while !desk.is_open() {
        for at in sent(&mut desk, now) {
            desk.done(at, failed(), now, 0);
        }
        desk.go();
        desk.gone();
        now = now.plus(1);
    }
    now = desk.due().expect("it is tried again");
    let tried = sent(&mut desk, now);
    let note = desk.done(tried[0], refused(), now, 0);
    assert!(!desk.is_open());
    assert!(
        matches!(note, Some(RowChange::Pending(parcel)) if !parcel.dead),
        "one refusal is not enough"
    );
    assert_eq!(sent(&mut desk, now).len(), bounds().at_once);
}

#[test]
fn an_event_that_waits_for_long_is_tried_at_once_when_an_operator_asks() {
    let row =
        |tries, next_at| PendingDelivery { tries, next_at, ..blocked_delivery(1, &"a".into()) };
    let mut desk = DeliveryQueue::new(
        DeliveryBounds { tries: 20, ..bounds() },
        1,
        vec![row(14, AT.plus(8_000_000))],
    );
    assert_eq!(desk.next(AT), None);
    desk.know(vec![row(0, AT)]);
    assert_eq!(sent(&mut desk, AT), [1]);
    let note = desk.done(1, failed(), AT, 0);
    assert!(
        matches!(note, Some(RowChange::Pending(parcel)) if parcel.tries == 1),
        "it has all its tries again"
    );
}

#[test]
fn those_behind_an_event_that_is_given_up_wait_until_the_store_knows() {
    let mut desk = DeliveryQueue::new(DeliveryBounds { tries: 1, ..bounds() }, 0, Vec::new());
    desk.read(1, "a", true);
    desk.read(2, "a", true);
    assert_eq!(sent(&mut desk, AT), [1]);
    desk.done(1, failed(), AT, 0);
    let progress = desk.go().expect("it is decided");
    assert!(progress.failed[0].dead && !progress.failed[1].dead);
    assert_eq!(
        desk.next(AT),
        None,
        "whoever starts again from the store would send the first once more"
    );
    desk.gone();
    assert_eq!(sent(&mut desk, AT), [2]);
}

#[test]
fn a_full_pile_of_rows_is_told_of_nothing_new() {
    let rows = (1..=6).map(|at| PendingDelivery {
        next_at: AT.plus(60_000),
        tries: 1,
        ..blocked_delivery(at, &format!("o-{at}").into())
    });
    let mut desk = DeliveryQueue::new(bounds(), 10, rows.collect());
    (11..=18).for_each(|at| desk.read(at, "x", true));
    assert_eq!(desk.room(), 0);
    assert_eq!(sent(&mut desk, AT), [11]);
    desk.done(11, failed(), AT, 0);
    assert_eq!(desk.go(), None, "there is no room for another row");
    assert_eq!(
        sent(&mut desk, AT.plus(50_000)),
        [] as [i64; 0],
        "nor is it sent again without one"
    );
    desk.know(vec![]);
    assert!(desk.go().is_some(), "an operator discarded the rows");
}

#[test]
fn what_an_operator_adds_is_sent_and_holds_back_what_is_about_the_same() {
    let mut desk = desk(&["a", "b"]);
    let position = 0;
    desk.know(vec![blocked_delivery(position, &"a".into())]);
    assert_eq!(sent(&mut desk, AT), [position, 2]);
    desk.know(vec![]);
    assert_eq!(
        desk.done(position, SendOutcome::Delivered, AT, 0),
        Some(RowChange::Delivered(position)),
        "what flies is not forgotten"
    );
    assert_eq!(sent(&mut desk, AT), [1]);
}
