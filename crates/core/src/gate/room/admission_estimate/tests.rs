//! Tests the estimator of waiting times: compares each estimate with the time at which the visitor
//! is later admitted.
use std::collections::{BTreeMap, BTreeSet};

use super::super::{RoomSupply, STEP_ADMISSIONS_MAX};
use super::*;

fn line(admitted: u64) -> RoomProgress {
    RoomProgress { entered: 100_000, participants: Some(0), admitted }
}

/// Returns an estimator for a shop that is full. The shop counts as full because the last step
/// admitted fewer visitors than a step may admit.
fn full() -> PaceEstimator {
    let mut pace = PaceEstimator::new(STEP_ADMISSIONS_MAX);
    (0..100).for_each(|_| pace.note_admission(Millis(1)));
    pace
}

#[test]
fn an_estimate_is_the_measured_rate_with_its_uncertainty() {
    let mut pace = full();
    assert_eq!(pace.estimate(1), None);
    pace.note_progress(Millis(0), &line(100), None, 1);
    assert_eq!(pace.estimate(1), None, "one sample must give no estimate");
    // Ten visitors are admitted per second.
    let ten = |second: i64| 100 + 10 * u64::try_from(second).expect("small");
    for second in 1..=300 {
        pace.note_progress(Millis(second * 1_000), &line(ten(second)), None, 1);
        assert_eq!(pace.estimate(1).is_some(), second >= 20, "{second}");
    }
    assert!(pace.marks.len() <= 62, "the number of samples must be bounded");
    let estimate = pace.estimate(1_000).expect("a rate");
    assert!(estimate.from_secs <= 100 && 100 <= estimate.to_secs, "{estimate:?}");
    assert!(estimate.from_secs >= 90 && estimate.to_secs <= 115, "{estimate:?}");
    assert_eq!(pace.estimate(10_000), None, "a position beyond the horizon must have no estimate");
    // No more visitors are admitted.
    for second in 301..=365 {
        pace.note_progress(Millis(second * 1_000), &line(3_100), None, 1);
    }
    assert_eq!(pace.estimate(1), None);
}

#[test]
fn admissions_in_waves_have_no_rate() {
    let mut pace = full();
    for second in 0..60 {
        pace.note_progress(
            Millis(second * 1_000),
            &line(if second < 30 { 100 } else { 300 }),
            Some(1_000),
            1,
        );
    }
    assert_eq!(pace.estimate(1), None);
}

#[test]
fn no_pace_is_measured_while_the_shop_fills_or_no_visitor_waits() {
    let mut pace = full();
    let steady = |pace: &mut PaceEstimator, from: i64| {
        for second in from..from + 30 {
            pace.note_progress(
                Millis(second * 1_000),
                &line(10 * u64::try_from(second).expect("small")),
                None,
                1,
            );
        }
    };
    steady(&mut pace, 0);
    assert!(pace.estimate(1).is_some());
    (0..STEP_ADMISSIONS_MAX).for_each(|_| pace.note_admission(Millis(2)));
    steady(&mut pace, 100);
    assert_eq!(pace.estimate(1), None, "a full step must give no estimate");
    pace.note_admission(Millis(3));
    steady(&mut pace, 200);
    assert!(pace.estimate(1).is_some());
    let none_waiting = RoomProgress { entered: 7, participants: Some(0), admitted: 7 };
    pace.note_progress(Millis(300_000), &none_waiting, None, 1);
    assert_eq!(pace.estimate(1), None);
}

#[test]
fn visitors_behind_the_last_unit_get_no_estimate() {
    let has_estimate = |free: fn(u64) -> u64, limit| {
        let mut pace = full();
        for second in 0..=60 {
            pace.note_progress(
                Millis(second * 1_000),
                &line(second as u64 * 10),
                Some(free(second as u64)),
                limit,
            );
        }
        move |position| pace.estimate(position).is_some()
    };
    // In each second, ten visitors are admitted, and each visitor takes one unit.
    let at = has_estimate(|second| 1_000 - 10 * second, 1);
    assert!(at(150) && !at(200));
    // Each admitted visitor takes two units.
    let at = has_estimate(|second| 2_000 - 20 * second, 2);
    assert!(at(150) && !at(200));
    // The stock is larger than the number of admissions that can be open at the same time.
    let at = has_estimate(|second| OPEN_ADMISSIONS_MAX + 1_000 - 10 * second, 1);
    assert!(at(400) && !at(401));
    let at = has_estimate(|_| OPEN_ADMISSIONS_MAX + 1_000, 2);
    assert!(!at(1));
}

struct Sale {
    seed: u64,
    free: Option<u64>,
    entered: u64,
    /// On average, one in `lost` admitted visitors does not buy.
    lost: u64,
    /// On average, one in `back` orders is returned.
    back: u64,
}

const TICK_MS: i64 = 250;
const ADMISSION_MS: i64 = 150_000;
const END_MS: i64 = 30 * 60_000;

/// A visitor's rank, a time, and the estimate that the visitor saw at this time.
type Shown = (u64, i64, WaitEstimate);

impl Sale {
    /// Simulates the sale. Returns the time at which each rank was admitted, and the estimates that
    /// visitors saw.
    fn play(&self) -> (BTreeMap<u64, i64>, Vec<Shown>) {
        let (mut pace, mut free) = (PaceEstimator::new(STEP_ADMISSIONS_MAX), self.free);
        let mut it =
            RoomProgress { entered: self.entered, participants: Some(self.entered), admitted: 0 };
        let (mut admitted_at, mut shown) = (BTreeMap::new(), Vec::new());
        // The planned lapses of admissions, purchases, and returns of units: each as a time and a
        // visitor's rank.
        let (mut lapses, mut buys, mut returns) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut open, mut used, mut dice) = (0, BTreeSet::new(), self.seed);
        let mut below = |bound: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            i64::try_from(dice.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound).expect("small")
        };
        for now in (0..END_MS).step_by(TICK_MS as usize) {
            let due = |set: &mut BTreeSet<(i64, u64)>| {
                let later = set.split_off(&(now + 1, 0));
                std::mem::replace(set, later)
            };
            for (_, rank) in due(&mut buys) {
                if free.is_none_or(|free| free > 0) {
                    free = free.map(|free| free - 1);
                    open -= 1;
                    used.insert(rank);
                    if below(self.back) == 0 {
                        returns.insert((now + 60_000 + below(60_000), rank));
                    }
                }
            }
            due(&mut returns).iter().for_each(|_| free = free.map(|free| free + 1));
            for (_, rank) in due(&mut lapses) {
                open -= u64::from(!used.remove(&rank));
            }
            let count = used.len() as u64;
            let shop = RoomSupply { free, limit: 1, open, used: count, used_units: count };
            let (before, after) = it.admit(shop.admissions(&it, STEP_ADMISSIONS_MAX));
            for rank in before + 1..=after {
                admitted_at.insert(rank, now);
                pace.note_admission(Millis(now + ADMISSION_MS));
                lapses.insert((now + ADMISSION_MS, rank));
                if below(self.lost) != 0 {
                    buys.insert((now + 2_000 + below(40_000), rank));
                }
            }
            open += after - before;
            pace.note_progress(Millis(now), &it, free, 1);
            if now % 1_000 == 0 {
                for position in (1..=it.waiting()).step_by(37) {
                    let waits = free.is_none_or(|free| position <= free);
                    if let Some(estimate) = pace.estimate(position).filter(|_| waits) {
                        shown.push((it.admitted + position, now, estimate));
                    }
                }
            }
        }
        (admitted_at, shown)
    }
}

/// An estimate counts as wrong if the wait is below `from_secs / FACTOR - SLACK_SECS`, or above
/// `to_secs * FACTOR + SLACK_SECS`.
const FACTOR: f64 = 3.0;
const SLACK_SECS: f64 = 2.0;

#[test]
fn estimates_match_the_simulated_admissions() {
    for seed in 1..=5 {
        play(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
    }
}

fn play(seed: u64) {
    for (name, sale, shown_min) in [
        (
            "5,000 for 20,000",
            Sale { seed, free: Some(5_000), entered: 20_000, lost: 5, back: 10 },
            0,
        ),
        ("500 for 20,000", Sale { seed, free: Some(500), entered: 20_000, lost: 3, back: 10 }, 0),
        (
            "20,000 for 100,000",
            Sale { seed, free: Some(20_000), entered: 100_000, lost: 5, back: 10 },
            1_000,
        ),
        ("unlimited stock", Sale { seed, free: None, entered: 100_000, lost: 5, back: 10 }, 1_000),
    ] {
        let (admitted_at, shown) = sale.play();
        let (mut wrong, mut never) = (Vec::new(), Vec::new());
        for &(rank, now, estimate) in &shown {
            let Some(at) = admitted_at.get(&rank) else {
                never.push((rank, now, estimate));
                continue;
            };
            let secs = (at - now) as f64 / 1_000.0;
            let (from, to) = (estimate.from_secs as f64, estimate.to_secs as f64);
            if secs + SLACK_SECS < from / FACTOR || secs - SLACK_SECS > to * FACTOR {
                wrong.push((rank, now, estimate, secs));
            }
        }
        assert!(shown.len() >= shown_min, "{name}: only {} estimates", shown.len());
        assert!(
            wrong.len() * 20 <= shown.len(),
            "{name}: {} of {} estimates are wrong: {wrong:?}",
            wrong.len(),
            shown.len()
        );
        assert!(
            never.is_empty(),
            "{name}: {} visitors got an estimate, but were never admitted: {never:?}",
            never.len()
        );
    }
}
