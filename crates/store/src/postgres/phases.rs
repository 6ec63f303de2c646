//! The phases of a sale.
use doorbuster_core::sale::{Phase, PhaseChange, PhaseStep};
use doorbuster_core::{CloseCause, GrantId, stock};

use crate::contract::{SaleRow, StepOutcome};
use crate::events::sale_event;

use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::rows;
use super::sales::{lock_sale, recorded_change};

type Done<T> = Result<T, Failure>;

/// Moves a sale to its next phase, and records when it first opened and when it closed.
pub(super) fn apply_step(
    ledger: &mut PostgresLedger<'_>,
    id: &str,
    step: PhaseStep,
) -> Done<StepOutcome> {
    let Some(sale) = lock_sale(ledger, id)? else { return Ok(StepOutcome::NotFound) };
    let phase = match step.apply(sale.phase) {
        PhaseChange::To(phase) => phase,
        PhaseChange::Already => return Ok(StepOutcome::Done { sale, changed: false }),
        PhaseChange::WrongState => return Ok(StepOutcome::WrongState(sale.phase)),
    };
    enter_phase(ledger, &sale, phase)?;
    recorded_change(ledger, &sale).map(|sale| {
        sale.map_or(StepOutcome::NotFound, |sale| StepOutcome::Done { sale, changed: true })
    })
}

/// Pauses a sale that never opened.
pub(super) fn pause_scheduled(ledger: &mut PostgresLedger<'_>, id: &str) -> Done<()> {
    match lock_sale(ledger, id)?.filter(|sale| sale.phase == Phase::Scheduled) {
        Some(sale) => enter_phase(ledger, &sale, Phase::Paused),
        None => Ok(()),
    }
}

/// Writes a locked sale's next phase. Closes the sale's grants if the phase allows no grants.
fn enter_phase(ledger: &mut PostgresLedger<'_>, sale: &SaleRow, phase: Phase) -> Done<()> {
    let closing = match phase {
        Phase::Draft | Phase::Paused => Some(CloseCause::Rolled),
        Phase::Closed => Some(CloseCause::Ended),
        Phase::Scheduled | Phase::Open => None,
    };
    if let Some(cause) = closing {
        // All grants of all items of the sale, locked in the order of their ids.
        let items: Vec<i64> = sale.items.iter().map(|item| item.id.0).collect();
        let sql = "SELECT id FROM slot_grant WHERE item_id = ANY($1) AND open";
        let open = ledger.all(sql, &[&items], |row| Ok(GrantId(rows::number(row, 0)?)))?;
        ledger.lock_grants(&open)?;
        for item in &sale.items {
            stock::close_item_grants(ledger, item.id, cause)?;
        }
    }
    ledger.run(
        "UPDATE sale SET phase = $2, version = version + 1,
                         opened_at = CASE WHEN $2 = 'open' THEN coalesce(opened_at,
                         $3) ELSE opened_at END,
                         closed_at = CASE WHEN $2 = 'closed' THEN $3 ELSE closed_at END,
                         draining_until = NULL
         WHERE id = $1",
        &[&sale.id, &phase.as_str(), &ledger.now.0],
    )?;
    ledger.catalogue = true;
    ledger.cache.events.extend(sale_event(sale, phase, ledger.now));
    Ok(())
}
