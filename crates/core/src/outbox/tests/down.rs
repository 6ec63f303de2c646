//! Tests the queue of an endpoint that is down: which events the queue tries, how soon the queue
//! notices that the endpoint has recovered, and which events the queue gives up.
use std::collections::BTreeSet;

use super::*;
use crate::limits::{BREAKER_TRIES_PER_EVENT, BREAKER_TRIES_PER_PAUSE};

#[test]
fn an_endpoint_that_is_down_gets_one_event_at_a_time_and_each_a_few_times() {
    let names: Vec<String> = (0..8).map(|n| format!("order-{n}")).collect();
    // The limit on tries is so high that no event is given up.
    let mut queue = DeliveryQueue::new(DeliveryBounds { tries: 1_000, ..bounds() }, 0, Vec::new());
    names.iter().zip(1..).for_each(|(about, at)| queue.add(at, about, true));
    let mut now = AT;
    while !queue.is_open() {
        for at in sent(&mut queue, now) {
            queue.record(at, failed(), now, 0);
        }
        queue.next_advance();
        queue.confirm_advance();
        now = now.plus(1);
    }
    let (mut pauses, mut tried) = (Vec::new(), Vec::<i64>::new());
    for _ in 0..10 * BREAKER_TRIES_PER_PAUSE {
        let due = queue.next_due_at().expect("the endpoint must be tried again");
        pauses.push(due.0 - now.0);
        now = due;
        let one = sent(&mut queue, now);
        assert_eq!(one.len(), 1);
        tried.extend(&one);
        queue.record(one[0], failed(), now, 0);
        queue.next_advance();
        queue.confirm_advance();
        assert!(queue.rows.len() <= bounds().pending);
    }
    for same in tried.chunk_by(|a, b| a == b) {
        assert_eq!(same.len().min(BREAKER_TRIES_PER_EVENT as usize), same.len(), "{tried:?}");
    }
    assert!(tried.iter().collect::<BTreeSet<_>>().len() > 4, "{tried:?}");
    let (first, last) = (&pauses[..BREAKER_TRIES_PER_PAUSE as usize - 1], pauses[pauses.len() - 1]);
    assert!(first.iter().all(|pause| *pause <= 1_000), "{pauses:?}");
    assert!((BREAKER_PAUSE_MAX_MS * 3 / 4..=BREAKER_PAUSE_MAX_MS).contains(&last), "{pauses:?}");
    now = queue.next_due_at().expect("the endpoint must be tried again");
    let tried = sent(&mut queue, now);
    queue.record(tried[0], SendOutcome::Delivered, now, 0);
    assert!(!queue.is_open());
    assert_eq!(
        sent(&mut queue, now).len(),
        bounds().at_once,
        "an endpoint that is up again must get several failed events at the same time"
    );
}

/// Sends `events` events, each about a different order, for at most an hour. For each try, calls
/// `takes` with the event and the number of its tries. If `takes` returns true, the endpoint
/// accepts the event. Returns the milliseconds until every event is delivered or dead, and the
/// number of dead events.
fn drive(
    bounds: DeliveryBounds,
    events: i64,
    mut takes: impl FnMut(i64, u32) -> bool,
) -> (i64, usize) {
    let mut queue = DeliveryQueue::new(bounds, 0, Vec::new());
    (1..=events).for_each(|at| queue.add(at, &format!("order-{at}"), true));
    let (mut now, mut tries, mut delivered, mut dead) = (AT, HashMap::new(), 0, 0);
    while delivered + dead < events as usize && now.0 - AT.0 < 3_600_000 {
        for at in sent(&mut queue, now) {
            let tried: &mut u32 = tries.entry(at).or_default();
            *tried += 1;
            let is_taken = takes(at, *tried);
            delivered += usize::from(is_taken);
            let note = queue.record(
                at,
                if is_taken { SendOutcome::Delivered } else { failed() },
                now,
                u32::MAX / 2,
            );
            dead += usize::from(matches!(note, Some(RowChange::Pending(parcel)) if parcel.dead));
        }
        if let Some(progress) = queue.next_advance() {
            dead += progress.failed.iter().filter(|parcel| parcel.dead).count();
            queue.confirm_advance();
        }
        now = queue.next_due_at().unwrap_or(now).max(now.plus(5));
    }
    (now.0 - AT.0, dead)
}

fn production_bounds() -> DeliveryBounds {
    DeliveryBounds {
        tries: 20,
        refusals: 6,
        refused_ms: 600_000,
        at_once: 8,
        window: 256,
        pending: 1_000,
    }
}

#[test]
fn an_endpoint_that_recovers_gets_all_events_soon() {
    for wanted in 1..=BREAKER_TRIES_PER_EVENT {
        let (took, dead) = drive(production_bounds(), 24, |_, tried| tried >= wanted);
        assert!(
            took < 30_000 && dead == 0,
            "an endpoint that accepts each event at try {wanted} took {took} ms, and {dead} events \
             are dead"
        );
    }
    // The endpoint accepts every request after the first ten.
    let mut requests = 0;
    let (took, dead) = drive(production_bounds(), 24, |_, _| {
        requests += 1;
        requests > 10
    });
    assert!(took < 10_000 && dead == 0, "{took} ms, {dead} dead");
}

#[test]
fn events_for_an_endpoint_that_stays_down_are_dead_after_their_tries() {
    let (took, dead) = drive(DeliveryBounds { tries: 1, ..production_bounds() }, 20, |_, _| false);
    assert!(dead == 20 && took < 600_000, "{took} ms, {dead} dead");
    let (took, dead) = drive(DeliveryBounds { tries: 3, ..production_bounds() }, 20, |_, _| false);
    assert!(dead == 20, "{took} ms, {dead} dead");
}

#[test]
fn an_endpoint_that_is_down_is_tried_with_more_than_one_new_event() {
    let names: Vec<String> = (0..8).map(|n| format!("order-{n}")).collect();
    let mut queue = queue(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut now, mut fresh) = (AT, BTreeSet::new());
    for _ in 0..20 {
        for at in sent(&mut queue, now) {
            let is_new = queue.is_open() && !queue.rows.contains_key(&at);
            fresh.extend(is_new.then_some(at));
            queue.record(at, failed(), now, 0);
        }
        queue.next_advance();
        queue.confirm_advance();
        now = queue.next_due_at().unwrap_or(now).max(now.plus(1));
    }
    assert!(fresh.len() > 1, "the endpoint must get more than one new event, but it got {fresh:?}");
}
