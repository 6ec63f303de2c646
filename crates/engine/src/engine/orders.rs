//! Looks up, cancels and refunds orders by their ids.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{BuyerId, ItemId, Millis, Order, TicketId, Units, Verdict, WaitlistEntry};
use doorbuster_store::{OrderPage, OrderQuery, StoreError};

use super::{Engine, EngineError};
use crate::catalogue::ItemState;
use crate::control;

/// A call that ends an order waits at most this long until the order's slot has applied the feed
/// row that reports the end.
const RECONCILE_WAIT_MAX: Duration = Duration::from_millis(500);

/// The result of looking up an order id.
#[derive(Clone, Debug)]
pub enum OrderLookup {
    /// The id belongs to an order.
    Order(Order),
    /// The id belongs to a queued request without a verdict.
    Queued {
        /// The item.
        item: Arc<ItemState>,
        /// The buyer.
        buyer: BuyerId,
        /// The units.
        units: Units,
        /// The time after which the request cannot become an order.
        decide_by: Millis,
    },
    /// The id belongs to a queued request that was refused.
    Refused {
        /// The item.
        item: Arc<ItemState>,
        /// The units.
        units: Units,
        /// The reason.
        verdict: Verdict,
    },
    /// The id belongs to a waitlist entry that waits.
    Waiting {
        /// The item.
        item: Arc<ItemState>,
        /// The entry.
        entry: WaitlistEntry,
        /// The number of entries before this one.
        ahead: u64,
    },
    /// The id belongs to a waitlist entry whose buyer left the waitlist.
    Left {
        /// The item.
        item: Arc<ItemState>,
        /// The entry.
        entry: WaitlistEntry,
    },
    /// The id belongs to a waitlist entry that ended with its sale.
    Ended {
        /// The item.
        item: Arc<ItemState>,
        /// The entry.
        entry: WaitlistEntry,
    },
    /// The id is unknown or belongs to another buyer.
    NotFound,
}

impl Engine {
    /// Looks up the id of an order, a queued request or a waitlist entry. `buyer` is `None` for an
    /// operator.
    ///
    /// # Errors
    /// If the store is unreachable. The function never guesses an answer.
    pub async fn look_up_order(
        &self,
        id: TicketId,
        buyer: Option<&BuyerId>,
    ) -> Result<OrderLookup, EngineError> {
        let parts = match buyer {
            Some(buyer) => self.node.memory.key.open(&id, buyer.as_str()),
            None => id.parts(),
        };
        let Some(parts) = parts else { return Ok(OrderLookup::NotFound) };
        // The waiting requests are searched first, and then the verdict is read. In the reverse
        // sequence, a ticket that gets its verdict between the two steps would not be found.
        let waits = self.node.waiting_buyer(id);
        let mut resolved = self.node.store().verdict(id).await?;
        if let Some(order) = resolved.as_ref().and_then(|r| r.order.clone()) {
            // An erased buyer no longer owns the order, although the id still proves who the buyer
            // was.
            return Ok(if buyer.is_none_or(|buyer| order.buyer == *buyer) {
                self.found_order(order, buyer.is_some())
            } else {
                OrderLookup::NotFound
            });
        }
        let Some(grant) = self.node.store().grant(parts.grant).await? else {
            return Ok(OrderLookup::NotFound);
        };
        if grant.slot.is_waitlist() {
            return self.look_up_waitlist(id, grant.slot.item, buyer).await;
        }
        let buyer = buyer.or(waits.as_ref());
        if resolved.is_none()
            && let Some(buyer) = buyer
            && self.node.now() > parts.decide_by
        {
            resolved = self.node.store().force_verdict(id, parts, buyer.clone()).await?;
            if let Some(order) = resolved.as_ref().and_then(|r| r.order.clone()) {
                return Ok(self.found_order(order, true));
            }
            if resolved.is_some() {
                // The ticket was returned, so the slot must get the ticket's units back.
                self.node.control().wake(grant.slot.item);
            }
        }
        let Some(item) = self.find_item(grant.slot.item).await? else {
            return Ok(OrderLookup::NotFound);
        };
        Ok(match (resolved, buyer) {
            (Some(resolved), _) => {
                OrderLookup::Refused { item, units: parts.units, verdict: resolved.verdict }
            }
            (None, Some(buyer)) => OrderLookup::Queued {
                item,
                buyer: buyer.clone(),
                units: parts.units,
                decide_by: parts.decide_by,
            },
            (None, None) => OrderLookup::NotFound,
        })
    }

    /// Reads a page of orders. If the query asks for the orders of one buyer, this node remembers
    /// the orders on the page.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn list_orders(&self, query: OrderQuery) -> Result<OrderPage, EngineError> {
        let is_of_one_buyer = query.buyer.is_some();
        let page = self.node.store().orders(query).await?;
        if is_of_one_buyer {
            page.orders.iter().for_each(|order| self.node.remember_order(order));
        }
        Ok(page)
    }

    /// Returns the result of a lookup that found this order. If the buyer reads the order, this
    /// node remembers the order.
    pub(super) fn found_order(&self, order: Order, is_read_by_buyer: bool) -> OrderLookup {
        if is_read_by_buyer {
            self.node.remember_order(&order);
        }
        OrderLookup::Order(order)
    }

    /// Returns the item of this id, even if another node created it just now.
    pub(super) async fn find_item(
        &self,
        id: ItemId,
    ) -> Result<Option<Arc<ItemState>>, EngineError> {
        if self.node.catalogue().item_by_id(id).is_none() {
            self.refresh_catalogue().await?;
        }
        Ok(self.node.catalogue().item_by_id(id).cloned())
    }

    /// Returns the items of these ids, one for each id, even if another node created some of the
    /// items just now.
    ///
    /// # Errors
    ///
    /// If the store is unreachable, or if an item belongs to no known sale. An unknown item is an
    /// error, so that no caller silently leaves out rows about the item.
    pub async fn find_items(&self, ids: &[ItemId]) -> Result<Vec<Arc<ItemState>>, EngineError> {
        let known = |id: &ItemId| self.node.catalogue().item_by_id(*id).cloned();
        if let Some(items) = ids.iter().map(known).collect::<Option<Vec<_>>>() {
            return Ok(items);
        }
        self.refresh_catalogue().await?;
        let reason = |id: &ItemId| format!("item {} is in no sale that this node knows yet", id.0);
        let unknown =
            |id: &ItemId| StoreError::Unavailable { reason: reason(id), may_have_happened: false };
        Ok(ids.iter().map(|id| known(id).ok_or_else(|| unknown(id))).collect::<Result<_, _>>()?)
    }

    /// Cancels a reserved order.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn cancel(
        &self,
        id: TicketId,
        by: Attribution,
    ) -> Result<ChangeOutcome, EngineError> {
        self.end_order(id, EndReason::Cancel, by).await
    }

    /// Refunds a paid order. The units return and the buyer's quota falls at once. The provider
    /// refunds the money later.
    ///
    /// # Errors
    ///
    /// If the store is unreachable.
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
        let changed = self.node.store().end_order(id, how, by).await?;
        if let ChangeOutcome::Done(order) = &changed
            && let Some(item) = self.node.catalogue().item_by_id(order.item).cloned()
        {
            // The buyer may buy again at once, so the slot should have the lower quota before this
            // call returns. If the wait times out, the slot gets the lower quota a little later.
            drop(tokio::time::timeout(RECONCILE_WAIT_MAX, control::reconcile(self, &item)).await);
        }
        Ok(changed)
    }
}
