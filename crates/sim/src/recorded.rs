//! Records a simulated sale, so that the same transactions and slot calls can run again on a real
//! store and on real slots.
use doorbuster_core::model::Model;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{IdKey, SlotKey};

use crate::names::NAMES;
use crate::op::{Case, Op};
use crate::profile;
use crate::state::{RecordedCall, slot_bounds};
use crate::store::{Tx, TxResult};
use crate::world::World;

/// A recorded simulated sale.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    /// The rows before the first transaction.
    pub before: Model,
    /// The transactions with their results.
    pub trace: Vec<(Tx, TxResult)>,
    /// The keys of the sale's slots.
    pub slot_keys: Vec<SlotKey>,
    /// The calls to the slots, each with the slot's reply and the slot's state after the call.
    pub calls: Vec<RecordedCall>,
    /// The bounds of each slot's memory.
    pub bounds: SlotBounds,
}

impl RecordedRun {
    /// Runs a list of operations and records the run. Real slots and stores cannot repeat
    /// everything, so the run differs from a normal run:
    ///
    /// - Slots have the bounds of the server's slots, and no saved copies.
    /// - All sales are open from the start, because a record does not contain the opening of a
    ///   sale.
    ///
    /// # Errors
    /// Returns the checker's finding.
    pub fn from_case(case: &Case) -> Result<Self, String> {
        let mut case = case.clone();
        (case.setup.tight, case.setup.opens) = (0, 0);
        case.ops.retain(|op| !matches!(op, Op::Save { .. } | Op::Swap { .. }));
        Self::with_all_faults(&case)
    }

    /// Runs a list of operations and records the run, with all bounds and faults of the list.
    ///
    /// # Errors
    /// Returns the checker's finding.
    pub fn with_all_faults(case: &Case) -> Result<Self, String> {
        let (mut world, before) = World::recorded(&case.setup);
        let slot_keys = world.places.iter().map(|p| p.at).collect();
        if let Some(finding) = world.run(&case.ops) {
            return Err(format!("{}: {}", finding.what, finding.detail));
        }
        let (trace, calls) =
            (world.store.trace.take().unwrap_or_default(), world.calls.take().unwrap_or_default());
        Ok(Self { before, trace, slot_keys, calls, bounds: slot_bounds(&case.setup) })
    }

    /// Runs a seed's list of operations, and records the run as [`RecordedRun::from_case`] does.
    ///
    /// # Errors
    /// Returns the checker's finding.
    pub fn from_seed(seed: u64) -> Result<Self, String> {
        Self::from_case(&profile::case(seed))
    }
}

/// Returns the key that signs the ids of simulated tickets. The real slots and stores that repeat a
/// run must have this key.
#[must_use]
pub fn id_key() -> IdKey {
    NAMES.key.clone()
}
