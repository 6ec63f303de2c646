//! The phases of the items' sales.
use doorbuster_core::sale::{PhaseChange, StepRequest, TimedStep, is_as_announced};
use doorbuster_core::{ItemId, Millis, Phase};

use super::SimStore;

/// The phase of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseRow {
    /// The phase that buyers see.
    pub shown: Phase,
    /// The phase that the item gets after the drain of its slots, and the number of the commit that
    /// recorded this phase. `None` if no change of the phase is under way.
    pub intent: Option<(Phase, u64)>,
    /// The time at which the sale opens by itself, in monotonic time.
    pub starts_at: Option<Millis>,
}

impl PhaseRow {
    /// Returns whether the item's slots have open grants. They do before the sale opens, and while
    /// the sale is open.
    #[must_use]
    pub fn has_open_slots(&self) -> bool {
        matches!(self.shown, Phase::Scheduled | Phase::Open)
    }
}

impl SimStore {
    /// Takes a step whose time has come. Returns whether this changed the phase that buyers see.
    pub(super) fn take_step(&mut self, item: ItemId, step: TimedStep) -> bool {
        let is_needed = |row: &&mut PhaseRow| {
            row.intent.is_none()
                && StepRequest::Timed(step).is_needed(row.shown, row.starts_at, None)
        };
        let Some(row) = self.phases.get_mut(&item).filter(is_needed) else { return false };
        let PhaseChange::To(phase) = step.step.apply(row.shown) else { return false };
        row.shown = phase;
        true
    }

    /// Changes the phase that buyers see, if the intended phase is still the one that the leader
    /// read. Returns whether the phase changed.
    pub(super) fn show_phase(&mut self, item: ItemId, intent: Option<(Phase, u64)>) -> bool {
        // Commits have numbers above 0, so 0 can stand for a missing intent.
        let version = |intent: Option<(Phase, u64)>| intent.map_or(0, |(_, version)| version);
        let as_announced =
            |row: &&mut PhaseRow| is_as_announced(version(intent), version(row.intent));
        let Some(row) = self.phases.get_mut(&item).filter(as_announced) else { return false };
        match intent {
            Some((phase, _)) => {
                *row = PhaseRow { shown: phase, intent: None, ..*row };
                self.model.stopped.insert(item);
                if phase == Phase::Closed {
                    self.model.over.insert(item);
                }
                true
            }
            None if row.shown == Phase::Paused => {
                *row = PhaseRow { shown: Phase::Open, intent: None, ..*row };
                self.model.stopped.remove(&item);
                true
            }
            None => false,
        }
    }

    /// Moves the start of an item's sale to the time `at`. Changes nothing if the sale has opened.
    pub(super) fn move_start(&mut self, item: ItemId, at: Millis) {
        let scheduled = |row: &&mut PhaseRow| row.shown == Phase::Scheduled;
        if let Some(row) = self.phases.get_mut(&item).filter(scheduled) {
            row.starts_at = Some(at);
        }
    }

    /// Returns whether the item's slots have open grants in the sale's phase, and no change of the
    /// phase is going to stop them.
    #[must_use]
    pub fn has_open_slots(&self, item: ItemId) -> bool {
        self.phases.get(&item).is_some_and(|row| row.has_open_slots() && row.intent.is_none())
    }
}
