//! Pauses or closes a sale: every slot stops and drains before the phase changes. Meanwhile the
//! server asks buyers to retry, so no buyer is told "paused" or "ended" while an earlier ticket can
//! still become an order.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver. If an effect fails, the driver cancels the drain, and the sale
/// goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell every node that the sale drains. Nodes then open no grant for it.
    Announce,
    /// Stop the slots that the driver reaches.
    StopSlots,
    /// Wait until the tickets of these slots are settled. The wait is bounded.
    AwaitTickets,
    /// Wait until the other nodes have drained their slots. The wait is bounded.
    AwaitNodes,
    /// Change the phase. The same transaction closes every grant that is still open.
    ChangePhase,
}

/// The pause or close of one sale. It yields the effects in their sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct SaleStop {
    done: usize,
}

impl Iterator for SaleStop {
    type Item = Effect;

    fn next(&mut self) -> Option<Effect> {
        let effect = sequence().get(self.done).copied();
        self.done += 1;
        effect
    }
}

/// Returns the sequence of the effects. Without the rule, the phase changes before the slots are
/// drained.
fn sequence() -> [Effect; 5] {
    use Effect::{Announce, AwaitNodes, AwaitTickets, ChangePhase, StopSlots};
    match enforces(Rule::PhaseAfterDrain) {
        true => [Announce, StopSlots, AwaitTickets, AwaitNodes, ChangePhase],
        false => [Announce, StopSlots, ChangePhase, AwaitTickets, AwaitNodes],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_changes_last() {
        let effects: Vec<Effect> = SaleStop::default().collect();
        assert_eq!(effects.first(), Some(&Effect::Announce));
        assert_eq!(effects.last(), Some(&Effect::ChangePhase));
    }
}
