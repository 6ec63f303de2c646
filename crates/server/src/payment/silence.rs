//! Whether a provider answers at all. One that does not is asked by a few at a time, and nobody
//! else waits for a turn to hear nothing: with thousands of orders due, each of which waited for as
//! long as an answer may take, the last would be asked long after the grace of the first.
use std::time::{Duration, Instant};

use super::provider::{CheckoutStatus, ProviderError};

/// Checkouts that are asked about at the same time.
pub(super) const AT_ONCE: usize = 32;
/// Questions that come to nothing, with no answer between them, after which a provider counts as
/// silent.
const SILENT_AFTER: usize = AT_ONCE;
/// How long it must have been silent until whoever is not asked about counts as asked in vain: what
/// passes sooner costs nobody time.
const CONFIRMED_AFTER: Duration = Duration::from_secs(10);
/// Checkouts of which a silent provider is asked at the same time.
const PROBES_MAX: usize = 4;

/// What came of asking about a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeResult {
    /// The provider answered, if only that it will not, or not now.
    Answered,
    /// It could not be asked, or said nothing that can be used.
    NoAnswer,
    /// Nobody was asked.
    NotAsked,
}

impl ProbeResult {
    /// Of what a provider said.
    pub(super) fn from_answer(said: &Result<CheckoutStatus, ProviderError>) -> Self {
        match said {
            Err(error) if !error.is_refusal && !error.is_busy => Self::NoAnswer,
            _ => Self::Answered,
        }
    }
}

/// How long a provider has said nothing.
#[derive(Debug, Default)]
pub(super) struct ProviderSilence {
    in_vain: usize,
    /// Since when it counts as silent.
    since: Option<Instant>,
}

impl ProviderSilence {
    /// Counts what came of a question. One answer ends it.
    pub(super) fn record(&mut self, heard: ProbeResult, now: Instant) {
        match heard {
            ProbeResult::NotAsked => {}
            ProbeResult::Answered => {
                if self.is_silent() {
                    tracing::info!("the payment provider answers again about checkouts");
                }
                *self = Self::default();
            }
            ProbeResult::NoAnswer => {
                self.in_vain = self.in_vain.saturating_add(1);
                if self.in_vain == SILENT_AFTER {
                    self.since = Some(now);
                    tracing::warn!(
                        "the payment provider does not answer about checkouts: it is asked about a \
                         few only"
                    );
                }
            }
        }
    }

    /// Whether the provider counts as silent.
    pub(super) fn is_silent(&self) -> bool {
        self.in_vain >= SILENT_AFTER
    }

    /// Whether it has been silent for so long that those who are not asked about count as asked in
    /// vain.
    pub(super) fn is_confirmed(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= CONFIRMED_AFTER)
    }

    /// How many more may be asked about while so many are.
    pub(super) fn free_slots(&self, asking: usize) -> usize {
        let at_once = if self.is_silent() { PROBES_MAX } else { AT_ONCE };
        at_once.saturating_sub(asking)
    }

    /// Takes those out about whom nobody is asked now, because the provider is silent. Of those
    /// that wait the last is asked about first.
    pub(super) fn split_off_waiting<T>(&self, waiting: &mut Vec<T>, asking: usize) -> Vec<T> {
        if !self.is_silent() {
            return Vec::new();
        }
        let spared = waiting.len().saturating_sub(self.free_slots(asking));
        waiting.drain(..spared).collect()
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
    fn a_provider_is_silent_after_as_many_questions_in_vain_until_it_answers_once() {
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
        assert!(!silence.is_silent(), "there was an answer between them");
        silence.record(ProbeResult::NoAnswer, now);
        silence.record(ProbeResult::NoAnswer, now);
        silence.record(ProbeResult::NotAsked, now);
        assert!(silence.is_silent());
        silence.record(ProbeResult::Answered, now);
        assert!(!silence.is_silent());
    }

    #[test]
    fn a_silent_provider_is_asked_about_a_few_and_the_first_of_those_that_wait() {
        let mut waiting: Vec<u32> = (0..100).collect();
        let silence = ProviderSilence::default();
        assert_eq!(
            (silence.free_slots(0), silence.free_slots(AT_ONCE - 1), silence.free_slots(AT_ONCE)),
            (AT_ONCE, 1, 0)
        );
        assert!(silence.split_off_waiting(&mut waiting, 0).is_empty() && waiting.len() == 100);
        let silence = silent();
        assert_eq!((silence.free_slots(1), silence.free_slots(AT_ONCE)), (PROBES_MAX - 1, 0));
        assert_eq!(silence.split_off_waiting(&mut waiting, 1).len(), 100 - PROBES_MAX + 1);
        assert_eq!(waiting, (100 - PROBES_MAX as u32 + 1..100).collect::<Vec<_>>());
        assert!(silence.split_off_waiting(&mut waiting, 1).is_empty(), "these are asked about");
        assert_eq!(
            silence.split_off_waiting(&mut waiting, AT_ONCE).len(),
            PROBES_MAX - 1,
            "questions of before are under way"
        );
        assert!(silence.split_off_waiting(&mut waiting, 0).is_empty());
    }

    #[test]
    fn a_short_silence_costs_nobody_time() {
        let (mut silence, now) = (ProviderSilence::default(), Instant::now());
        (1..SILENT_AFTER).for_each(|_| silence.record(ProbeResult::NoAnswer, now));
        assert!(!silence.is_confirmed(now + 2 * CONFIRMED_AFTER), "it is not silent yet");
        silence.record(ProbeResult::NoAnswer, now);
        silence.record(ProbeResult::NoAnswer, now + CONFIRMED_AFTER);
        assert!(!silence.is_confirmed(now) && silence.is_confirmed(now + CONFIRMED_AFTER));
        silence.record(ProbeResult::Answered, now + CONFIRMED_AFTER);
        assert!(!silence.is_confirmed(now + 2 * CONFIRMED_AFTER));
    }

    #[test]
    fn whoever_says_no_or_not_now_answers() {
        let busy = ProviderError { is_busy: true, ..ProviderError::unavailable("too many") };
        for said in [
            Ok(CheckoutStatus::Closed),
            Ok(CheckoutStatus::Undecided),
            Err(ProviderError::refusal("no")),
            Err(busy),
        ] {
            assert_eq!(ProbeResult::from_answer(&said), ProbeResult::Answered, "{said:?}");
        }
        assert_eq!(
            ProbeResult::from_answer(&Err(ProviderError::unavailable("no route"))),
            ProbeResult::NoAnswer
        );
    }
}
