//! The sequence of effects that settle one batch of tickets: first the transaction, then the
//! acknowledgement, then the delivery of the verdicts.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. The driver may stop between two effects, because tickets that are
/// not acknowledged are delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Settle the batch in one transaction. Repeat the transaction until its result is known.
    Commit,
    /// Acknowledge the tickets in their queues. If this fails, go on with the next effect.
    Acknowledge,
    /// Deliver the verdicts to the nodes and requests that wait for them.
    Deliver,
}

/// Returns the sequence of effects. If the simulator has removed [`Rule::AcknowledgeAfterCommit`],
/// the acknowledgement comes before the commit. If it has removed [`Rule::TellAfterCommit`], the
/// delivery comes before the commit.
#[must_use]
pub fn effects() -> &'static [Effect] {
    use Effect::{Acknowledge, Commit, Deliver};
    if !enforces(Rule::TellAfterCommit) {
        return &[Deliver, Commit, Acknowledge];
    }
    match enforces(Rule::AcknowledgeAfterCommit) {
        true => &[Commit, Acknowledge, Deliver],
        false => &[Acknowledge, Commit, Deliver],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_comes_first_and_the_verdicts_last() {
        assert_eq!(effects(), [Effect::Commit, Effect::Acknowledge, Effect::Deliver]);
    }
}
