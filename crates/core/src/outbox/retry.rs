//! Applies the outcome of a delivery: decides whether the endpoint is up, and whether the event is
//! retried or given up.
use std::sync::Arc;

use super::{DeliveryQueue, NewEvent, PendingDelivery, RowChange, SendOutcome};
use crate::backoff::{backoff_ms, with_jitter};
use crate::limits::{DEFERRALS_MAX, DEFERRED_PAUSE_MAX_MS, REFUSED_PAUSE_MAX_MS};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// The number of times that an event was refused in a row, and the time of the first of these
/// refusals.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusedRun {
    times: u32,
    /// How many of these refusals counted as a failed try. The refusal of an early try does not
    /// count.
    counted: u32,
    since: Millis,
}

struct RetryDecision {
    error: String,
    /// The number of failed tries. It includes the latest try, if that try counts.
    tries: u32,
    wait_ms: i64,
    is_over: bool,
}

impl DeliveryQueue {
    /// Records the outcome of sending an event. `spread` is a random number for the jitter, so that
    /// events that failed together are not retried together. The caller must store the returned
    /// change.
    pub fn record(
        &mut self,
        position: i64,
        outcome: SendOutcome,
        now: Millis,
        spread: u32,
    ) -> Option<RowChange> {
        let (about, counts) = self.in_flight.remove(&position)?;
        self.update_breaker(position, &outcome, now, spread);
        if outcome == SendOutcome::Delivered {
            if self.rows.remove(&position).is_some() {
                return Some(RowChange::Delivered(position));
            }
            self.window.insert(position, NewEvent::Done);
            return None;
        }
        if let Some(row) = self.rows.get_mut(&position) {
            row.plan_early_try(&outcome, counts, self.answered_at, now, spread);
        }
        if !counts
            && let SendOutcome::Failed { error, .. } | SendOutcome::Deferred { error } = &outcome
        {
            let row = self.rows.get_mut(&position);
            let changed = row.and_then(|row| row.replace_error(error));
            self.put_back(position, about);
            return changed.map(RowChange::Pending);
        }
        let Some(verdict) = self.decide_retry(position, outcome, counts, now, spread) else {
            self.put_back(position, about);
            return None;
        };
        let dead = verdict.is_over && enforces(Rule::DeadAtLast);
        let (tries, next_at, error) =
            (verdict.tries, now.plus(verdict.wait_ms), Some(verdict.error));
        let parcel = PendingDelivery { position, about, tries, next_at, error, dead };
        let Some(row) = self.rows.get_mut(&position) else {
            self.window.insert(position, NewEvent::Failed(parcel));
            return None;
        };
        row.parcel = parcel.clone();
        if dead {
            self.rows.remove(&position);
            self.refused.remove(&position);
            self.later.remove(&position);
        }
        Some(RowChange::Pending(parcel))
    }

    /// Records that an event was sent to an address that the endpoint no longer has. The event
    /// waits again, as if it had not been sent.
    pub fn sent_to_old_address(&mut self, position: i64) {
        if let Some((about, _)) = self.in_flight.remove(&position) {
            self.put_back(position, about);
        }
    }

    /// Returns whether this event is dead and the endpoint's position has not passed it yet.
    #[must_use]
    pub fn is_dead_in_window(&self, position: i64) -> bool {
        matches!(self.window.get(&position), Some(NewEvent::Failed(parcel)) if parcel.dead)
    }

    fn update_breaker(&mut self, position: i64, outcome: &SendOutcome, now: Millis, spread: u32) {
        let is_up = match outcome {
            SendOutcome::Delivered => self.breaker.succeed(),
            // A refusal proves that the endpoint is up.
            SendOutcome::Refused { .. } => self.is_open() && self.breaker.succeed(),
            SendOutcome::Failed { pause_ms, .. } => {
                self.breaker.fail(position, now, spread, *pause_ms);
                false
            }
            SendOutcome::Deferred { .. } => {
                self.breaker.probe_later(now);
                false
            }
            SendOutcome::Gone | SendOutcome::Unsendable { .. } => false,
        };
        if is_up {
            self.retry_now(now);
        }
        if matches!(outcome, SendOutcome::Delivered | SendOutcome::Refused { .. }) {
            self.answered_at = Some(now);
        }
        if *outcome == SendOutcome::Delivered {
            self.accepted_at = Some(now);
        }
        if matches!(outcome, SendOutcome::Delivered | SendOutcome::Failed { .. }) {
            self.refused.remove(&position);
        }
        if !matches!(outcome, SendOutcome::Deferred { .. }) {
            self.later.remove(&position);
        }
    }

    /// Decides when an event is tried next, and whether the server gives the event up. `counts` is
    /// false for an early try. Returns `None` after a success, and if the endpoint no longer
    /// exists. If the endpoint refuses an early try, the number of tries stays the same, but the
    /// event waits for the short pause of refused events.
    fn decide_retry(
        &mut self,
        position: i64,
        outcome: SendOutcome,
        counts: bool,
        now: Millis,
        spread: u32,
    ) -> Option<RetryDecision> {
        let before = self.rows.get(&position).map_or(0, |row| row.parcel.tries);
        let tries = before.saturating_add(u32::from(counts));
        let is_last = tries >= self.bounds.tries;
        match outcome {
            SendOutcome::Delivered | SendOutcome::Gone => None,
            SendOutcome::Failed { error, pause_ms } => {
                let wait_ms = with_jitter(backoff_ms(tries), spread).max(pause_ms);
                Some(RetryDecision { error, tries, wait_ms, is_over: is_last })
            }
            SendOutcome::Refused { error } => {
                let first = RefusedRun { times: 0, counted: 0, since: now };
                let refused = self.refused.entry(position).or_insert(first);
                refused.times += 1;
                refused.counted += u32::from(counts);
                let refused = *refused;
                // The endpoint is up, so the pause is short. The shop may soon install a version
                // that accepts the event, and the event must not wait long after that.
                let pause_ms = backoff_ms(refused.counted).min(REFUSED_PAUSE_MAX_MS);
                let wait_ms = with_jitter(pause_ms, spread);
                Some(RetryDecision {
                    error,
                    // Because the pauses are short, an event is refused many times in a few
                    // minutes. These refusals must leave enough tries for a failure that lasts a
                    // day.
                    tries: before.max(tries.min(self.bounds.refusals)),
                    wait_ms,
                    is_over: refused.counted >= self.bounds.tries
                        || self.is_final_refusal(refused, now),
                })
            }
            // The server did not contact the endpoint. So the event is dead only after
            // [`DEFERRALS_MAX`] such failures in a row.
            SendOutcome::Deferred { error } => {
                let times = self.later.entry(position).or_default();
                *times = times.saturating_add(1);
                let wait_ms = with_jitter(backoff_ms(*times).min(DEFERRED_PAUSE_MAX_MS), spread);
                Some(RetryDecision {
                    error,
                    tries: before,
                    wait_ms,
                    is_over: *times >= DEFERRALS_MAX,
                })
            }
            SendOutcome::Unsendable { error } => Some(RetryDecision {
                error,
                tries,
                wait_ms: with_jitter(backoff_ms(tries), spread),
                is_over: true,
            }),
        }
    }

    /// Returns whether the refusal is final. It is final after `refusals` refusals, if the first
    /// one is at least `refused_ms` ago. The time does not matter if refused events crowd the
    /// queue, and the endpoint has accepted another event since the first refusal. An endpoint that
    /// accepts nothing may be in the middle of a deployment, and so may soon accept every event.
    fn is_final_refusal(&self, refused: RefusedRun, now: Millis) -> bool {
        let is_crowded = self.refused.len() * 2 >= self.bounds.pending;
        let accepts_others = self.accepted_at >= Some(refused.since);
        refused.times >= self.bounds.refusals
            && (now.0 - refused.since.0 >= self.bounds.refused_ms || (is_crowded && accepts_others))
    }

    /// Puts an event back into the queue, because its try does not count.
    fn put_back(&mut self, position: i64, about: Arc<str>) {
        if !self.rows.contains_key(&position) {
            self.window.insert(position, NewEvent::Waiting(about));
        }
    }
}
