//! Recalls: a recall transfers units out of a slot, in three steps. First, [`begin`] writes a
//! pending row. Then the slot gives up units, and remembers their number under the recall's id
//! ([`crate::slot::Slot::recall`]). Last, [`finish`] moves these units in the store. Each step can
//! be repeated without harm.
use crate::ledger::Ledger;
use crate::rows::{Recall, RecallTarget};
use crate::rules::{Rule, enforces};
use crate::slot::RecallOutcome;
use crate::stock;
use crate::value::{GrantId, RecallId};

/// Records a recall of at most `asked` units from a grant. Returns `None` if the grant is not open,
/// if the item's stock is unlimited, or if `asked` is 0.
pub fn begin<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: RecallId,
    grant: GrantId,
    target: RecallTarget,
    asked: u64,
) -> Result<Option<Recall>, L::Error> {
    if let Some(recall) = ledger.recall(id)? {
        return Ok(Some(recall));
    }
    let Some(from) = ledger.grant(grant)? else { return Ok(None) };
    if !from.open || !from.counted || asked == 0 {
        return Ok(None);
    }
    let recall = Recall { id, grant, target, asked, taken: 0, done: false };
    ledger.put_recall(&recall)?;
    Ok(Some(recall))
}

impl RecallOutcome {
    /// Returns how many units the store moves after this answer of the slot. Returns `None` if the
    /// slot refused the recall, which then stays pending until its grant is closed.
    #[must_use]
    pub fn units_to_move(self) -> Option<u64> {
        match self {
            Self::Taken(units) => Some(units),
            Self::Refused => (!enforces(Rule::RecallRefusalFinishesNothing)).then_some(0),
        }
    }
}

/// Moves the recalled units to the recall's target, and returns the number of moved units. If the
/// recall is already finished, moves nothing and returns 0.
pub fn finish<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: RecallId,
    taken: u64,
) -> Result<u64, L::Error> {
    let Some(recall) = ledger.recall(id)? else { return Ok(0) };
    if recall.done && enforces(Rule::RecallDone) {
        return Ok(0);
    }
    let Some(from) = ledger.grant(recall.grant)? else { return Ok(0) };
    // If the grant is closed, its units are already back in the pool, so the recall moves nothing.
    let open = from.open;
    let most = if enforces(Rule::RecallClamp) { from.unsettled() } else { u64::MAX };
    let units = if open { taken.min(most) } else { 0 };
    ledger.put_recall(&Recall { taken: units, done: true, ..recall.clone() })?;
    if units > 0 {
        stock::move_recalled(ledger, &recall, units)?;
    }
    Ok(units)
}
