//! Pauses or closes a sale. The slots are stopped and drained before the phase changes. So tickets
//! from before the stop are usually settled before buyers get the answer "paused" or "ended". The
//! waits are bounded. If tickets are still unsettled after the waits, the change of the phase
//! returns their units.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. The sale stop continues if a slot is unreachable, or if a wait
/// reaches its bound. If an effect fails, the driver cancels the drain, and the sale goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell every node that the sale is being drained, so that no node opens a grant. The result is
    /// the sale's version.
    Announce,
    /// Stop the slots that the driver reaches.
    StopSlots,
    /// Wait until the tickets of the stopped slots are settled. The wait is bounded.
    AwaitTickets,
    /// Wait until the other nodes have drained their slots. The wait is bounded.
    AwaitNodes,
    /// Change the phase and close every remaining grant, in one transaction. If the sale has
    /// changed since [`Effect::Announce`], the phase does not change, and the driver may begin
    /// again ([`doorbuster_core::sale::is_as_announced`]).
    ChangePhase,
}

/// Returns the sequence of effects for a pause or a close. If the simulator has removed
/// [`Rule::PhaseAfterDrain`], the phase changes before the slots are drained.
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
