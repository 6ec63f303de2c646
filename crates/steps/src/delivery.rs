//! One turn of a worker that delivers events to an endpoint: the results of earlier tries, the
//! endpoint's position, the next events, and the next tries, in this sequence.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. If an effect fails, the worker forgets everything and starts
/// again from the store's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Store the results of the tries that have ended.
    StoreResults,
    /// Move the endpoint's position past the events that were delivered or that have a row. The
    /// driver may go on before the move is stored.
    AdvancePosition,
    /// Read the events after the last event that was read.
    ReadEvents,
    /// Start to send the events that may be sent now. Do not wait for the results.
    SendEvents,
}

/// One turn. It yields the effects in their sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeliveryTurn {
    done: usize,
}

impl Iterator for DeliveryTurn {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        let effect = sequence().get(self.done).copied();
        self.done += 1;
        effect
    }
}

/// Returns the sequence of the effects. Without the rule, results are stored after the next events
/// are sent.
fn sequence() -> [Effect; 4] {
    use Effect::{AdvancePosition, ReadEvents, SendEvents, StoreResults};
    match enforces(Rule::NoteBeforeNext) {
        true => [StoreResults, AdvancePosition, ReadEvents, SendEvents],
        false => [AdvancePosition, ReadEvents, SendEvents, StoreResults],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_stored_before_the_next_events_are_sent() {
        let effects: Vec<Effect> = DeliveryTurn::default().collect();
        assert_eq!(effects.first(), Some(&Effect::StoreResults));
        assert_eq!(effects.last(), Some(&Effect::SendEvents));
    }
}
