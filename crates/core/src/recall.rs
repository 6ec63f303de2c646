//! Recalls: a recall transfers units out of a slot. The server recalls units, for example to lower
//! the stock, to serve the last requests, to drain a slot, or for a late payment.
//!
//! A recall has three steps, and each can be repeated. [`begin`] writes a pending row. The slot
//! gives up units and remembers their number under the recall's id ([`crate::slot::Slot::recall`]).
//! [`finish`] moves these units in the store.
use crate::ledger::Ledger;
use crate::rows::{Recall, RecallTarget};
use crate::rules::{Rule, enforces};
use crate::slot::RecallOutcome;
use crate::stock;
use crate::value::{GrantId, RecallId};

/// Records a recall of at most `asked` units from an open, counted grant. Returns `None` if the
/// grant is closed or not counted, or if `asked` is 0.
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
    /// recall stays pending: a refused recall ends when its grant is closed.
    #[must_use]
    pub fn units_to_move(self) -> Option<u64> {
        match self {
            Self::Taken(units) => Some(units),
            Self::Refused => (!enforces(Rule::RecallRefusalFinishesNothing)).then_some(0),
        }
    }
}

/// Moves the recalled units to the target, and returns their number. Only the first call for a
/// recall has an effect.
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
    // Closing a grant finishes its recalls and returns its units to the pool. So a recall from a
    // closed grant must not move these units a second time.
    let open = from.open;
    let most = if enforces(Rule::RecallClamp) { from.unsettled() } else { u64::MAX };
    let units = if open { taken.min(most) } else { 0 };
    ledger.put_recall(&Recall { taken: units, done: true, ..recall.clone() })?;
    if units > 0 {
        stock::move_recalled(ledger, &recall, units)?;
    }
    Ok(units)
}
