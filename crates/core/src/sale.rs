//! A sale's phases: `draft ⇄ scheduled → open ⇄ paused → closed`. An operator changes the phase, or
//! the sale opens and closes at its times by the store's clock.

pub use doorbuster_types::Phase;

use crate::rules::{Rule, enforces};

/// A step: a change of the phase that an operator requests, or that is due at a set time.
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
    /// The phase changes to this one.
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

/// Returns whether a pause or close may change the phase of a sale that has the version `current`.
/// `announced` is the sale's version when the drain of its slots was announced.
///
/// If the sale has changed since then, its slots must be drained again. For example, another
/// operator may have resumed the sale, and a drained slot may have issued tickets again.
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
}
