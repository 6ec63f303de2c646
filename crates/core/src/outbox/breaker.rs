//! The circuit breaker of one endpoint. After several failed events in a row, the endpoint counts
//! as down: the server sends the endpoint one event at a time, until the endpoint accepts an event.
//! An endpoint can also ask for a pause, during which it gets no events.
use std::collections::BTreeSet;

use crate::backoff::{backoff_ms, with_jitter};
use crate::limits::{
    BREAKER_FAILURES, BREAKER_PAUSE_MAX_MS, BREAKER_TRIES_PER_EVENT, BREAKER_TRIES_PER_PAUSE,
};
use crate::value::Millis;

/// Whether an endpoint counts as down, and when to try it again.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    /// The positions of the events that failed since the endpoint last accepted an event. With
    /// [`BREAKER_FAILURES`] positions, the endpoint counts as down, and no more positions are
    /// added.
    failed: BTreeSet<i64>,
    /// The number of failures since the endpoint began to count as down, including the failure that
    /// made it count as down.
    probes: u32,
    probe_at: Option<Millis>,
    /// The end of the pause that the endpoint asked for. `None` if it asked for none.
    paused_until: Option<Millis>,
    /// The position of the event that the last try sent to the endpoint while it was down, and how
    /// many tries in a row sent this event.
    same: Option<(i64, u32)>,
    /// The position of the last row that was tried while the endpoint was down.
    last: i64,
    /// The position of the last new event that was tried while the endpoint was down.
    last_fresh: i64,
    last_was_row: bool,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }

    pub(super) fn probe_at(&self) -> Millis {
        self.probe_at.max(self.paused_until).unwrap_or(Millis(0))
    }

    pub(super) fn paused_until(&self) -> Option<Millis> {
        self.paused_until
    }

    /// Returns whether a pause is in effect, and removes a pause that is over.
    pub(super) fn is_paused(&mut self, now: Millis) -> bool {
        self.paused_until = self.paused_until.filter(|until| now < *until);
        self.paused_until.is_some()
    }

    /// Ends a pause, because an operator requested an immediate retry.
    pub(super) fn end_pause(&mut self) {
        self.paused_until = None;
    }

    /// Records that the endpoint accepted an event. Returns true if the endpoint counted as down. A
    /// pause stays in effect, because the event may have been sent before the pause.
    pub(super) fn succeed(&mut self) -> bool {
        let was_open = self.is_open();
        *self = Self { paused_until: self.paused_until, ..Self::default() };
        was_open
    }

    /// Records that the endpoint did not accept this event. If `pause_ms` is above 0, the endpoint
    /// asked for a pause. If the endpoint already has a pause, the pause lasts until the later of
    /// the two ends.
    pub(super) fn fail(&mut self, position: i64, now: Millis, spread: u32, pause_ms: i64) {
        if self.failed.len() < BREAKER_FAILURES {
            self.failed.insert(position);
        }
        // When the endpoint begins to count as down, other events may still be in delivery. Their
        // failures do not lengthen the pause.
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

    /// Records that this server could not send the event of the last try. So the try shows nothing
    /// about the endpoint, and does not lengthen later pauses.
    pub(super) fn probe_later(&mut self, now: Millis) {
        self.probe_at = self.probe_at.map(|_| now.plus(backoff_ms(1)));
    }

    /// Returns the position of the last new event that was tried while the endpoint was down. The
    /// next try prefers a new event after this position, because the endpoint may refuse one event
    /// and accept the next.
    pub(super) fn last_new_event(&self) -> i64 {
        self.last_fresh
    }

    /// Chooses the event for the next try at an endpoint that is down. New events and events that
    /// already have a row take turns. Each event gets up to [`BREAKER_TRIES_PER_EVENT`] tries in a
    /// row, because the endpoint may need some time to recover. Then another event is chosen,
    /// because the endpoint may fail only for this event.
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
