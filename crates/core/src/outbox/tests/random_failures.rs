//! Tests that every event is delivered or dead, although the receiver fails at random and the
//! driver sometimes crashes.
use std::collections::BTreeSet;

use super::*;

#[derive(Default)]
struct Stored {
    position: i64,
    rows: BTreeMap<i64, PendingDelivery>,
}

impl Stored {
    fn take(&mut self, progress: &PositionAdvance) {
        assert_eq!(progress.from, self.position);
        self.position = progress.to;
        for parcel in &progress.failed {
            assert!(
                self.rows.insert(parcel.position, parcel.clone()).is_none(),
                "a row was inserted a second time"
            );
        }
        assert!(self.rows.values().filter(|row| !row.dead).count() <= bounds().pending);
    }

    fn note(&mut self, note: RowChange) {
        match note {
            RowChange::Delivered(at) => {
                assert!(self.rows.remove(&at).is_some(), "a delivered event had no row")
            }
            RowChange::Pending(parcel) => {
                assert!(
                    self.rows.insert(parcel.position, parcel).is_some(),
                    "a changed row did not exist"
                )
            }
        }
    }

    fn queue(&self) -> DeliveryQueue {
        DeliveryQueue::new(
            bounds(),
            self.position,
            self.rows.values().filter(|row| !row.dead).cloned().collect(),
        )
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// Returns the answer of a receiver that fails in `ill` out of ten cases.
    fn outcome(&mut self, ill: u64) -> SendOutcome {
        match self.roll(10) {
            side if side >= ill => SendOutcome::Delivered,
            0 => SendOutcome::Gone,
            1 => later(),
            3 => SendOutcome::Failed { error: "503".to_owned(), pause_ms: 5_000 },
            side if side % 2 == 0 => refused(),
            _ => failed(),
        }
    }
}

/// Delivers events to a receiver that is healthy, failing or down in turn. The driver sometimes
/// crashes.
fn deliver_all(seed: u64) {
    const EVENTS: i64 = 120;
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let about: Vec<u64> = (0..=EVENTS).map(|_| dice.roll(9)).collect();
    let wanted: Vec<bool> = (0..=EVENTS).map(|_| dice.roll(8) > 0).collect();
    let (mut stored, mut now) = (Stored::default(), AT);
    let mut received: BTreeSet<i64> = BTreeSet::new();
    let mut ill = 0;
    let mut queue = stored.queue();
    for step in 0.. {
        assert!(step < 200_000, "the delivery does not end; seed {seed}");
        if dice.roll(100) == 0 {
            ill = dice.roll(4) * 3;
        }
        if dice.roll(60) == 0 {
            queue = stored.queue();
        }
        while queue.free_capacity() > 0 && queue.read_after() < EVENTS && dice.roll(3) > 0 {
            let at = queue.read_after() + 1;
            queue.add(at, &format!("order-{}", about[at as usize]), wanted[at as usize]);
        }
        if let Some(at) = queue.next(now) {
            assert!(wanted[at as usize]);
            let before =
                (1..at).filter(|b| about[*b as usize] == about[at as usize] && wanted[*b as usize]);
            for before in before {
                let dead = stored.rows.get(&before).is_some_and(|row| row.dead);
                let is_late = !received.contains(&before) && !dead;
                assert!(!is_late, "event {at} came before event {before}; seed {seed}");
            }
        }
        let in_flight: Vec<i64> = queue.in_flight.keys().copied().collect();
        if !in_flight.is_empty() && dice.roll(2) == 0 {
            let mut in_flight = in_flight;
            in_flight.sort_unstable();
            let at = in_flight[dice.roll(in_flight.len() as u64) as usize];
            let outcome = dice.outcome(ill);
            let is_gone = outcome == SendOutcome::Gone;
            if outcome == SendOutcome::Delivered || dice.roll(3) == 0 {
                // Even if the sender sees a failure, the receiver may have accepted the event.
                received.insert(at);
            }
            let spread = dice.roll(1 << 32) as u32;
            if let Some(note) = queue.record(at, outcome, now, spread) {
                stored.note(note);
            }
            if is_gone {
                // `Gone` disables the endpoint. Here, the endpoint is enabled again immediately.
                queue = stored.queue();
            }
        }
        if dice.roll(3) == 0
            && let Some(progress) = queue.next_advance()
        {
            stored.take(&progress);
            // Sometimes the driver crashes after the store has recorded the new position, but
            // before the driver gets the confirmation.
            if dice.roll(10) == 0 { queue = stored.queue() } else { queue.confirm_advance() }
        }
        let is_over = stored.position == EVENTS && stored.rows.values().all(|row| row.dead);
        if is_over {
            break;
        }
        now = now.plus(dice.roll(2_000) as i64);
    }
    for at in (1..=EVENTS).filter(|at| wanted[*at as usize]) {
        let is_lost = !received.contains(&at) && !stored.rows.contains_key(&at);
        assert!(!is_lost, "event {at} was never delivered; seed {seed}");
    }
}

#[test]
fn every_event_is_delivered_or_dead_in_order_despite_random_failures() {
    (1..=400).for_each(deliver_all);
}
