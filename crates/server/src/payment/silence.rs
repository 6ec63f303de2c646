//! Whether a provider answers at all. One that does not is asked by a few at a time, and nobody else waits for a turn to hear nothing: with thousands of
//! orders due, each of which waited for as long as an answer may take, the last would be asked long after the grace of the first.
use std::time::{Duration, Instant};

use super::provider::{ProviderError, Standing};

/// Checkouts that are asked about at the same time.
pub(super) const AT_ONCE: usize = 32;
/// Questions that come to nothing, with no answer between them, after which a provider counts as silent.
const SILENT_AFTER: usize = AT_ONCE;
/// How long it must have been silent until whoever is not asked about counts as asked in vain: what passes sooner costs nobody time.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);
/// Checkouts of which a silent provider is asked at the same time.
const PROBES: usize = 4;

/// What came of asking about a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The provider answered, if only that it will not, or not now.
    Answer,
    /// It could not be asked, or said nothing that can be used.
    Nothing,
    /// Nobody was asked.
    Unasked,
}

impl Heard {
    /// Of what a provider said.
    pub(super) fn of(said: &Result<Standing, ProviderError>) -> Self {
        match said {
            Err(error) if !error.is_refusal && !error.is_busy => Self::Nothing,
            _ => Self::Answer,
        }
    }
}

/// How long a provider has said nothing.
#[derive(Debug, Default)]
pub(super) struct Silence {
    in_vain: usize,
    /// Since when it counts as silent.
    since: Option<Instant>,
}

impl Silence {
    /// Counts what came of a question. One answer ends it.
    pub(super) fn hear(&mut self, heard: Heard, now: Instant) {
        match heard {
            Heard::Unasked => {}
            Heard::Answer => {
                if self.lasts() {
                    tracing::info!("the payment provider answers again about checkouts");
                }
                *self = Self::default();
            }
            Heard::Nothing => {
                self.in_vain = self.in_vain.saturating_add(1);
                if self.in_vain == SILENT_AFTER {
                    self.since = Some(now);
                    tracing::warn!(
                        "the payment provider does not answer about checkouts: it is asked about a few only"
                    );
                }
            }
        }
    }

    /// Whether the provider counts as silent.
    pub(super) fn lasts(&self) -> bool {
        self.in_vain >= SILENT_AFTER
    }

    /// Whether it has been silent for so long that those who are not asked about count as asked in vain.
    pub(super) fn is_believed(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= BELIEVED_AFTER)
    }

    /// How many more may be asked about while so many are.
    pub(super) fn free(&self, asking: usize) -> usize {
        let at_once = if self.lasts() { PROBES } else { AT_ONCE };
        at_once.saturating_sub(asking)
    }

    /// Takes those out about whom nobody is asked now, because the provider is silent. Of those that wait the last is asked about first.
    pub(super) fn spare<T>(&self, waiting: &mut Vec<T>, asking: usize) -> Vec<T> {
        if !self.lasts() {
            return Vec::new();
        }
        let spared = waiting.len().saturating_sub(self.free(asking));
        waiting.drain(..spared).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent() -> Silence {
        let mut silence = Silence::default();
        (0..SILENT_AFTER).for_each(|_| silence.hear(Heard::Nothing, Instant::now()));
        silence
    }

    #[test]
    fn a_provider_is_silent_after_as_many_questions_in_vain_until_it_answers_once() {
        let (mut silence, now) = (Silence::default(), Instant::now());
        for _ in 1..SILENT_AFTER {
            silence.hear(Heard::Nothing, now);
            silence.hear(Heard::Unasked, now);
        }
        assert!(!silence.lasts());
        silence.hear(Heard::Answer, now);
        for _ in 1..SILENT_AFTER {
            silence.hear(Heard::Nothing, now);
        }
        assert!(!silence.lasts(), "there was an answer between them");
        silence.hear(Heard::Nothing, now);
        silence.hear(Heard::Nothing, now);
        silence.hear(Heard::Unasked, now);
        assert!(silence.lasts());
        silence.hear(Heard::Answer, now);
        assert!(!silence.lasts());
    }

    #[test]
    fn a_silent_provider_is_asked_about_a_few_and_the_first_of_those_that_wait() {
        let mut waiting: Vec<u32> = (0..100).collect();
        let silence = Silence::default();
        assert_eq!(
            (silence.free(0), silence.free(AT_ONCE - 1), silence.free(AT_ONCE)),
            (AT_ONCE, 1, 0)
        );
        assert!(silence.spare(&mut waiting, 0).is_empty() && waiting.len() == 100);
        let silence = silent();
        assert_eq!((silence.free(1), silence.free(AT_ONCE)), (PROBES - 1, 0));
        assert_eq!(silence.spare(&mut waiting, 1).len(), 100 - PROBES + 1);
        assert_eq!(waiting, (100 - PROBES as u32 + 1..100).collect::<Vec<_>>());
        assert!(silence.spare(&mut waiting, 1).is_empty(), "these are asked about");
        assert_eq!(
            silence.spare(&mut waiting, AT_ONCE).len(),
            PROBES - 1,
            "questions of before are under way"
        );
        assert!(silence.spare(&mut waiting, 0).is_empty());
    }

    #[test]
    fn a_short_silence_costs_nobody_time() {
        let (mut silence, now) = (Silence::default(), Instant::now());
        (1..SILENT_AFTER).for_each(|_| silence.hear(Heard::Nothing, now));
        assert!(!silence.is_believed(now + 2 * BELIEVED_AFTER), "it is not silent yet");
        silence.hear(Heard::Nothing, now);
        silence.hear(Heard::Nothing, now + BELIEVED_AFTER);
        assert!(!silence.is_believed(now) && silence.is_believed(now + BELIEVED_AFTER));
        silence.hear(Heard::Answer, now + BELIEVED_AFTER);
        assert!(!silence.is_believed(now + 2 * BELIEVED_AFTER));
    }

    #[test]
    fn whoever_says_no_or_not_now_answers() {
        let busy = ProviderError { is_busy: true, ..ProviderError::away("too many") };
        for said in [
            Ok(Standing::Closed),
            Ok(Standing::Undecided),
            Err(ProviderError::refusal("no")),
            Err(busy),
        ] {
            assert_eq!(Heard::of(&said), Heard::Answer, "{said:?}");
        }
        assert_eq!(Heard::of(&Err(ProviderError::away("no route"))), Heard::Nothing);
    }
}
