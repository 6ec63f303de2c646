//! The sequence of effects in one turn of a worker that delivers events to an endpoint.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. If an effect fails, the worker drops its memory and starts again
/// from the store's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Store the results of the tries that have ended.
    StoreResults,
    /// Move the endpoint's position forward. The position passes delivered events, unwanted events,
    /// failed events, and events that wait behind a failed event. The same transaction stores the
    /// failed and the waiting events as rows. The driver need not wait for the transaction's
    /// commit.
    AdvancePosition,
    /// Read the events after the last event that this worker has read.
    ReadEvents,
    /// Start to send the events that may be sent now, without waiting for the results.
    SendEvents,
}

/// Returns the effects of one turn. If the simulator has removed [`Rule::NoteBeforeNext`], the
/// results are stored only after the next events are sent.
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
