//! The circuit breaker of one endpoint: after several events in a row failed, it is tried with one
//! at a time until one is taken. And the pause that an endpoint asks for, which holds for
//! everything that it is to be told.
use std::collections::BTreeSet;

use crate::limits::{
    BREAKER_FAILURES, BREAKER_PAUSE_MAX_MS, BREAKER_TRIES_PER_EVENT, BREAKER_TRIES_PER_PAUSE,
    backoff_ms, with_jitter,
};
use crate::value::Millis;

/// Whether an endpoint counts as down, and when it is tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    /// Events that failed since the last one was taken, up to as many as it takes: one event that
    /// is always refused counts once.
    failed: BTreeSet<i64>,
    /// Failures since it opened.
    probes: u32,
    probe_at: Option<Millis>,
    /// It asked to be left alone until then.
    paused_until: Option<Millis>,
    /// What it was last tried with, and how often in a row.
    same: Option<(i64, u32)>,
    /// The row that it was last tried with, and whether the last try was with a row.
    last: i64,
    /// The new event that it was last tried with.
    last_fresh: i64,
    last_was_row: bool,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    /// When an endpoint that is down may be tried again.
    pub(super) fn probe_at(&self) -> Millis {
        self.probe_at.max(self.paused_until).unwrap_or(Millis(0))
    }

    /// Until when it asked to be left alone, if it did.
    pub(super) fn paused_until(&self) -> Option<Millis> {
        self.paused_until
    }

    /// Whether it is left alone now, as it asked; a pause that is over is forgotten.
    pub(super) fn is_paused(&mut self, now: Millis) -> bool {
        self.paused_until = self.paused_until.filter(|until| now < *until);
        self.paused_until.is_some()
    }

    /// Somebody asks for something to be sent at once.
    pub(super) fn end_pause(&mut self) {
        self.paused_until = None;
    }

    /// The endpoint took something. True: it was down until now. A pause stands: whatever is taken
    /// during one was on its way before it, and a shop that answers "too many" at its door may
    /// still be at work on those before.
    pub(super) fn succeed(&mut self) -> bool {
        let was_open = self.is_open();
        *self = Self { paused_until: self.paused_until, ..Self::default() };
        was_open
    }

    /// It did not take this one, and asked for a pause, if `pause_ms` is over 0. Nothing shortens
    /// one that it asked for before.
    pub(super) fn fail(&mut self, position: i64, now: Millis, spread: u32, pause_ms: i64) {
        if self.failed.len() < BREAKER_FAILURES {
            self.failed.insert(position);
        }
        // What was on its way when it opened says nothing new.
        if self.failed.len() >= BREAKER_FAILURES && (!self.is_open() || self.probe_at() <= now) {
            self.probes = self.probes.saturating_add(1);
            let pause =
                backoff_ms(self.probes.div_ceil(BREAKER_TRIES_PER_PAUSE)).min(BREAKER_PAUSE_MAX_MS);
            self.probe_at = Some(now.plus(with_jitter(pause, spread)));
        }
        if pause_ms > 0 {
            self.paused_until = self.paused_until.max(Some(now.plus(pause_ms)));
        }
    }

    /// The last try asked the endpoint nothing: one that is down is tried again after a moment, and
    /// no later than before.
    pub(super) fn probe_later(&mut self, now: Millis) {
        self.probe_at = self.probe_at.map(|_| now.plus(backoff_ms(1)));
    }

    /// The new event that it was last tried with: one that is refused for itself does not stand in
    /// the way of the next.
    pub(super) fn last_new_event(&self) -> i64 {
        self.last_fresh
    }

    /// What it is tried with: something new and a row by turns, the rows one after another. Each a
    /// few times, so that an endpoint which takes an event only after some tries is found to be up;
    /// and no more often than that, since an event may be refused for itself.
    pub(super) fn next_probe(&mut self, fresh: Option<i64>, rows: &[i64]) -> Option<i64> {
        if let Some((at, times)) = self.same
            && times < BREAKER_TRIES_PER_EVENT
            && (rows.contains(&at) || fresh == Some(at))
        {
            self.same = Some((at, times + 1));
            return Some(at);
        }
        let chosen = self.next_other_probe(fresh, rows)?;
        self.same = Some((chosen, 1));
        Some(chosen)
    }

    fn next_other_probe(&mut self, fresh: Option<i64>, rows: &[i64]) -> Option<i64> {
        let row = rows.iter().find(|at| **at > self.last).or(rows.first()).copied();
        let chosen = match (fresh, row) {
            (Some(fresh), Some(row)) => {
                if self.last_was_row {
                    fresh
                } else {
                    row
                }
            }
            (fresh, row) => fresh.or(row)?,
        };
        self.last_was_row = row == Some(chosen);
        if self.last_was_row {
            self.last = chosen;
        } else {
            self.last_fresh = chosen;
        }
        Some(chosen)
    }
}
