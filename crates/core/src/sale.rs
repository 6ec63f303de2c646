//! A sale's phases: `draft ⇄ scheduled → open ⇄ paused → closed`. An operator can change the phase.
//! Also, when the store's clock reaches the sale's start or end, the server opens or closes the
//! sale.

pub use doorbuster_types::Phase;

use crate::Millis;
use crate::rules::{Rule, enforces};

/// A step that changes a sale's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhaseStep {
    /// Announces a draft.
    Schedule,
    /// Makes an announced sale a draft again.
    Unschedule,
    /// Opens the sale now.
    Open,
    /// Pauses the sale.
    Pause,
    /// Resumes the sale.
    Resume,
    /// Closes the sale permanently.
    Close,
}

/// The effect of a step on a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseChange {
    /// The sale's phase changes to the contained phase.
    To(Phase),
    /// The sale is already in the phase to which the step leads.
    Already,
    /// The step is not allowed in this phase.
    WrongState,
}

impl PhaseStep {
    /// Returns the effect of this step in a phase. A repeated step changes nothing.
    #[must_use]
    pub fn apply(self, phase: Phase) -> PhaseChange {
        use Phase::{Closed, Draft, Open, Paused, Scheduled};
        match (self, phase) {
            (Self::Schedule, Draft) => PhaseChange::To(Scheduled),
            (Self::Unschedule, Scheduled) => PhaseChange::To(Draft),
            (Self::Open, Draft | Scheduled) | (Self::Resume, Paused) => PhaseChange::To(Open),
            (Self::Pause, Open) => PhaseChange::To(Paused),
            (Self::Close, Scheduled | Open | Paused) => PhaseChange::To(Closed),
            (Self::Schedule, Scheduled)
            | (Self::Unschedule, Draft)
            | (Self::Open | Self::Resume, Open)
            | (Self::Pause, Paused)
            | (Self::Close, Closed) => PhaseChange::Already,
            _ => PhaseChange::WrongState,
        }
    }

    /// Returns the name of the step, as in the API's paths and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Unschedule => "unschedule",
            Self::Open => "open",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Close => "close",
        }
    }
}

/// An opening or closing that a sale's start or end time requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimedStep {
    /// Whether the sale opens or closes.
    pub step: PhaseStep,
    /// The time at which the step is due.
    pub at: Millis,
}

impl TimedStep {
    /// Returns the step that the sale's times require next. If no node ran between a sale's start
    /// and its end, the sale closes without opening.
    #[must_use]
    pub fn next(
        phase: Phase,
        starts_at: Option<Millis>,
        ends_at: Option<Millis>,
        now: Millis,
    ) -> Option<Self> {
        let close = ends_at.map(|at| Self { step: PhaseStep::Close, at });
        match phase {
            Phase::Scheduled => {
                let open = Self { step: PhaseStep::Open, at: starts_at? };
                Some(close.filter(|close| close.at <= now).unwrap_or(open))
            }
            Phase::Open | Phase::Paused => close,
            Phase::Draft | Phase::Closed => None,
        }
    }

    /// Returns whether the step is due. `now` must come from a clock that does not jump.
    #[must_use]
    pub fn is_due(self, now: Millis) -> bool {
        self.at <= now || !enforces(Rule::SaleOpensWhenDue)
    }
}

/// A step and its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StepRequest {
    /// An operator requests the step, or the server itself pauses the sale.
    Now(PhaseStep),
    /// The sale's times require the step.
    Timed(TimedStep),
}

impl StepRequest {
    /// Returns the step.
    #[must_use]
    pub fn step(self) -> PhaseStep {
        match self {
            Self::Now(step) | Self::Timed(TimedStep { step, .. }) => step,
        }
    }

    /// Returns whether a sale with this phase and these times still needs the step. A timed step is
    /// no longer needed if an operator has withdrawn the sale or moved the start or the end.
    #[must_use]
    pub fn is_needed(
        self,
        phase: Phase,
        starts_at: Option<Millis>,
        ends_at: Option<Millis>,
    ) -> bool {
        match self {
            Self::Now(_) => true,
            Self::Timed(timed) => {
                TimedStep::next(phase, starts_at, ends_at, timed.at) == Some(timed)
                    || !enforces(Rule::TimedStepStillNeeded)
            }
        }
    }
}

/// Returns whether a sale may be paused or closed after the drain of its slots. `announced` is the
/// sale's version when the drain was announced, and `current` is its version now. If they differ,
/// the sale has changed, and a drained slot may have issued tickets again.
#[must_use]
pub fn is_as_announced(announced: u64, current: u64) -> bool {
    announced == current || !enforces(Rule::ShowAsIntended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_their_table() {
        use Phase::*;
        let table = [
            (PhaseStep::Schedule, [Some(Scheduled), None, None, None, None]),
            (PhaseStep::Unschedule, [None, Some(Draft), None, None, None]),
            (PhaseStep::Open, [Some(Open), Some(Open), None, None, None]),
            (PhaseStep::Pause, [None, None, Some(Paused), None, None]),
            (PhaseStep::Resume, [None, None, None, Some(Open), None]),
            (PhaseStep::Close, [None, Some(Closed), Some(Closed), Some(Closed), None]),
        ];
        for (step, row) in table {
            for (phase, wanted) in Phase::ALL.into_iter().zip(row) {
                match (step.apply(phase), wanted) {
                    (PhaseChange::To(got), Some(wanted)) => assert_eq!(got, wanted),
                    (PhaseChange::Already | PhaseChange::WrongState, None) => {}
                    other => panic!("{phase:?} {step:?}: {other:?}"),
                }
            }
        }
        assert_eq!(PhaseStep::Open.apply(Open), PhaseChange::Already);
        assert_eq!(PhaseStep::Close.apply(Draft), PhaseChange::WrongState);
        assert_eq!(PhaseStep::Open.apply(Paused), PhaseChange::WrongState);
    }

    #[test]
    fn a_sale_whose_end_has_passed_does_not_open() {
        let next = |phase, now| {
            let step = TimedStep::next(phase, Some(Millis(10)), Some(Millis(20)), Millis(now));
            step.map(|step| (step.step, step.at))
        };
        let (open, close) = ((PhaseStep::Open, Millis(10)), (PhaseStep::Close, Millis(20)));
        assert_eq!(next(Phase::Scheduled, 5), Some(open));
        assert_eq!(next(Phase::Scheduled, 19), Some(open));
        assert_eq!(next(Phase::Scheduled, 20), Some(close));
        assert_eq!(next(Phase::Open, 19), Some(close));
        assert_eq!(next(Phase::Closed, 25), None);
    }

    #[test]
    fn a_timed_step_is_not_needed_after_its_time_moved() {
        let (start, end) = (Some(Millis(10)), Some(Millis(20)));
        let open = StepRequest::Timed(TimedStep { step: PhaseStep::Open, at: Millis(10) });
        assert!(open.is_needed(Phase::Scheduled, start, end));
        assert!(!open.is_needed(Phase::Scheduled, Some(Millis(11)), end));
        assert!(!open.is_needed(Phase::Draft, start, end));
        let close = StepRequest::Timed(TimedStep { step: PhaseStep::Close, at: Millis(20) });
        for phase in [Phase::Scheduled, Phase::Open, Phase::Paused] {
            assert!(close.is_needed(phase, start, end), "{phase:?}");
            assert!(!close.is_needed(phase, start, Some(Millis(30))), "{phase:?}");
            assert!(!close.is_needed(phase, start, None), "{phase:?}");
        }
        assert!(StepRequest::Now(PhaseStep::Close).is_needed(Phase::Open, start, None));
    }
}
