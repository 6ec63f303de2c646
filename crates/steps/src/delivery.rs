//! One turn of a worker that delivers events to an endpoint. The worker stores the results of
//! earlier tries, moves the endpoint's position, reads the next events, and sends them.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. If an effect fails, the worker forgets its state and starts again
/// from the store's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Store the results of the tries that have ended.
    StoreResults,
    /// Move the endpoint's position past these events: delivered events, events that the endpoint
    /// does not want, failed events, and events that wait behind a failed event. The same
    /// transaction stores the failed and the waiting events as rows. The driver may go on before
    /// this transaction has committed.
    AdvancePosition,
    /// Read the events after the last event that was read.
    ReadEvents,
    /// Start to send the events that may be sent now. Do not wait for the results.
    SendEvents,
}

/// Returns the effects of one turn. If the simulator removes [`Rule::NoteBeforeNext`], results are
/// stored after the next events are sent.
#[must_use]
pub fn effects() -> &'static [Effect] {
    use Effect::{AdvancePosition, ReadEvents, SendEvents, StoreResults};
    match enforces(Rule::NoteBeforeNext) {
        true => &[StoreResults, AdvancePosition, ReadEvents, SendEvents],
        false => &[AdvancePosition, ReadEvents, SendEvents, StoreResults],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_stored_before_the_next_events_are_sent() {
        let effects = super::effects();
        assert_eq!(effects.first(), Some(&Effect::StoreResults));
        assert_eq!(effects.last(), Some(&Effect::SendEvents));
    }
}
