//! The circuit breaker of one endpoint: after several events in a row failed, it is tried with one at a time until one is taken.
use std::collections::BTreeSet;

use crate::limits::{BREAKER_AFTER, BREAKER_EACH, BREAKER_PAUSE_MAX_MS, BREAKER_SAME, backoff_ms, spread_out};
use crate::value::Millis;

/// Whether an endpoint counts as down, and when it is tried.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    /// Events that failed since the last one was taken, up to as many as it takes: one event that is always refused counts once.
    failed: BTreeSet<i64>,
    /// Failures since it opened.
    probes: u32,
    probe_at: Option<Millis>,
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

    /// When the endpoint may be tried again.
    pub(super) fn probe_at(&self) -> Millis {
        self.probe_at.unwrap_or(Millis(0))
    }

    /// The endpoint took something. True: it was down until now.
    pub(super) fn succeed(&mut self) -> bool {
        let was_open = self.is_open();
        *self = Self::default();
        was_open
    }

    pub(super) fn fail(&mut self, position: i64, now: Millis, spread: u32) {
        if self.failed.len() < BREAKER_AFTER {
            self.failed.insert(position);
        }
        // What was on its way when it opened says nothing new.
        if self.failed.len() >= BREAKER_AFTER && self.probe_at.is_none_or(|at| at <= now) {
            self.probes = self.probes.saturating_add(1);
            let pause = backoff_ms(self.probes.div_ceil(BREAKER_SAME)).min(BREAKER_PAUSE_MAX_MS);
            self.probe_at = Some(now.plus(spread_out(pause, spread)));
        }
    }

    /// The last try asked the endpoint nothing: one that is down is tried again after a moment, and no later than before.
    pub(super) fn rest(&mut self, now: Millis) {
        self.probe_at = self.probe_at.map(|_| now.plus(backoff_ms(1)));
    }

    /// The new event that it was last tried with: one that is refused for itself does not stand in the way of the next.
    pub(super) fn last_fresh(&self) -> i64 {
        self.last_fresh
    }

    /// What it is tried with: something new and a row by turns, the rows one after another. Each a few times, so that an endpoint which takes an event only
    /// after some tries is found to be up; and no more often than that, since an event may be refused for itself.
    pub(super) fn choose(&mut self, fresh: Option<i64>, rows: &[i64]) -> Option<i64> {
        if let Some((at, times)) = self.same
            && times < BREAKER_EACH
            && (rows.contains(&at) || fresh == Some(at))
        {
            self.same = Some((at, times + 1));
            return Some(at);
        }
        let chosen = self.choose_another(fresh, rows)?;
        self.same = Some((chosen, 1));
        Some(chosen)
    }

    fn choose_another(&mut self, fresh: Option<i64>, rows: &[i64]) -> Option<i64> {
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
