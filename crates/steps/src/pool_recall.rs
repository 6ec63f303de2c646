//! Moves units from an item's slots to its pool, for a late payment or a lower total.
use std::cmp::Reverse;
use std::collections::VecDeque;

use doorbuster_core::slot::RecallOutcome;
use doorbuster_core::{Grant, GrantId, Recall, RecallId, RecallTarget, SlotKey};

/// The next action of the driver. If the store does not answer, the driver drops this step. If a
/// slot does not answer, the step takes the units of the other slots. A later reconciliation of the
/// item finishes the recalls that have begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the item's grants. The result is [`Input::Grants`].
    ReadGrants,
    /// For each grant, send its slot the missing feed rows, because these rows may return units.
    /// Then count the units that the slot can sell. The result is [`Input::Units`].
    CountUnits(Vec<Grant>),
    /// Read the pending recalls. The result is [`Input::Recalls`].
    ReadRecalls,
    /// Begin a recall to the pool. The result is [`Input::RecallBegun`].
    BeginRecall {
        /// The grant from which the units are recalled.
        from: GrantId,
        /// The units.
        units: u64,
    },
    /// Take the recalled units out of a slot. The result is [`Input::Taken`].
    TakeUnits {
        /// The slot's grant.
        from: Grant,
        /// The recall.
        recall: Recall,
    },
    /// Move the recalled units to the pool in the store. The result is [`Input::Moved`].
    FinishRecall {
        /// The recall.
        recall: RecallId,
        /// The units that the slot gave.
        units: u64,
    },
    /// The step has ended. The value is the number of units that moved to the pool. `None` means
    /// that no unit moved and a slot did not answer, so the slots may still have units.
    Finish(Option<u64>),
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The item's grants.
    Grants(Vec<Grant>),
    /// For each grant, the units that its slot can sell. The value is 0 if the slot does not have
    /// the grant, and `None` if the slot did not answer.
    Units(Vec<Option<u64>>),
    /// The pending recalls.
    Recalls(Vec<Recall>),
    /// The new recall. `None` means that no recall began, because the grant is closed.
    RecallBegun(Option<Recall>),
    /// The slot's answer to a recall. `None` means that the slot did not answer.
    Taken(Option<RecallOutcome>),
    /// The number of units that moved to the pool.
    Moved(u64),
}

#[derive(Clone, Debug)]
struct Source {
    grant: Grant,
    /// Whether this node can reach the slot.
    is_here: bool,
    units: u64,
}

/// A recall of units from an item's slots to its pool.
#[derive(Clone, Debug, Default)]
pub struct PoolRecall {
    reached: Vec<SlotKey>,
    lacks: u64,
    moved: u64,
    /// Whether a slot did not answer.
    is_incomplete: bool,
    /// The grants whose units are being counted.
    counted: Vec<Grant>,
    /// The slots from which this step may still recall units.
    sources: VecDeque<Source>,
    present: Option<Source>,
    /// The recall whose units are being taken.
    recall: Option<RecallId>,
}

impl PoolRecall {
    /// Begins to move at most `units` to the pool. `reached` are the slots that this node reaches.
    /// For every other slot, this node only begins a recall, and a node that reaches the slot moves
    /// the units.
    #[must_use]
    pub fn begin(reached: Vec<SlotKey>, units: u64) -> (Self, Effect) {
        (Self { reached, lacks: units, ..Self::default() }, Effect::ReadGrants)
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input) -> Effect {
        match input {
            Input::Grants(grants) => {
                for grant in grants.into_iter().filter(|grant| grant.open) {
                    if self.reached.contains(&grant.slot) {
                        self.counted.push(grant);
                    } else {
                        let units = grant.unsettled();
                        self.sources.push_back(Source { grant, is_here: false, units });
                    }
                }
                match self.counted.is_empty() {
                    true => Effect::ReadRecalls,
                    false => Effect::CountUnits(self.counted.clone()),
                }
            }
            Input::Units(units) => {
                self.is_incomplete |= units.contains(&None);
                for (grant, units) in self.counted.drain(..).zip(units) {
                    let units = units.unwrap_or(0);
                    self.sources.push_back(Source { grant, is_here: true, units });
                }
                Effect::ReadRecalls
            }
            Input::Recalls(pending) => {
                self.order_sources(&pending);
                self.recall_next()
            }
            Input::RecallBegun(recall) => match (&self.present, recall) {
                (Some(Source { grant, is_here: true, .. }), Some(recall)) => {
                    self.recall = Some(recall.id);
                    Effect::TakeUnits { from: grant.clone(), recall }
                }
                _ => self.recall_next(),
            },
            Input::Taken(outcome) => {
                self.is_incomplete |= outcome.is_none();
                let units = outcome.and_then(|outcome| outcome.units_to_move());
                match self.recall.take().zip(units) {
                    Some((recall, units)) => Effect::FinishRecall { recall, units },
                    None => self.recall_next(),
                }
            }
            Input::Moved(units) => {
                self.moved += units;
                self.lacks = self.lacks.saturating_sub(units);
                self.recall_next()
            }
        }
    }

    /// Sorts the slots by their units, the most units first. Removes slots without units. Also
    /// removes a slot of another node if the slot already has a pending recall to the pool.
    fn order_sources(&mut self, pending: &[Recall]) {
        let is_asked = |grant: &Grant| {
            pending.iter().any(|r| r.grant == grant.id && r.target == RecallTarget::Pool)
        };
        self.sources.retain(|it| it.units > 0 && (it.is_here || !is_asked(&it.grant)));
        self.sources.make_contiguous().sort_by_key(|it| (Reverse(it.units), it.grant.slot));
    }

    fn recall_next(&mut self) -> Effect {
        self.present = if self.lacks == 0 { None } else { self.sources.pop_front() };
        match &self.present {
            Some(Source { grant, units, .. }) => {
                Effect::BeginRecall { from: grant.id, units: self.lacks.min(*units) }
            }
            None => {
                let is_known = self.moved > 0 || !self.is_incomplete;
                Effect::Finish(is_known.then_some(self.moved))
            }
        }
    }
}

#[cfg(test)]
mod tests;
