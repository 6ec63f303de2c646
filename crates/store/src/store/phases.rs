//! The phases of a sale.
use doorbuster_core::sale::{Phase, PhaseChange, PhaseStep};
use doorbuster_core::{CloseCause, GrantId, ItemId, stock};

use crate::contract::{SaleRow, StepOutcome};
use crate::events::sale_event;
use crate::failure::Done;
use crate::sql::{Statement, dialects, values};
use crate::transaction::Transaction;

use super::sales::{lock_sale, recorded_change};

const ENTER_PHASE: Statement = dialects!(
    "UPDATE sale SET phase = $2, version = version + 1,
         opened_at = CASE WHEN $2 = 'open' THEN coalesce(opened_at, $3) ELSE opened_at END,
         closed_at = CASE WHEN $2 = 'closed' THEN $3 ELSE closed_at END",
    "" | ", draining_until = NULL",
    " WHERE id = $1"
);
const OPEN_GRANTS: &str = "SELECT id FROM slot_grant WHERE item_id = ANY($1) AND open";

/// Moves a sale to its next phase, and records when it first opened and when it closed.
pub(crate) fn apply_step(
    tx: &mut Transaction<'_, '_>,
    id: &str,
    step: PhaseStep,
) -> Done<StepOutcome> {
    let Some(sale) = lock_sale(tx, id)? else { return Ok(StepOutcome::NotFound) };
    let phase = match step.apply(sale.phase) {
        PhaseChange::To(phase) => phase,
        PhaseChange::Already => return Ok(StepOutcome::Done { sale, changed: false }),
        PhaseChange::WrongState => return Ok(StepOutcome::WrongState(sale.phase)),
    };
    enter_phase(tx, &sale, phase)?;
    let sale = recorded_change(tx, &sale)?;
    Ok(sale.map_or(StepOutcome::NotFound, |sale| StepOutcome::Done { sale, changed: true }))
}

/// Pauses a sale that never opened.
pub(crate) fn pause_scheduled(tx: &mut Transaction<'_, '_>, id: &str) -> Done<()> {
    match lock_sale(tx, id)?.filter(|sale| sale.phase == Phase::Scheduled) {
        Some(sale) => enter_phase(tx, &sale, Phase::Paused),
        None => Ok(()),
    }
}

/// Writes a locked sale's next phase. Closes the sale's grants if the phase allows no grants.
fn enter_phase(tx: &mut Transaction<'_, '_>, sale: &SaleRow, phase: Phase) -> Done<()> {
    let closing = match phase {
        Phase::Draft | Phase::Paused => Some(CloseCause::Rolled),
        Phase::Closed => Some(CloseCause::Ended),
        Phase::Scheduled | Phase::Open => None,
    };
    tx.change_catalogue()?;
    if let Some(cause) = closing {
        let items: Vec<ItemId> = sale.items.iter().map(|item| item.id).collect();
        lock_open_grants(tx, &items)?;
        for item in items {
            stock::close_item_grants(tx.rules(), item, cause)?;
        }
    }
    let now = tx.now();
    tx.run(ENTER_PHASE, &values![&sale.id, phase.as_str(), now])?;
    if let Some(event) = sale_event(sale, phase, now) {
        tx.rules().append_event(&event)?;
    }
    Ok(())
}

/// Locks all open grants of these items, in the order of their ids.
fn lock_open_grants(tx: &mut Transaction<'_, '_>, items: &[ItemId]) -> Done<()> {
    if let Transaction::Postgres(ledger) = tx {
        let open = ledger.query(OPEN_GRANTS, &values![items], |row| Ok(GrantId(row.number(0)?)))?;
        ledger.lock_grants(&open)?;
    }
    Ok(())
}
