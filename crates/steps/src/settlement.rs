//! Settles one batch of tickets: the transaction, the acknowledgement in the queue, and the
//! verdicts, in this sequence.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. If the driver stops between two effects, the later effects are
/// not performed. Tickets that are not acknowledged stay in their queue, and are delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Settle the batch in one transaction of the store. Repeat the transaction until its result is
    /// known.
    Commit,
    /// Acknowledge the tickets in their queues. If this fails, go on.
    Acknowledge,
    /// Deliver the verdicts to the nodes and requests that wait for them.
    Deliver,
}

/// Returns the effects of the settlement of one batch. If the simulator removes
/// [`Rule::AcknowledgeAfterCommit`] or [`Rule::TellAfterCommit`], the acknowledgement or the
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
