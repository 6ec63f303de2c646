//! Estimates how long a visitor of a waiting room will wait, if there are reliable measurements.
//!
//! At first the room admits visitors as quickly as its steps allow. When the admitted buyers are
//! expected to take all free units, the shop is full. While the shop is full, the room admits a
//! visitor only after another buyer has bought or given up. The estimator measures only the pace of
//! admissions while the shop is full.
use std::collections::VecDeque;

use super::{OPEN_ADMISSIONS_MAX, RoomProgress};
use crate::value::Millis;

/// The longest time over which a rate is measured.
const WINDOW_MS: i64 = 60_000;
/// The shortest measurement from which an estimate is made.
const MEASURED_MIN_MS: i64 = 20_000;
const SAMPLE_INTERVAL_MS: i64 = 1_000;
/// A rate is computed only from at least this many admissions.
const ADMISSIONS_MIN: u64 = 5;
/// The measured time is divided into this many parts, and the rates of the parts are compared. If
/// admissions come in waves, these rates differ, and no estimate is made.
const PARTS: u64 = 4;
/// A rate is steady if the rate of the fastest part is at most this many times the rate of the
/// slowest part.
const UNEVENNESS_MAX: u64 = 3;
/// A new wave of admissions begins if an admission ends at least this long after the end of the
/// previous admission.
const WAVE_GAP_MS: i64 = 10_000;
const WAVES_MAX: usize = 64;
/// The longest time that an estimate can cover, as a multiple of the measured time.
const HORIZON_FACTOR: u64 = 2;

#[derive(Clone, Copy, Debug)]
struct ProgressSample {
    at: Millis,
    admitted: u64,
    free: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    admissions: u64,
    ms: u64,
}

impl Rate {
    fn is_above(self, other: Self) -> bool {
        self.admissions.saturating_mul(other.ms) > other.admissions.saturating_mul(self.ms)
    }

    fn ms_for(self, admissions: u64) -> u64 {
        admissions.saturating_mul(self.ms).div_ceil(self.admissions.max(1))
    }
}

/// Measures how quickly a waiting room admits visitors, and estimates waiting times.
#[derive(Clone, Debug)]
pub struct PaceEstimator {
    /// The largest number of admissions in one step.
    admissions_max: u64,
    marks: VecDeque<ProgressSample>,
    /// The latest step: the time at which its admissions end, and their number.
    step: (Millis, u64),
    /// The waves of admissions: for each wave, the times at which its first and its last admission
    /// end. For example, the buyers who filled the shop form a wave. The visitors who get the
    /// places of these buyers form the next wave.
    waves: VecDeque<(Millis, Millis)>,
    is_wave: bool,
    measured: Option<MeasuredPace>,
}

/// The fastest and the slowest rate that the samples allow, and the limits of an estimate.
#[derive(Clone, Copy, Debug)]
struct MeasuredPace {
    quick: Rate,
    slow: Rate,
    /// Positions above this number get no estimate: these visitors will probably not be admitted,
    /// because the units run out first. `None` for unlimited stock.
    up_to: Option<u64>,
    /// The longest time that an estimate can cover, in milliseconds.
    ahead_ms: u64,
}

/// The expected waiting time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitEstimate {
    /// The shortest likely wait.
    pub from_secs: u64,
    /// The longest likely wait.
    pub to_secs: u64,
}

impl PaceEstimator {
    /// Returns an estimator for a room that admits at most this many visitors in one step.
    #[must_use]
    pub fn new(admissions_max: u64) -> Self {
        Self {
            // A step never admits more than `OPEN_ADMISSIONS_MAX` visitors.
            admissions_max: admissions_max.min(OPEN_ADMISSIONS_MAX),
            marks: VecDeque::new(),
            step: (Millis(0), 0),
            waves: VecDeque::new(),
            is_wave: false,
            measured: None,
        }
    }

    /// Sets the largest number of admissions in one step. Call this if several rooms divide the
    /// admissions of a step among themselves.
    pub fn set_admissions_max(&mut self, admissions_max: u64) {
        self.admissions_max = admissions_max.clamp(1, OPEN_ADMISSIONS_MAX);
    }

    /// Records an admission that ends at `until`. Admissions with the same end belong to one step.
    pub fn note_admission(&mut self, until: Millis) {
        if self.step.0 != until {
            self.step = (until, 0);
        }
        self.step.1 += 1;
        let is_at_maximum = self.step.1 >= self.admissions_max;
        if is_at_maximum {
            self.marks.clear();
        }
        if is_at_maximum || self.is_wave {
            match self.waves.back_mut() {
                Some((_, last)) if until.0 - last.0 < WAVE_GAP_MS => *last = until,
                _ => self.waves.push_back((until, until)),
            }
        }
    }

    /// Records the room's progress. `free` is the number of free units, and `limit` is the number
    /// of units that one buyer may hold.
    pub fn note_progress(
        &mut self,
        now: Millis,
        progress: &RoomProgress,
        free: Option<u64>,
        limit: u64,
    ) {
        while self.waves.len() > WAVES_MAX
            || self.waves.front().is_some_and(|(_, last)| last.0 + SAMPLE_INTERVAL_MS < now.0)
        {
            self.waves.pop_front();
        }
        self.is_wave =
            self.waves.front().is_some_and(|(first, _)| first.0 - SAMPLE_INTERVAL_MS <= now.0);
        // If a step admits its maximum, or if no visitor waits, admissions do not show the shop's
        // pace.
        let is_full = (1..self.admissions_max).contains(&self.step.1) && progress.waiting() > 0;
        if !is_full || self.is_wave {
            self.marks.clear();
            self.measured = None;
            return;
        }
        if self.marks.back().is_some_and(|last| now.0 - last.at.0 < SAMPLE_INTERVAL_MS) {
            return;
        }
        self.marks.push_back(ProgressSample { at: now, admitted: progress.admitted, free });
        while self.marks.len() > 2
            && self.marks.front().is_some_and(|first| now.0 - first.at.0 > WINDOW_MS)
        {
            self.marks.pop_front();
        }
        self.measured = self.measure(limit);
    }

    /// Returns the expected waiting time at this position, or `None` if there is no reliable
    /// estimate. The range comes from the measured rate plus and minus twice its standard
    /// deviation. If the rates of the parts differ by more than this range, the fastest and the
    /// slowest part give the range.
    #[must_use]
    pub fn estimate(&self, position: u64) -> Option<WaitEstimate> {
        let measured = self.measured?;
        let (quick, slow) = (measured.quick.ms_for(position), measured.slow.ms_for(position));
        if measured.up_to.is_some_and(|up_to| position > up_to) || slow > measured.ahead_ms {
            return None;
        }
        Some(WaitEstimate { from_secs: quick / 1_000, to_secs: slow.div_ceil(1_000) })
    }

    fn measure(&self, limit: u64) -> Option<MeasuredPace> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let all = rate_between(first, last)?;
        if last.at.0 - first.at.0 < MEASURED_MIN_MS || all.admissions < ADMISSIONS_MIN {
            return None;
        }
        // The number of admissions is random: if n are expected, the standard deviation is about
        // the square root of n.
        let spread = 2 * all.admissions.isqrt();
        let mut quick = Rate { admissions: all.admissions + spread, ..all };
        let mut slow = Rate { admissions: all.admissions.saturating_sub(spread).max(1), ..all };
        let part = |n: u64| {
            self.marks.get(usize::try_from(n * (self.marks.len() as u64 - 1) / PARTS).ok()?)
        };
        for n in 0..PARTS {
            let rate = rate_between(part(n)?, part(n + 1)?)?;
            if rate.admissions == 0 {
                return None;
            }
            quick = if rate.is_above(quick) { rate } else { quick };
            slow = if slow.is_above(rate) { rate } else { slow };
        }
        if quick.is_above(Rate { admissions: UNEVENNESS_MAX * slow.admissions, ..slow }) {
            return None;
        }
        let wave_ms =
            self.waves.front().and_then(|(first, _)| u64::try_from(first.0 - last.at.0).ok());
        let ahead_ms = (HORIZON_FACTOR * all.ms).min(wave_ms.unwrap_or(u64::MAX));
        Some(MeasuredPace {
            quick,
            slow,
            up_to: positions_reachable(first, last, slow, limit.max(1)),
            ahead_ms,
        })
    }
}

fn rate_between(from: &ProgressSample, to: &ProgressSample) -> Option<Rate> {
    let ms = u64::try_from(to.at.0 - from.at.0).ok().filter(|ms| *ms > 0)?;
    Some(Rate { admissions: to.admitted.saturating_sub(from.admitted), ms })
}

/// Returns how many further visitors will be admitted, as a cautious estimate. Returns `None` if
/// the stock is unlimited.
fn positions_reachable(
    first: &ProgressSample,
    last: &ProgressSample,
    slow: Rate,
    limit: u64,
) -> Option<u64> {
    let (before, free) = (first.free?, last.free?);
    if before > OPEN_ADMISSIONS_MAX {
        // Assume that the largest number of admissions is open, and that each of these buyers takes
        // as many units as the limit allows.
        return Some(free.saturating_sub(OPEN_ADMISSIONS_MAX.saturating_mul(limit)) / limit);
    }
    // The admitted buyers are expected to take all free units. So each further admission replaces a
    // buyer who gave up. Assume that the number of these admissions for each sold unit stays the
    // same.
    let sold = before.saturating_sub(free);
    let ms = u64::try_from(last.at.0 - first.at.0).unwrap_or(0);
    let admitted = slow.admissions.saturating_mul(ms) / slow.ms.max(1);
    // The number of measured admissions is small, so the prediction is inexact. As a precaution,
    // the function returns only half of the predicted number.
    Some(free.saturating_mul(admitted).checked_div(2 * sold).unwrap_or(free))
}

#[cfg(test)]
mod tests;
