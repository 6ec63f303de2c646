//! A sale's phases: `draft ⇄ scheduled → open ⇄ paused → closed`. The store's clock decides when a
//! phase changes.

/// A sale's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The operator still edits the sale, and buyers do not see it.
    Draft,
    /// The sale is announced, and opens at its start.
    Scheduled,
    /// The sale is open.
    Open,
    /// An operator stopped the sale for a while.
    Paused,
    /// The sale is over.
    Closed,
}

/// A step that an operator or the clock requests.
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
    /// Closes the sale finally.
    Close,
}

/// The effect of a step on a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseChange {
    /// The phase changes to this one.
    To(Phase),
    /// The sale is in that phase already.
    Already,
    /// The step is not allowed in this phase.
    WrongState,
}

impl Phase {
    /// Every phase.
    pub const ALL: &[Self] =
        &[Self::Draft, Self::Scheduled, Self::Open, Self::Paused, Self::Closed];

    /// Returns the name in rows, JSON and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }

    /// Parses a phase's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.as_str() == word)
    }

    /// Returns the effect of `step` in this phase. A repeated step changes nothing.
    #[must_use]
    pub fn step(self, step: PhaseStep) -> PhaseChange {
        use Phase::{Closed, Draft, Open, Paused, Scheduled};
        match (step, self) {
            (PhaseStep::Schedule, Draft) => PhaseChange::To(Scheduled),
            (PhaseStep::Unschedule, Scheduled) => PhaseChange::To(Draft),
            (PhaseStep::Open, Draft | Scheduled) | (PhaseStep::Resume, Paused) => {
                PhaseChange::To(Open)
            }
            (PhaseStep::Pause, Open) => PhaseChange::To(Paused),
            (PhaseStep::Close, Scheduled | Open | Paused) => PhaseChange::To(Closed),
            (PhaseStep::Schedule, Scheduled)
            | (PhaseStep::Unschedule, Draft)
            | (PhaseStep::Open | PhaseStep::Resume, Open)
            | (PhaseStep::Pause, Paused)
            | (PhaseStep::Close, Closed) => PhaseChange::Already,
            _ => PhaseChange::WrongState,
        }
    }

    /// Returns whether prices and limits may still change.
    #[must_use]
    pub fn is_before_opening(self) -> bool {
        matches!(self, Self::Draft | Self::Scheduled)
    }
}

impl PhaseStep {
    /// Returns the name in paths and on the command line.
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
            for (phase, wanted) in Phase::ALL.iter().zip(row) {
                match (phase.step(step), wanted) {
                    (PhaseChange::To(got), Some(wanted)) => assert_eq!(got, wanted),
                    (PhaseChange::Already | PhaseChange::WrongState, None) => {}
                    other => panic!("{phase:?} {step:?}: {other:?}"),
                }
            }
        }
        assert_eq!(Open.step(PhaseStep::Open), PhaseChange::Already);
        assert_eq!(Draft.step(PhaseStep::Close), PhaseChange::WrongState);
        assert_eq!(Paused.step(PhaseStep::Open), PhaseChange::WrongState);
    }
}
