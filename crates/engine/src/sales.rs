//! Creates, changes and deletes sales, and changes their phases and spreads. When a call returns,
//! its change is in the store and in this node's catalogue.
//!
//! [`SaleControl`] owns no state. It calls the store, the catalogue of its [`Node`], and
//! [`StockControl`], which drains and reconciles the slots. It also calls the slots, to view them,
//! to delete their data, and to learn on which servers they are. [`SaleControl`] has these callers:
//! the handlers of operators' requests, the audit, the demonstration, and the two jobs of this
//! module. One job opens and closes sales at their times. The other job adds partitions.

pub(crate) mod auto_partitions;
mod schedule;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorbuster_core::sale::{PhaseChange, PhaseStep, StepRequest, TimedStep};
use doorbuster_core::{Phase, Spread};
use doorbuster_steps::sale_stop::{self, Effect};
use doorbuster_store::{
    DeleteOutcome, NewSale, PatchOutcome, SalePatch, SaleRow, SpreadOutcome, StepOutcome,
};
use tokio::time::Instant;

use crate::catalogue::{ItemState, SaleState};
use crate::error::{DRAIN_MAX, EngineError};
use crate::node::{Jobs, Node};
use crate::sale_rows::{SaleLock, add_to_catalogue, update_in_catalogue, wake_spread_jobs};
use crate::stock::{StockControl, drain, retire_slots, slots_with_grants};

/// The maximum number of drains for one change of a phase. If another node changes the sale during
/// a drain, this node drains the sale again. After the last drain, the phase changes in any case.
/// So other nodes cannot prevent a pause or a close.
const DRAINS_MAX: u32 = 3;

/// The part of a node that changes sales.
pub struct SaleControl {
    pub(crate) node: Arc<Node>,
    stock: Arc<StockControl>,
}

impl SaleControl {
    pub(crate) fn new(stock: &Arc<StockControl>) -> Self {
        Self { node: stock.node.clone(), stock: stock.clone() }
    }

    /// Creates a draft. Returns `None` if another sale has this id.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn create_sale(&self, sale: NewSale) -> Result<Option<SaleRow>, EngineError> {
        let Some(row) = self.node.store().create_sale(sale).await? else { return Ok(None) };
        add_to_catalogue(&self.node, row.clone()).await?;
        Ok(Some(row))
    }

    /// Changes a sale's description.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn patch_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
        patch: SalePatch,
    ) -> Result<PatchOutcome, EngineError> {
        let Some(runtime) = self.node.catalogue().sale(id).map(|s| s.runtime.clone()) else {
            return Ok(PatchOutcome::NotFound);
        };
        let _guard = SaleLock::take(&self.node, &runtime).await;
        let outcome = self.node.store().patch_sale(id, if_version, patch).await?;
        if let PatchOutcome::Done(row) = &outcome {
            update_in_catalogue(&self.node, row.clone()).await?;
        }
        Ok(outcome)
    }

    /// Deletes a draft.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn delete_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
    ) -> Result<DeleteOutcome, EngineError> {
        let Some(runtime) = self.node.catalogue().sale(id).map(|s| s.runtime.clone()) else {
            return Ok(DeleteOutcome::NotFound);
        };
        let guard = SaleLock::take(&self.node, &runtime).await;
        let slots = slots_with_grants(&self.node, id).await?;
        let outcome = self.node.store().delete_sale(id, if_version).await?;
        if outcome == DeleteOutcome::Done {
            self.node.change_catalogue(|c| c.remove(id));
            drop(guard);
            // A slot that does not answer keeps its data. This does no harm, because the deleted
            // sale has no grants any more.
            retire_slots(self.stock.slots(), slots).await;
        }
        Ok(outcome)
    }

    /// Moves a sale to another phase. A pause or a close first waits until the tickets in flight
    /// are settled. During this wait, buyers must retry. After `DRAIN_MAX`, or if a slot is
    /// unreachable, the phase changes without further waiting. Tickets that are still not settled
    /// are then returned.
    ///
    /// # Errors
    ///
    /// If the store is unreachable. The caller may repeat the step.
    pub async fn step_sale(&self, id: &str, step: PhaseStep) -> Result<StepOutcome, EngineError> {
        self.take_step(id, StepRequest::Now(step)).await
    }

    /// Pauses a sale in which the audit found a fault. A scheduled sale is paused too, so that it
    /// does not open at its start.
    ///
    /// # Errors
    /// If the store is unreachable. The caller may repeat the call.
    pub(crate) async fn pause_faulty(&self, id: &str) -> Result<StepOutcome, EngineError> {
        match self.step_sale(id, PhaseStep::Pause).await? {
            StepOutcome::WrongState(Phase::Scheduled) => {}
            outcome => return Ok(outcome),
        }
        let Some(runtime) = self.node.catalogue().sale(id).map(|s| s.runtime.clone()) else {
            return Ok(StepOutcome::NotFound);
        };
        let _guard = SaleLock::take(&self.node, &runtime).await;
        let outcome = self.node.store().pause_scheduled_sale(id).await?;
        if let StepOutcome::Done { sale: row, .. } = &outcome {
            update_in_catalogue(&self.node, row.clone()).await?;
        }
        Ok(outcome)
    }

    /// Opens a sale at its start time, or closes it at its end time. Changes nothing if an operator
    /// has changed the sale's phase or that time in the meantime.
    pub(super) async fn take_timed_step(
        &self,
        id: &str,
        step: TimedStep,
    ) -> Result<StepOutcome, EngineError> {
        self.take_step(id, StepRequest::Timed(step)).await
    }

    async fn take_step(&self, id: &str, step: StepRequest) -> Result<StepOutcome, EngineError> {
        let Some(runtime) = self.node.catalogue().sale(id).map(|s| s.runtime.clone()) else {
            return Ok(StepOutcome::NotFound);
        };
        let _guard = SaleLock::take(&self.node, &runtime).await;
        // While a node cannot reach the store, its catalogue may be outdated. So the answer to an
        // operator must not come from the catalogue.
        if matches!(step, StepRequest::Now(_)) {
            let Some(row) = self.node.store().sale(id).await? else {
                return Ok(StepOutcome::NotFound);
            };
            update_in_catalogue(&self.node, row).await?;
        }
        let Some(sale) = self.node.catalogue().sale(id).cloned() else {
            return Ok(StepOutcome::NotFound);
        };
        let outcome = match step.step().apply(sale.row.phase) {
            PhaseChange::WrongState => return Ok(StepOutcome::WrongState(sale.row.phase)),
            PhaseChange::Already => {
                Ok(StepOutcome::Done { sale: sale.row.clone(), changed: false })
            }
            PhaseChange::To(Phase::Paused | Phase::Closed) => self.step_drained(&sale, step).await,
            PhaseChange::To(_) => step_at_once(&self.node, id, step, None)
                .await
                .map(|outcome| outcome.unwrap_or(StepOutcome::NotFound)),
        };
        if let Ok(StepOutcome::Done { sale, changed: true }) = &outcome {
            tracing::info!(
                sale = id,
                phase = sale.phase.as_str(),
                event = "sale.phase_changed",
                "a sale's phase changed"
            );
        }
        drain::reconcile_after_step(&self.stock, id).await?;
        outcome
    }

    /// Drains the slots, and then changes the phase. The transaction that changes the phase also
    /// closes the grants.
    async fn step_drained(
        &self,
        sale: &SaleState,
        step: StepRequest,
    ) -> Result<StepOutcome, EngineError> {
        sale.runtime.draining.store(true, Ordering::Release);
        let outcome = self.step_or_cancel(sale, step).await;
        sale.runtime.draining.store(false, Ordering::Release);
        outcome
    }

    async fn step_or_cancel(
        &self,
        sale: &SaleState,
        step: StepRequest,
    ) -> Result<StepOutcome, EngineError> {
        let mut outcome = self.drain_until_stepped(&sale.row.id, step).await;
        // The transaction of a successful step ends the drain. If the step failed, or if another
        // node took the step first, this node must cancel the drain that it began.
        if !matches!(outcome, Ok(StepOutcome::Done { changed: true, .. })) {
            drain::cancel_drain(&self.node, sale).await;
        }
        // The cancellation of the drain may have changed the row's version, so the row is read
        // again.
        if let Ok(StepOutcome::Done { sale: row, changed: false }) = &mut outcome
            && let Some(newest) = self.node.store().sale(&row.id).await?
        {
            *row = newest;
        }
        outcome
    }

    /// Drains the slots and then takes the step. If another node changes the sale during the drain,
    /// repeats the drain and the step, up to [`DRAINS_MAX`] drains.
    async fn drain_until_stepped(
        &self,
        id: &str,
        step: StepRequest,
    ) -> Result<StepOutcome, EngineError> {
        for drain in 1.. {
            let Some(sale) = self.node.catalogue().sale(id).cloned() else { break };
            let SaleRow { phase, starts_at, ends_at, .. } = &sale.row;
            if !step.is_needed(*phase, *starts_at, *ends_at) {
                return Ok(StepOutcome::Done { sale: sale.row.clone(), changed: false });
            }
            let stepped = self.drain_and_step(&sale, step, drain == DRAINS_MAX).await?;
            if let Some(outcome) = stepped {
                return Ok(outcome);
            }
            tracing::warn!(
                sale = id,
                event = "slot.drained_again",
                "another node changed this sale during its drain; draining it again"
            );
            match self.node.store().sale(id).await? {
                Some(row) => update_in_catalogue(&self.node, row).await?,
                None => break,
            }
        }
        Ok(StepOutcome::NotFound)
    }

    async fn drain_and_step(
        &self,
        sale: &SaleState,
        step: StepRequest,
        is_last: bool,
    ) -> Result<Option<StepOutcome>, EngineError> {
        let (mut slots, mut until) = (Vec::new(), Instant::now());
        let (mut announced, mut outcome) = (None, None);
        for effect in sale_stop::effects() {
            match effect {
                Effect::Announce => announced = drain::announce_drain(&self.node, sale).await?,
                Effect::StopSlots => {
                    until = Instant::now() + DRAIN_MAX;
                    slots = drain::stop_slots(&self.stock, sale).await;
                }
                Effect::AwaitTickets => {
                    drain::await_tickets(&self.stock, sale, &slots, until).await
                }
                Effect::AwaitNodes => {
                    drain::await_other_nodes(&self.node, sale, &slots, until).await?
                }
                Effect::ChangePhase => {
                    let announced = announced.filter(|_| !is_last);
                    outcome = step_at_once(&self.node, &sale.row.id, step, announced).await?;
                }
            }
        }
        Ok(outcome)
    }

    /// Changes the spread of an item's stock over slots. The sale may be open, and buyers continue
    /// to buy. Slots outside the new spread are drained, and new slots get units. If `if_version`
    /// is set, the spread changes only if the sale has this version.
    ///
    /// # Errors
    /// If the store or a slot is unreachable. The caller may repeat the call.
    pub async fn set_spread(
        &self,
        item: &ItemState,
        spread: Spread,
        if_version: Option<u64>,
    ) -> Result<SpreadOutcome, EngineError> {
        let Some(runtime) = self.node.catalogue().sale(&item.sale).map(|s| s.runtime.clone())
        else {
            return Ok(SpreadOutcome::NotFound);
        };
        let _guard = SaleLock::take(&self.node, &runtime).await;
        let before = self.node.catalogue().item_by_id(item.row.id).cloned();
        // If the sale has not opened yet, the store also closes the item's grants. Because of the
        // lock, no reconciliation can open new grants with the old spread meanwhile.
        let sale = self.node.catalogue().sale(&item.sale).cloned();
        let is_before = sale.is_some_and(|sale| sale.row.phase.is_before_opening());
        let reconciling = match is_before {
            true => Some(self.stock.lock_item(item).await),
            false => None,
        };
        let outcome = self.node.store().set_spread(item.row.id, spread, if_version).await?;
        if let SpreadOutcome::Done(row) = &outcome
            && before.is_none_or(|before| before.row.spread != spread)
        {
            update_in_catalogue(&self.node, row.clone()).await?;
            drop(reconciling);
            match row.phase.is_before_opening() {
                true => drain::reconcile_after_step(&self.stock, &row.id).await?,
                false => wake_spread_jobs(&self.node, item.row.id),
            }
        }
        Ok(outcome)
    }
}

/// Changes the phase without a drain. `announced` is the version that the sale got when its drain
/// was announced, or `None` without an announcement. If the sale has another version now, changes
/// nothing and returns `None`.
async fn step_at_once(
    node: &Node,
    id: &str,
    step: StepRequest,
    announced: Option<u64>,
) -> Result<Option<StepOutcome>, EngineError> {
    let outcome = node.store().step_drained_sale(id, step, announced).await?;
    if let Some(StepOutcome::Done { sale: row, .. }) = &outcome {
        update_in_catalogue(node, row.clone()).await?;
    }
    Ok(outcome)
}

/// Starts the jobs. They run only on nodes with the role `control`.
pub(crate) fn start_jobs(sale_control: &Arc<SaleControl>, jobs: &Jobs) {
    jobs.start("phases", schedule::run(sale_control.clone()));
    jobs.start("auto_partitions", auto_partitions::run(sale_control.clone()));
}
