//! What operators do to sales. Each change is in the store and in the catalogue before it is
//! answered.
use std::sync::atomic::Ordering;

use doorbuster_core::sale::{PhaseChange, PhaseStep};
use doorbuster_core::{CloseCause, Phase, Spread};
use doorbuster_store::{
    DeleteOutcome, NewSale, PatchOutcome, SalePatch, SaleRow, SpreadOutcome, StepOutcome,
};
use tokio::sync::MutexGuard;

use super::Control;
use crate::catalogue::{ItemState, SaleFlags, SaleState};
use crate::engine::{Engine, EngineError};

/// A sale that only its holder changes on this node. When it goes, what other nodes changed
/// meanwhile is read.
pub(super) struct Operating<'a> {
    alone: Option<MutexGuard<'a, ()>>,
    control: &'a Control,
}

impl Drop for Operating<'_> {
    fn drop(&mut self) {
        drop(self.alone.take());
        self.control.reload();
    }
}

impl Engine {
    /// Has the sale for the caller alone.
    async fn operate<'a>(&'a self, flags: &'a SaleFlags) -> Operating<'a> {
        Operating { alone: Some(flags.operating.lock().await), control: self.control() }
    }

    /// The same, unless somebody has it.
    pub(super) fn try_operate<'a>(&'a self, flags: &'a SaleFlags) -> Option<Operating<'a>> {
        let alone = flags.operating.try_lock().ok()?;
        Some(Operating { alone: Some(alone), control: self.control() })
    }

    /// Creates a draft; `None`: the id is taken.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn create_sale(&self, sale: NewSale) -> Result<Option<SaleRow>, EngineError> {
        let Some(row) = self.store().create_sale(sale).await? else { return Ok(None) };
        self.take_in_new(row.clone()).await?;
        Ok(Some(row))
    }

    /// Changes a sale's description.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn patch_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
        patch: SalePatch,
    ) -> Result<PatchOutcome, EngineError> {
        let Some(flags) = self.catalogue().sale(id).map(|s| s.flags.clone()) else {
            return Ok(PatchOutcome::NotFound);
        };
        let _alone = self.operate(&flags).await;
        let outcome = self.store().patch_sale(id, if_version, patch).await?;
        if let PatchOutcome::Done(row) = &outcome {
            self.take_in(row.clone()).await?;
        }
        Ok(outcome)
    }

    /// Deletes a draft.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn delete_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
    ) -> Result<DeleteOutcome, EngineError> {
        let Some(flags) = self.catalogue().sale(id).map(|s| s.flags.clone()) else {
            return Ok(DeleteOutcome::NotFound);
        };
        let _alone = self.operate(&flags).await;
        let outcome = self.store().delete_sale(id, if_version).await?;
        if outcome == DeleteOutcome::Done {
            self.change_catalogue(|c| c.remove(id));
        }
        Ok(outcome)
    }

    /// Moves a sale to another phase. Pause and close answer when what was in flight has settled;
    /// in between buyers are asked to come again.
    ///
    /// # Errors When the store is away; the step may be repeated.
    pub async fn step_sale(&self, id: &str, step: PhaseStep) -> Result<StepOutcome, EngineError> {
        let Some(flags) = self.catalogue().sale(id).map(|s| s.flags.clone()) else {
            return Ok(StepOutcome::NotFound);
        };
        let _alone = self.operate(&flags).await;
        let Some(sale) = self.catalogue().sale(id).cloned() else {
            return Ok(StepOutcome::NotFound);
        };
        let outcome = match sale.row.phase.step(step) {
            PhaseChange::WrongState => return Ok(StepOutcome::WrongState(sale.row.phase)),
            PhaseChange::Already => {
                Ok(StepOutcome::Done { sale: sale.row.clone(), changed: false })
            }
            PhaseChange::To(Phase::Paused | Phase::Closed) => self.step_drained(&sale, step).await,
            PhaseChange::To(_) => self.step_at_once(id, step).await,
        };
        self.after_step(id).await?;
        outcome
    }

    async fn step_at_once(&self, id: &str, step: PhaseStep) -> Result<StepOutcome, EngineError> {
        let outcome = self.store().step_sale(id, step).await?;
        if let StepOutcome::Done { sale: row, .. } = &outcome {
            self.take_in(row.clone()).await?;
        }
        Ok(outcome)
    }

    /// Stops the slots, waits until their tickets are settled, and only then lets the phase show.
    /// The transaction that shows it closes the grants.
    async fn step_drained(
        &self,
        sale: &SaleState,
        step: PhaseStep,
    ) -> Result<StepOutcome, EngineError> {
        sale.flags.draining.store(true, Ordering::Release);
        let stepped = async {
            self.drain_everywhere(sale).await?;
            let outcome = self.store().step_sale(&sale.row.id, step).await?;
            if let StepOutcome::Done { sale: row, .. } = &outcome {
                self.take_in(row.clone()).await?;
            }
            Ok(outcome)
        };
        let outcome = stepped.await;
        // The step ends the drain; where another node took it first, this one's has no end of its
        // own.
        if !matches!(outcome, Ok(StepOutcome::Done { changed: true, .. })) {
            self.give_up_draining(sale).await;
        }
        sale.flags.draining.store(false, Ordering::Release);
        outcome
    }

    /// Changes how an item's stock is spread, before its sale opens.
    ///
    /// # Errors
    /// When a store or slot is away; it may be repeated.
    pub async fn set_spread(
        &self,
        item: &ItemState,
        spread: Spread,
    ) -> Result<SpreadOutcome, EngineError> {
        let Some(flags) = self.catalogue().sale(&item.sale).map(|s| s.flags.clone()) else {
            return Ok(SpreadOutcome::NotFound);
        };
        let _alone = self.operate(&flags).await;
        let before = self.catalogue().item_of(item.row.id).map(|item| item.row.spread);
        let outcome = self.store().set_spread(item.row.id, spread).await?;
        if let SpreadOutcome::Done(row) = &outcome
            && before != Some(spread)
        {
            {
                let _alone = item.work.tending.lock().await;
                self.take_in(row.clone()).await?;
                // A slot has the portions that its grant came with.
                for grant in
                    self.store().grants(item.row.id).await?.iter().filter(|grant| grant.open)
                {
                    self.store().close_grant(grant.id, CloseCause::Rolled).await?;
                }
            }
            self.after_step(&row.id).await?;
        }
        Ok(outcome)
    }

    /// Puts a changed row into the catalogue and tells whoever watches it. The caller has the sale
    /// for itself.
    pub(super) async fn take_in(&self, row: SaleRow) -> Result<(), EngineError> {
        self.show(row, false).await.map(drop)
    }

    /// The same of a new sale, which nobody can have for itself yet. False: it was put here
    /// meanwhile, and that may be the newer one.
    pub(super) async fn take_in_new(&self, row: SaleRow) -> Result<bool, EngineError> {
        self.show(row, true).await
    }

    async fn show(&self, row: SaleRow, is_new: bool) -> Result<bool, EngineError> {
        // Also a known sale may have items that are not: it was deleted elsewhere, and made again.
        let known = self.catalogue().clone();
        let items: Vec<_> =
            row.items.iter().map(|i| i.id).filter(|id| known.item_of(*id).is_none()).collect();
        let counts = match items.is_empty() {
            true => Vec::new(),
            false => self.store().counts(Some(items.clone())).await?,
        };
        let id: std::sync::Arc<str> = row.id.as_str().into();
        if !self.put(row, &counts, is_new) {
            return Ok(false);
        }
        if !items.is_empty() {
            // Another node's commits came before there was a place to show them.
            self.read_counts(items).await?;
        }
        self.control().announce(&id);
        self.control().retime();
        Ok(true)
    }
}
