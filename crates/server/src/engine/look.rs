//! What becomes of an order after its purchase was answered: looking it up by its id, cancelling
//! it.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{BuyerId, ItemId, Millis, TicketId, Units, Verdict, WaitlistEntry};
use doorbuster_store::StoreError;

use super::{Engine, EngineError};
use crate::catalogue::ItemState;
use crate::control;

/// Longest time that the end of an order waits until its slot has heard of it.
const TELL_SLOT_MAX: Duration = Duration::from_millis(500);

/// What an id stands for.
#[derive(Clone, Debug)]
pub enum Looked {
    /// An order.
    Order(doorbuster_core::Order),
    /// Not decided yet.
    Queued {
        /// Of which item.
        item: Arc<ItemState>,
        /// Whose.
        buyer: BuyerId,
        /// How many.
        units: Units,
        /// The verdict's last instant.
        decide_by: Millis,
    },
    /// Refused after all.
    Refused {
        /// Of which item.
        item: Arc<ItemState>,
        /// How many.
        units: Units,
        /// Why.
        verdict: Verdict,
    },
    /// A place in line that waits.
    Waiting {
        /// Of which item.
        item: Arc<ItemState>,
        /// The place.
        place: WaitlistEntry,
        /// How many stand before it.
        ahead: u64,
    },
    /// A place in line that its buyer gave up.
    Left {
        /// Of which item.
        item: Arc<ItemState>,
        /// The place.
        place: WaitlistEntry,
    },
    /// A place in line that ended with its sale.
    Ended {
        /// Of which item.
        item: Arc<ItemState>,
        /// The place.
        place: WaitlistEntry,
    },
    /// Not an id of ours, or another buyer's.
    NotFound,
}

impl Engine {
    /// What this id stands for; `None` for `buyer` asks as an operator.
    ///
    /// # Errors
    /// When the store is away: an answer is never guessed.
    pub async fn look(&self, id: TicketId, buyer: Option<&BuyerId>) -> Result<Looked, EngineError> {
        let parts = match buyer {
            Some(buyer) => self.views.key.open(&id, buyer.as_str()),
            None => id.parts(),
        };
        let Some(parts) = parts else { return Ok(Looked::NotFound) };
        // Looked up first: what has its verdict waits no more.
        let waits = self.waits_here(id);
        let mut resolved = self.store.verdict(id).await?;
        if let Some(order) = resolved.as_ref().and_then(|r| r.order.clone()) {
            // Of a buyer who was erased it is not theirs any more, though the id still proves that
            // it was.
            return Ok(if buyer.is_none_or(|buyer| order.buyer == *buyer) {
                Looked::Order(order)
            } else {
                Looked::NotFound
            });
        }
        let Some(grant) = self.store.grant(parts.grant).await? else { return Ok(Looked::NotFound) };
        if grant.slot.is_waitlist() {
            return self.look_in_line(id, grant.slot.item, buyer).await;
        }
        let buyer = buyer.or(waits.as_ref());
        if resolved.is_none()
            && let Some(buyer) = buyer
            && self.now() > parts.decide_by
        {
            resolved = self.store.force(id, parts, buyer.clone()).await?;
            if let Some(order) = resolved.as_ref().and_then(|r| r.order.clone()) {
                return Ok(Looked::Order(order));
            }
            if resolved.is_some() {
                // What the verdict gave back has to reach the slot.
                self.control().wake(grant.slot.item);
            }
        }
        let Some(item) = self.item_or_new(grant.slot.item).await? else {
            return Ok(Looked::NotFound);
        };
        Ok(match (resolved, buyer) {
            (Some(resolved), _) => {
                Looked::Refused { item, units: parts.units, verdict: resolved.verdict }
            }
            (None, Some(buyer)) => Looked::Queued {
                item,
                buyer: buyer.clone(),
                units: parts.units,
                decide_by: parts.decide_by,
            },
            (None, None) => Looked::NotFound,
        })
    }

    /// Whose request it is, if its ticket was cut on this node and has no verdict yet: without its
    /// buyer an id proves nothing.
    #[must_use]
    pub fn waits_here(&self, id: TicketId) -> Option<BuyerId> {
        let buyer = self.views.waiters.about(id.parts()?.token)?.buyer;
        self.views.key.open(&id, buyer.as_str()).map(|_| buyer)
    }

    /// The item of this number, though another node made it just now.
    pub(super) async fn item_or_new(
        &self,
        id: ItemId,
    ) -> Result<Option<Arc<ItemState>>, EngineError> {
        if self.catalogue().item_of(id).is_none() {
            self.catch_up().await?;
        }
        Ok(self.catalogue().item_of(id).cloned())
    }

    /// The items of these numbers, one for each, though another node made them just now.
    ///
    /// # Errors When the store is away; or when one is in no sale: what is about it must not be
    /// left out in silence.
    pub(crate) async fn items_of(
        &self,
        ids: &[ItemId],
    ) -> Result<Vec<Arc<ItemState>>, EngineError> {
        let known = |id: &ItemId| self.catalogue().item_of(*id).cloned();
        if let Some(items) = ids.iter().map(known).collect::<Option<Vec<_>>>() {
            return Ok(items);
        }
        self.catch_up().await?;
        let reason = |id: &ItemId| format!("item {} is in no sale that is known here yet", id.0);
        let unknown =
            |id: &ItemId| StoreError::Unavailable { reason: reason(id), may_have_happened: false };
        Ok(ids.iter().map(|id| known(id).ok_or_else(|| unknown(id))).collect::<Result<_, _>>()?)
    }

    /// Cancels a reserved order.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn cancel(
        &self,
        id: TicketId,
        by: Attribution,
    ) -> Result<ChangeOutcome, EngineError> {
        self.end_order(id, EndReason::Cancel, by).await
    }

    /// Refunds a paid order: its units and its share of the limit come back at once, its money goes
    /// back.
    ///
    /// # Errors When the store is away.
    pub async fn refund(
        &self,
        id: TicketId,
        by: Attribution,
    ) -> Result<ChangeOutcome, EngineError> {
        self.end_order(id, EndReason::Refund, by).await
    }

    async fn end_order(
        &self,
        id: TicketId,
        how: EndReason,
        by: Attribution,
    ) -> Result<ChangeOutcome, EngineError> {
        let changed = self.store.end_order(id, how, by).await?;
        if let ChangeOutcome::Done(order) = &changed
            && let Some(item) = self.catalogue().item_of(order.item).cloned()
        {
            // The buyer may ask again at once: the slot learns first that the limit was given back.
            // Should it take long, it learns it soon.
            drop(tokio::time::timeout(TELL_SLOT_MAX, control::tend(self, &item)).await);
        }
        Ok(changed)
    }
}
