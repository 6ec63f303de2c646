//! Settles one batch of tickets: the transaction, the acknowledgement in the queue, and the
//! verdicts, in this sequence.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. If the driver ends before an effect, it performs no later effect.
/// Tickets that are not acknowledged stay in their queue, and are delivered again.
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

/// The settlement of one batch. It yields the effects in their sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settlement {
    done: usize,
}

impl Iterator for Settlement {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        let effect = sequence().get(self.done).copied();
        self.done += 1;
        effect
    }
}

/// Returns the sequence of the effects. Without the rules, an effect that depends on the commit
/// comes before it.
fn sequence() -> [Effect; 3] {
    use Effect::{Acknowledge, Commit, Deliver};
    if !enforces(Rule::TellAfterCommit) {
        return [Deliver, Commit, Acknowledge];
    }
    match enforces(Rule::AcknowledgeAfterCommit) {
        true => [Commit, Acknowledge, Deliver],
        false => [Acknowledge, Commit, Deliver],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_comes_first_and_the_verdicts_last() {
        let effects: Vec<Effect> = Settlement::default().collect();
        assert_eq!(effects, [Effect::Commit, Effect::Acknowledge, Effect::Deliver]);
    }
}
