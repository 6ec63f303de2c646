//! What came of an event that was sent: what it says of the endpoint, and when the event is tried again, or given up.
use std::sync::Arc;

use super::{Desk, Fresh, Note, Outcome, Parcel};
use crate::limits::{
    LATER_PAUSE_MAX_MS, LATER_TIMES_MAX, REFUSED_PAUSE_MAX_MS, backoff_ms, spread_out,
};
use crate::rules::{Rule, keeps};
use crate::value::Millis;

/// How often an event was refused in a row, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    times: u32,
    since: Millis,
}

/// What becomes of an event that was not taken.
struct Verdict {
    error: String,
    /// Tries in vain, with this one if it counts.
    tries: u32,
    wait_ms: i64,
    is_over: bool,
}

impl Desk {
    /// What came of an event that was on its way; `spread` is any number, by which those that fail together are not tried together again. The
    /// store must be told the note.
    pub fn done(
        &mut self,
        position: i64,
        outcome: Outcome,
        now: Millis,
        spread: u32,
    ) -> Option<Note> {
        let (about, counts) = self.flying.remove(&position)?;
        self.learn(position, &outcome, now, spread);
        if outcome == Outcome::Told {
            if self.rows.remove(&position).is_some() {
                return Some(Note::Told(position));
            }
            self.window.insert(position, Fresh::Done);
            return None;
        }
        let Some(verdict) = self.judge(position, outcome, counts, now, spread) else {
            self.wait(position, about);
            return None;
        };
        let dead = verdict.is_over && keeps(Rule::DeadAtLast);
        let (tries, next_at, error) =
            (verdict.tries, now.plus(verdict.wait_ms), Some(verdict.error));
        let parcel = Parcel { position, about, tries, next_at, error, dead };
        let Some(row) = self.rows.get_mut(&position) else {
            self.window.insert(position, Fresh::Failed(parcel));
            return None;
        };
        row.parcel = parcel.clone();
        if dead {
            self.rows.remove(&position);
            self.refused.remove(&position);
            self.later.remove(&position);
        }
        Some(Note::Again(parcel))
    }

    /// What came of an event that was sent to an address that is the endpoint's no more: it waits as if it had not been sent.
    pub fn sent_elsewhere(&mut self, position: i64) {
        if let Some((about, _)) = self.flying.remove(&position) {
            self.wait(position, about);
        }
    }

    /// What an outcome says of the endpoint, and of how an event's failures follow each other.
    fn learn(&mut self, position: i64, outcome: &Outcome, now: Millis, spread: u32) {
        let is_up = match outcome {
            Outcome::Told => self.breaker.succeed(),
            // A refusal says that somebody is there.
            Outcome::Refused { .. } => self.is_open() && self.breaker.succeed(),
            Outcome::Failed { pause_ms, .. } => {
                self.breaker.fail(position, now, spread, *pause_ms);
                false
            }
            Outcome::Later { .. } => {
                self.breaker.rest(now);
                false
            }
            Outcome::Gone | Outcome::Never { .. } => false,
        };
        if is_up {
            self.hurry(now);
        }
        if matches!(outcome, Outcome::Told | Outcome::Failed { .. }) {
            self.refused.remove(&position);
        }
        if !matches!(outcome, Outcome::Later { .. }) {
            self.later.remove(&position);
        }
    }

    /// What becomes of the event. `None`: its try cost it nothing, since it was before its time, or said nothing about it.
    fn judge(
        &mut self,
        position: i64,
        outcome: Outcome,
        counts: bool,
        now: Millis,
        spread: u32,
    ) -> Option<Verdict> {
        let before = self.rows.get(&position).map_or(0, |row| row.parcel.tries);
        let tries = before.saturating_add(1);
        let is_last = tries >= self.bounds.tries;
        match outcome {
            Outcome::Told | Outcome::Gone => None,
            Outcome::Failed { .. } | Outcome::Later { .. } if !counts => None,
            Outcome::Failed { error, pause_ms } => {
                let wait_ms = spread_out(backoff_ms(tries), spread).max(pause_ms);
                Some(Verdict { error, tries, wait_ms, is_over: is_last })
            }
            Outcome::Refused { error } => {
                let refused =
                    self.refused.entry(position).or_insert(Refused { times: 0, since: now });
                refused.times += 1;
                let refused = *refused;
                // It is there: what it refuses while it is renewed is not kept from it for long afterwards.
                let wait_ms = spread_out(backoff_ms(tries).min(REFUSED_PAUSE_MAX_MS), spread);
                Some(Verdict {
                    error,
                    tries,
                    wait_ms,
                    is_over: is_last || self.is_final(refused, now),
                })
            }
            // The endpoint was asked nothing, so this is none of the event's tries, and it is not given up for it soon.
            Outcome::Later { error } => {
                let times = self.later.entry(position).or_default();
                *times = times.saturating_add(1);
                let wait_ms = spread_out(backoff_ms(*times).min(LATER_PAUSE_MAX_MS), spread);
                Some(Verdict { error, tries: before, wait_ms, is_over: *times >= LATER_TIMES_MAX })
            }
            Outcome::Never { error } => Some(Verdict {
                error,
                tries,
                wait_ms: spread_out(backoff_ms(tries), spread),
                is_over: true,
            }),
        }
    }

    /// Whether the endpoint means it: it refused for a while, or refuses so much that nothing else could wait.
    fn is_final(&self, refused: Refused, now: Millis) -> bool {
        let is_crowded = self.refused.len() * 2 >= self.bounds.pending;
        refused.times >= self.bounds.refusals
            && (now.0 - refused.since.0 >= self.bounds.refused_ms || is_crowded)
    }

    /// An event whose try costs it nothing.
    fn wait(&mut self, position: i64, about: Arc<str>) {
        if !self.rows.contains_key(&position) {
            self.window.insert(position, Fresh::Waits(about));
        }
    }
}
