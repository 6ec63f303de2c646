//! The phases of a sale.
use doorbuster_core::sale::{Phase, PhaseChange, PhaseStep, StepRequest, is_as_announced};
use doorbuster_core::{CloseCause, GrantId, ItemId, stock};

use crate::contract::{SaleRow, StepOutcome};
use crate::events::sale_event;
use crate::failure::Done;
use crate::sql::{Statement, dialects, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::sales::{lock_sale, recorded_change};
use super::{Store, StoreResult};

const ENTER_PHASE: Statement = dialects!(
    "UPDATE sale SET phase = $2, version = version + 1,
         opened_at = CASE WHEN $2 = 'open' THEN coalesce(opened_at, $3) ELSE opened_at END,
         closed_at = CASE WHEN $2 = 'closed' THEN $3 ELSE closed_at END",
    "" | ", draining_until = NULL",
    " WHERE id = $1"
);
const OPEN_GRANTS: &str = "SELECT id FROM slot_grant WHERE item_id = ANY($1) AND open";

/// Only PostgreSQL stores a drain.
const DRAIN: Statement =
    statement("UPDATE sale SET draining_until = $2 WHERE id = $1 RETURNING version");
/// Ends a drain, and increases the sale's version. If another node is draining the sale, the
/// statement ends that drain as well. The other node sees the new version, and drains the sale
/// again.
const CANCEL_DRAIN: Statement = statement(
    "UPDATE sale SET draining_until = NULL, version = version + 1
     WHERE id = $1 AND draining_until IS NOT NULL",
);

impl Store {
    /// Moves a sale to its next phase.
    pub async fn step_sale(&self, id: &str, step: PhaseStep) -> StoreResult<StepOutcome> {
        let outcome = self.step_drained_sale(id, StepRequest::Now(step), None).await?;
        Ok(outcome.unwrap_or(StepOutcome::NotFound))
    }

    /// Moves a sale to its next phase after the sale's slots were drained. `announced` is the
    /// result of [`Store::drain_sale`]. If `request` is a timed step that the sale no longer needs,
    /// for example because the sale's times changed, the call changes nothing.
    ///
    /// Returns `None` and writes nothing if the sale has changed since the announcement
    /// ([`doorbuster_core::sale::is_as_announced`]). In that case, drain the slots again.
    pub async fn step_drained_sale(
        &self,
        id: &str,
        request: StepRequest,
        announced: Option<u64>,
    ) -> StoreResult<Option<StepOutcome>> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |tx| apply_step(tx, &id, request, announced)).await
    }

    /// Pauses a scheduled sale. [`Store::step_sale`] cannot do this, because [`PhaseStep::Pause`]
    /// is refused in this phase.
    pub async fn pause_scheduled_sale(&self, id: &str) -> StoreResult<StepOutcome> {
        let id = id.to_owned();
        self.job(RetryUnknown::Never, move |tx| pause_scheduled(tx, &id)).await
    }

    /// Announces to every node that the sale is about to be paused or closed. The announcement
    /// lasts at most `for_ms`. During this time, the nodes finish the requests in flight. A step to
    /// another phase ends the announcement earlier. Returns the sale's version, or `None` if no
    /// such sale exists. In SQLite, does nothing and returns `None`.
    pub async fn drain_sale(&self, id: &str, for_ms: i64) -> StoreResult<Option<u64>> {
        if let Self::Sqlite(_) = self {
            return Ok(None);
        }
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| {
            let until = tx.now().plus(for_ms);
            tx.change_catalogue()?;
            tx.one(DRAIN, &values![&id, until], |row| row.number(0))
        })
        .await
    }

    /// Tells every node that the sale is not about to be paused or closed any more, after
    /// [`Store::drain_sale`] said so. Does nothing in SQLite.
    pub async fn cancel_drain(&self, id: &str) -> StoreResult<()> {
        if let Self::Sqlite(_) = self {
            return Ok(());
        }
        let id = id.to_owned();
        self.job(RetryUnknown::Allowed, move |tx| {
            tx.change_catalogue()?;
            tx.run(CANCEL_DRAIN, &values![&id]).map(drop)
        })
        .await
    }
}

/// Returns `None` and writes nothing if the sale has changed since its drain was announced.
pub(crate) fn apply_step(
    tx: &mut Transaction<'_, '_>,
    id: &str,
    request: StepRequest,
    announced: Option<u64>,
) -> Done<Option<StepOutcome>> {
    let Some(sale) = lock_sale(tx, id)? else { return Ok(Some(StepOutcome::NotFound)) };
    if !request.is_needed(sale.phase, sale.starts_at, sale.ends_at) {
        return Ok(Some(StepOutcome::Done { sale, changed: false }));
    }
    let phase = match request.step().apply(sale.phase) {
        PhaseChange::To(phase) => phase,
        PhaseChange::Already => return Ok(Some(StepOutcome::Done { sale, changed: false })),
        PhaseChange::WrongState => return Ok(Some(StepOutcome::WrongState(sale.phase))),
    };
    if announced.is_some_and(|announced| !is_as_announced(announced, sale.version)) {
        return Ok(None);
    }
    enter_phase(tx, &sale, phase)?;
    let sale = recorded_change(tx, &sale)?;
    let done = |sale| StepOutcome::Done { sale, changed: true };
    Ok(Some(sale.map_or(StepOutcome::NotFound, done)))
}

pub(crate) fn pause_scheduled(tx: &mut Transaction<'_, '_>, id: &str) -> Done<StepOutcome> {
    let Some(sale) = lock_sale(tx, id)? else { return Ok(StepOutcome::NotFound) };
    match sale.phase {
        Phase::Scheduled => {}
        Phase::Paused => return Ok(StepOutcome::Done { sale, changed: false }),
        other => return Ok(StepOutcome::WrongState(other)),
    }
    enter_phase(tx, &sale, Phase::Paused)?;
    let sale = recorded_change(tx, &sale)?;
    let done = |sale| StepOutcome::Done { sale, changed: true };
    Ok(sale.map_or(StepOutcome::NotFound, done))
}

/// Writes the next phase of a locked sale. Closes the sale's grants if the phase allows no grants.
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
            stock::close_item_grants(tx.ledger(), item, cause)?;
        }
    }
    let now = tx.now();
    tx.run(ENTER_PHASE, &values![&sale.id, phase.as_str(), now])?;
    if let Some(event) = sale_event(sale, phase, now) {
        tx.ledger().append_event(&event)?;
    }
    Ok(())
}

/// Locks all open grants of these items, in the order of their ids.
pub(super) fn lock_open_grants(tx: &mut Transaction<'_, '_>, items: &[ItemId]) -> Done<()> {
    if let Transaction::Postgres(ledger) = tx {
        let open = ledger.query(OPEN_GRANTS, &values![items], |row| Ok(GrantId(row.number(0)?)))?;
        ledger.lock_grants(&open)?;
    }
    Ok(())
}
