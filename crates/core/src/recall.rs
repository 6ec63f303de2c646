//! Recall: units on their way out of a slot, for lowering stock, for the tail, for a late payment.
//!
//! Three steps, each of which can be repeated: a pending row ([`begin`]), the slot gives up what it
//! can and remembers it under the recall's id ([`crate::slot::Slot::recall`]), and the truth moves
//! what was given ([`finish`]).
use crate::ledger::Ledger;
use crate::rows::{Recall, RecallTarget};
use crate::rules::{Rule, enforces};
use crate::stock;
use crate::value::{GrantId, RecallId};

/// Records that at most `asked` units are wanted out of an open, counted grant. `None` if there is
/// nothing to ask.
pub fn begin<L: Ledger>(
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

/// Moves what the slot gave to the target. Only the first call for a recall does anything; returns
/// how many units it moved.
pub fn finish<L: Ledger>(ledger: &mut L, id: RecallId, taken: u64) -> Result<u64, L::Error> {
    let Some(recall) = ledger.recall(id)? else { return Ok(0) };
    if recall.done && enforces(Rule::RecallDone) {
        return Ok(0);
    }
    let Some(from) = ledger.grant(recall.grant)? else { return Ok(0) };
    // Closing finished its recalls, so none of a closed grant is pending; were one, its units went
    // back to the pool then.
    let open = from.open;
    let most = if enforces(Rule::RecallClamp) { from.unsettled() } else { u64::MAX };
    let units = if open { taken.min(most) } else { 0 };
    ledger.put_recall(&Recall { taken: units, done: true, ..recall.clone() })?;
    if units > 0 {
        stock::move_recalled(ledger, &recall, units)?;
    }
    Ok(units)
}
