//! Detects a provider that does not answer. The server asks such a provider about only a few
//! checkouts at a time, and postpones all others.
//!
//! An order's grace period begins when a request about the order fails. Without this detection, the
//! server would ask about thousands of due orders, a few at a time, and wait for each timeout. The
//! last units would return much later.

use std::time::{Duration, Instant};

use super::contract::{CheckoutStatus, ProviderError};

/// At most this many requests about checkouts run at the same time.
pub(super) const AT_ONCE: usize = 32;
/// After this many consecutive requests without an answer, the provider counts as silent.
const SILENT_AFTER: usize = AT_ONCE;
/// After this time of silence, a postponed checkout counts as a failed request, which starts the
/// grace period of its order.
const CONFIRMED_AFTER: Duration = Duration::from_secs(10);
const PROBES_MAX: usize = 4;

/// Result of a request about a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    /// The provider answered. A refusal counts as an answer.
    Answered,
    /// The provider could not be reached, or its answer was unusable.
    NoAnswer,
    /// The server made no request.
    NotAsked,
}

impl ProbeResult {
    pub(super) fn from_answer(answer: &Result<CheckoutStatus, ProviderError>) -> Self {
        match answer {
            Err(error) if !error.is_refusal && !error.is_busy => Self::NoAnswer,
            _ => Self::Answered,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct ProviderSilence {
    unanswered: usize,
    since: Option<Instant>,
}

impl ProviderSilence {
    /// Counts the result of a request. One answer ends the silence.
    pub(super) fn record(&mut self, result: ProbeResult, now: Instant) {
        match result {
            ProbeResult::NotAsked => {}
            ProbeResult::Answered => {
                if self.is_silent() {
                    tracing::info!(
                        event = "payment.provider_answers",
                        "the payment provider answers again about checkouts"
                    );
                }
                *self = Self::default();
            }
            ProbeResult::NoAnswer => {
                self.unanswered = self.unanswered.saturating_add(1);
                if self.unanswered == SILENT_AFTER {
                    self.since = Some(now);
                    tracing::warn!(
                        event = "payment.provider_silent",
                        "the payment provider does not answer about checkouts; limiting requests \
                         to a few at a time"
                    );
                }
            }
        }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.unanswered >= SILENT_AFTER
    }

    /// Returns whether the provider has been silent for at least [`CONFIRMED_AFTER`]. From then on,
    /// a postponed checkout counts as a failed request.
    pub(super) fn is_confirmed(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= CONFIRMED_AFTER)
    }

    /// Returns how many more requests may start while `asking` requests are running.
    pub(super) fn requests_allowed(&self, asking: usize) -> usize {
        let at_once = if self.is_silent() { PROBES_MAX } else { AT_ONCE };
        at_once.saturating_sub(asking)
    }

    /// If the provider is silent, removes from `waiting` the checkouts that must be postponed, and
    /// returns them. The last elements of `waiting` stay: the server may ask about these checkouts
    /// now.
    pub(super) fn split_off_waiting<T>(&self, waiting: &mut Vec<T>, asking: usize) -> Vec<T> {
        if !self.is_silent() {
            return Vec::new();
        }
        let held_back = waiting.len().saturating_sub(self.requests_allowed(asking));
        waiting.drain(..held_back).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> ProviderSilence {
        let mut silence = ProviderSilence::default();
        (0..SILENT_AFTER).for_each(|_| silence.record(ProbeResult::NoAnswer, Instant::now()));
        silence
    }

    #[test]
    fn a_provider_is_silent_after_enough_unanswered_requests_until_it_answers_once() {
        let (mut silence, now) = (ProviderSilence::default(), Instant::now());
        for _ in 1..SILENT_AFTER {
            silence.record(ProbeResult::NoAnswer, now);
            silence.record(ProbeResult::NotAsked, now);
        }
        assert!(!silence.is_silent());
        silence.record(ProbeResult::Answered, now);
        for _ in 1..SILENT_AFTER {
            silence.record(ProbeResult::NoAnswer, now);
        }
        assert!(!silence.is_silent(), "an answer must reset the count");
        silence.record(ProbeResult::NoAnswer, now);
        silence.record(ProbeResult::NoAnswer, now);
        silence.record(ProbeResult::NotAsked, now);
        assert!(silence.is_silent());
        silence.record(ProbeResult::Answered, now);
        assert!(!silence.is_silent());
    }

    #[test]
    fn a_silent_provider_is_asked_about_only_a_few_waiting_checkouts() {
        let mut waiting: Vec<u32> = (0..100).collect();
        let silence = ProviderSilence::default();
        assert_eq!(
            (
                silence.requests_allowed(0),
                silence.requests_allowed(AT_ONCE - 1),
                silence.requests_allowed(AT_ONCE)
            ),
            (AT_ONCE, 1, 0)
        );
        assert!(silence.split_off_waiting(&mut waiting, 0).is_empty() && waiting.len() == 100);
        let silence = silent();
        assert_eq!(
            (silence.requests_allowed(1), silence.requests_allowed(AT_ONCE)),
            (PROBES_MAX - 1, 0)
        );
        assert_eq!(silence.split_off_waiting(&mut waiting, 1).len(), 100 - PROBES_MAX + 1);
        assert_eq!(waiting, (100 - PROBES_MAX as u32 + 1..100).collect::<Vec<_>>());
        assert!(
            silence.split_off_waiting(&mut waiting, 1).is_empty(),
            "a checkout must not be postponed if its request can start now"
        );
        assert_eq!(
            silence.split_off_waiting(&mut waiting, AT_ONCE).len(),
            PROBES_MAX - 1,
            "checkouts must be postponed while other requests are running"
        );
        assert!(silence.split_off_waiting(&mut waiting, 0).is_empty());
    }

    #[test]
    fn a_short_silence_is_not_confirmed() {
        let (mut silence, now) = (ProviderSilence::default(), Instant::now());
        (1..SILENT_AFTER).for_each(|_| silence.record(ProbeResult::NoAnswer, now));
        assert!(
            !silence.is_confirmed(now + 2 * CONFIRMED_AFTER),
            "a provider must count as silent before its silence is confirmed"
        );
        silence.record(ProbeResult::NoAnswer, now);
        silence.record(ProbeResult::NoAnswer, now + CONFIRMED_AFTER);
        assert!(!silence.is_confirmed(now) && silence.is_confirmed(now + CONFIRMED_AFTER));
        silence.record(ProbeResult::Answered, now + CONFIRMED_AFTER);
        assert!(!silence.is_confirmed(now + 2 * CONFIRMED_AFTER));
    }

    #[test]
    fn a_refusal_or_a_busy_error_counts_as_an_answer() {
        let busy = ProviderError { is_busy: true, ..ProviderError::unavailable("too many") };
        for answer in [
            Ok(CheckoutStatus::Closed),
            Ok(CheckoutStatus::Undecided),
            Err(ProviderError::refusal("no")),
            Err(busy),
        ] {
            assert_eq!(ProbeResult::from_answer(&answer), ProbeResult::Answered, "{answer:?}");
        }
        assert_eq!(
            ProbeResult::from_answer(&Err(ProviderError::unavailable("no route"))),
            ProbeResult::NoAnswer
        );
    }
}
