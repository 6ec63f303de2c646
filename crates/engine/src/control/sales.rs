//! The operators' changes of sales. Each change is in the store and in this node's catalogue before
//! the operator gets the answer.
use std::sync::atomic::Ordering;

use doorbuster_core::sale::{PhaseChange, PhaseStep, StepRequest, TimedStep};
use doorbuster_core::{Phase, SlotKey, Spread};
use doorbuster_steps::sale_stop::{self, Effect};
use doorbuster_store::{
    DeleteOutcome, NewSale, PatchOutcome, SalePatch, SaleRow, SpreadOutcome, StepOutcome,
};
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::JobSignals;
use super::slot_cleanup::retire_slots;
use crate::catalogue::{ItemState, SaleRuntime, SaleState};
use crate::engine::{DRAIN_MAX, Engine, EngineError};

/// The maximum number of drains for one phase change, if other nodes change the sale during each
/// drain. After the last drain, the phase changes in any case. So changes at other nodes cannot
/// prevent a pause or a close.
const DRAINS_MAX: u32 = 3;

/// The exclusive right of one task to change a sale on this node. While a sale is locked, this node
/// skips other nodes' changes of the sale. So when the lock is dropped, the node reads the
/// catalogue again.
pub(super) struct SaleLock<'a> {
    alone: Option<MutexGuard<'a, ()>>,
    control: &'a JobSignals,
}

impl Drop for SaleLock<'_> {
    fn drop(&mut self) {
        drop(self.alone.take());
        self.control.wake_catalogue_job();
    }
}

impl Engine {
    /// Waits for exclusive access to the sale.
    async fn lock_sale<'a>(&'a self, runtime: &'a SaleRuntime) -> SaleLock<'a> {
        SaleLock { alone: Some(runtime.sale_lock.lock().await), control: self.node.control() }
    }

    /// Takes exclusive access to the sale without waiting. Returns `None` if another task has the
    /// access.
    pub(super) fn try_lock_sale<'a>(&'a self, runtime: &'a SaleRuntime) -> Option<SaleLock<'a>> {
        let alone = runtime.sale_lock.try_lock().ok()?;
        Some(SaleLock { alone: Some(alone), control: self.node.control() })
    }

    /// Creates a draft. Returns `None` if another sale has this id.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn create_sale(&self, sale: NewSale) -> Result<Option<SaleRow>, EngineError> {
        let Some(row) = self.node.store().create_sale(sale).await? else { return Ok(None) };
        self.add_to_catalogue(row.clone()).await?;
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
        let _guard = self.lock_sale(&runtime).await;
        let outcome = self.node.store().patch_sale(id, if_version, patch).await?;
        if let PatchOutcome::Done(row) = &outcome {
            self.update_in_catalogue(row.clone()).await?;
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
        let guard = self.lock_sale(&runtime).await;
        let slots = self.slots_with_grants(id).await?;
        let outcome = self.node.store().delete_sale(id, if_version).await?;
        if outcome == DeleteOutcome::Done {
            self.node.change_catalogue(|c| c.remove(id));
            drop(guard);
            // If a slot does not answer, it keeps its data. This does no harm, because no grant can
            // use the data any more.
            retire_slots(self, slots).await;
        }
        Ok(outcome)
    }

    /// Returns the slots that got a grant since the sale was created. A draft has such slots if it
    /// was scheduled before.
    pub(super) async fn slots_with_grants(&self, id: &str) -> Result<Vec<SlotKey>, EngineError> {
        let Some(sale) = self.node.catalogue().sale(id).cloned() else { return Ok(Vec::new()) };
        let mut slots = Vec::new();
        for item in &sale.items {
            slots.extend(
                self.node.store().grants(item.row.id).await?.iter().map(|grant| grant.slot),
            );
        }
        // The grants of an item are ordered by slot, so the grants of one slot follow each other.
        slots.dedup();
        Ok(slots)
    }

    /// Moves a sale to another phase. A call that pauses or closes the sale returns after the
    /// tickets in flight are settled. Until then, the server asks buyers to retry.
    ///
    /// # Errors
    ///
    /// If the store is unreachable. The caller may repeat the step.
    pub async fn step_sale(&self, id: &str, step: PhaseStep) -> Result<StepOutcome, EngineError> {
        self.take_step(id, StepRequest::Now(step)).await
    }

    /// Opens or closes a sale at its time. Changes nothing if an operator has withdrawn the sale or
    /// has moved the time meanwhile.
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
        let _guard = self.lock_sale(&runtime).await;
        let Some(sale) = self.node.catalogue().sale(id).cloned() else {
            return Ok(StepOutcome::NotFound);
        };
        let outcome = match step.step().apply(sale.row.phase) {
            PhaseChange::WrongState => return Ok(StepOutcome::WrongState(sale.row.phase)),
            PhaseChange::Already => {
                Ok(StepOutcome::Done { sale: sale.row.clone(), changed: false })
            }
            PhaseChange::To(Phase::Paused | Phase::Closed) => self.step_drained(&sale, step).await,
            PhaseChange::To(_) => self
                .step_at_once(id, step, None)
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
        self.reconcile_after_step(id).await?;
        outcome
    }

    /// Changes the phase. Returns `None` if the sale has changed since the drain of its slots was
    /// announced.
    async fn step_at_once(
        &self,
        id: &str,
        step: StepRequest,
        announced: Option<u64>,
    ) -> Result<Option<StepOutcome>, EngineError> {
        let outcome = self.node.store().step_drained_sale(id, step, announced).await?;
        if let Some(StepOutcome::Done { sale: row, .. }) = &outcome {
            self.update_in_catalogue(row.clone()).await?;
        }
        Ok(outcome)
    }

    /// Stops the slots, waits until their tickets are settled, and then changes the phase. The
    /// transaction of the phase change closes the grants.
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
        // A successful step ends the drain. If the step failed, or if another node took the same
        // step first, this node must cancel its own drain.
        if !matches!(outcome, Ok(StepOutcome::Done { changed: true, .. })) {
            self.cancel_drain(sale).await;
        }
        // The cancelled drain changed the sale's version, so the row is read again.
        if let Ok(StepOutcome::Done { sale: row, changed: false }) = &mut outcome
            && let Some(newest) = self.node.store().sale(&row.id).await?
        {
            *row = newest;
        }
        outcome
    }

    /// Drains the slots and changes the phase. If another node changes the sale meanwhile, drains
    /// the slots again, at most [`DRAINS_MAX`] times in total.
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
                Some(row) => self.update_in_catalogue(row).await?,
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
                Effect::Announce => announced = self.announce_drain(sale).await?,
                Effect::StopSlots => {
                    until = Instant::now() + DRAIN_MAX;
                    slots = self.stop_slots(sale).await;
                }
                Effect::AwaitTickets => self.await_tickets(sale, &slots, until).await,
                Effect::AwaitNodes => self.await_other_nodes(sale, &slots, until).await?,
                Effect::ChangePhase => {
                    let announced = announced.filter(|_| !is_last);
                    outcome = self.step_at_once(&sale.row.id, step, announced).await?;
                }
            }
        }
        Ok(outcome)
    }

    /// Changes how an item's stock is spread. While the sale runs, the call returns at once and
    /// buyers keep buying. Slots outside the new spread are drained, and new slots get units. If
    /// `if_version` is given, the call changes only a sale with this version.
    ///
    /// # Errors
    /// If a store or slot is unreachable. The caller may repeat the call.
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
        let _guard = self.lock_sale(&runtime).await;
        let before = self.node.catalogue().item_by_id(item.row.id).cloned();
        // The store closes the grants of a sale before its opening. No reconciliation may open new
        // grants with the old spread meanwhile.
        let sale = self.node.catalogue().sale(&item.sale).cloned();
        let is_before = sale.is_some_and(|sale| sale.row.phase.is_before_opening());
        let reconciling = match is_before {
            true => Some(item.work.reconciling.lock().await),
            false => None,
        };
        let outcome = self.node.store().set_spread(item.row.id, spread, if_version).await?;
        if let SpreadOutcome::Done(row) = &outcome
            && before.is_none_or(|before| before.row.spread != spread)
        {
            self.update_in_catalogue(row.clone()).await?;
            drop(reconciling);
            match row.phase.is_before_opening() {
                true => self.reconcile_after_step(&row.id).await?,
                false => self.wake_spread_jobs(item.row.id),
            }
        }
        Ok(outcome)
    }

    /// Puts a sale's changed row into the catalogue, publishes the sale's status and wakes the
    /// timed jobs. The caller has exclusive access to the sale.
    pub(super) async fn update_in_catalogue(&self, row: SaleRow) -> Result<(), EngineError> {
        self.show_row(row, false).await.map(drop)
    }

    /// Adds a new sale to the catalogue. Returns `false` if another task has added the sale
    /// already. That task's row may be newer.
    pub(super) async fn add_to_catalogue(&self, row: SaleRow) -> Result<bool, EngineError> {
        self.show_row(row, true).await
    }

    async fn show_row(&self, row: SaleRow, is_new: bool) -> Result<bool, EngineError> {
        // Another node may have deleted the sale and created it again. In that case this node knows
        // the sale but not its items.
        let known = self.node.catalogue().clone();
        let items: Vec<_> =
            row.items.iter().map(|i| i.id).filter(|id| known.item_by_id(*id).is_none()).collect();
        let counts = match items.is_empty() {
            true => Vec::new(),
            false => self.node.store().counts(Some(items.clone())).await?,
        };
        let id: std::sync::Arc<str> = row.id.as_str().into();
        if !self.node.put_sale(row, &counts, is_new) {
            return Ok(false);
        }
        if !items.is_empty() {
            // Other nodes may have changed the counts before the catalogue had the items.
            self.node.read_counts(items).await?;
        }
        self.node.control().status_changed(&id);
        self.node.control().wake_timed_jobs();
        Ok(true)
    }
}
