//! Pauses or closes a sale. The slots stop and drain before the phase changes. So earlier tickets
//! are usually settled before buyers get the answer "paused" or "ended". The waits are bounded. The
//! phase change returns the units of tickets that are still unsettled.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. It is no failure if a slot is unreachable or a wait reaches its
/// bound. If an effect fails, the driver cancels the drain, and the sale goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell every node that the sale drains, so that the nodes open no grants. The result is the
    /// sale's version.
    Announce,
    /// Stop the slots that the driver reaches.
    StopSlots,
    /// Wait until the tickets of the stopped slots are settled. The wait is bounded.
    AwaitTickets,
    /// Wait until the other nodes have drained their slots. The wait is bounded.
    AwaitNodes,
    /// Change the phase and close every remaining grant, in one transaction. If the sale has
    /// changed since [`Effect::Announce`], the phase stays, and the driver may begin again
    /// ([`doorbuster_core::sale::is_as_announced`]).
    ChangePhase,
}

/// Returns the effects of a pause or close. Without [`Rule::PhaseAfterDrain`], the phase changes
/// before the slots are drained.
#[must_use]
pub fn effects() -> &'static [Effect] {
    use Effect::{Announce, AwaitNodes, AwaitTickets, ChangePhase, StopSlots};
    match enforces(Rule::PhaseAfterDrain) {
        true => &[Announce, StopSlots, AwaitTickets, AwaitNodes, ChangePhase],
        false => &[Announce, StopSlots, ChangePhase, AwaitTickets, AwaitNodes],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_changes_last() {
        let effects = super::effects();
        assert_eq!(effects.first(), Some(&Effect::Announce));
        assert_eq!(effects.last(), Some(&Effect::ChangePhase));
    }
}
