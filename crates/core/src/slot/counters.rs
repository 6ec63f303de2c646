//! A slot's units, in two counters. Tickets deduct units from the active counter. Meanwhile, the
//! leader can refill the inactive counter.
use crate::rules::{Rule, enforces};
use crate::spread::Counter;

#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    pub(super) units: [u64; 2],
    pub(super) active: Counter,
    /// If the active counter has fewer units than this threshold, the slot needs a refill.
    pub(super) threshold: u64,
    /// Whether the slot asks the leader for a refill. This is only a hint.
    pub(super) mark: bool,
}

impl Counters {
    pub(super) fn new(units: u64, threshold: u64) -> Self {
        Self { units: [units, 0], active: Counter::A, threshold, mark: false }
    }

    pub(super) fn sum(&self) -> u64 {
        self.units[0] + self.units[1]
    }

    pub(super) fn can_serve(&self, units: u64) -> bool {
        let alone = self.units.iter().any(|&has| has >= units);
        alone || (self.sum() >= units && enforces(Rule::MergeCounters))
    }

    /// Deducts units, as part of the slot's atomic step. Call [`Counters::can_serve`] first.
    ///
    /// - If only the other counter has enough units, the other counter becomes active.
    /// - If neither counter alone has enough units, all units first move into the active counter.
    /// - If the deduction leaves the active counter below the threshold, the counter with more
    ///   units becomes active.
    pub(super) fn deduct(&mut self, units: u64) {
        let other = self.active.other().index();
        if self.units[self.active.index()] < units {
            if self.units[other] >= units && enforces(Rule::FlipWhenShort) {
                self.flip();
            } else {
                self.units[self.active.index()] += std::mem::take(&mut self.units[other]);
                self.ask_for_refill();
            }
        }
        let left = self.units[self.active.index()].saturating_sub(units);
        self.units[self.active.index()] = left;
        if left < self.threshold {
            self.ask_for_refill();
            if self.units[self.active.other().index()] > left && enforces(Rule::FlipBelowThreshold)
            {
                self.flip();
            }
        }
    }

    fn flip(&mut self) {
        self.active = self.active.other();
        self.ask_for_refill();
    }

    fn ask_for_refill(&mut self) {
        self.mark |= enforces(Rule::RefillMark);
    }

    /// Takes at most `units` units out of the slot. Takes them first from the inactive counter, so
    /// that the active counter can still serve requests.
    pub(super) fn take(&mut self, units: u64) -> u64 {
        let mut order = [self.active.other(), self.active];
        if !enforces(Rule::RecallInactiveFirst) {
            order.reverse();
        }
        let mut lacks = units;
        for counter in order {
            let taken = lacks.min(self.units[counter.index()]);
            self.units[counter.index()] -= taken;
            lacks -= taken;
        }
        units - lacks
    }

    pub(super) fn add(&mut self, counter: Counter, units: u64) {
        self.units[counter.index()] += units;
    }
}
