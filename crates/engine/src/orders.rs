//! Looks up, cancels and refunds orders by their ids, and applies their payments.
//!
//! [`Orders`] owns no state. It calls the store and the memory of its [`Node`]. It also calls
//! [`StockControl`], which tells the slots that an order ended, and recalls units for a late
//! payment. It looks up items through the [`CatalogueReader`]. It has these callers: the handlers
//! of requests, the waitlists, and the payments.

mod late_payment;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{
    BuyerId, ItemId, Millis, Order, TicketId, Units, Verdict, WaitlistEntry, WaitlistState,
};
use doorbuster_store::{OrderQuery, Page, WaitlistPosition};

use crate::catalogue::ItemState;
use crate::catalogue_reader::CatalogueReader;
use crate::error::EngineError;
use crate::node::Node;
use crate::stock::{StockControl, reconcile};

/// How long a call that ends an order waits for the slot to know that the order has ended.
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
        /// The last time at which the request can become an order.
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
    /// The id belongs to a waitlist entry that ended because its sale ended.
    Ended {
        /// The item.
        item: Arc<ItemState>,
        /// The entry.
        entry: WaitlistEntry,
    },
    /// The id is unknown or belongs to another buyer.
    NotFound,
}

/// The part of a node that reads and changes orders.
pub struct Orders {
    node: Arc<Node>,
    stock: Arc<StockControl>,
    catalogue_reader: Arc<CatalogueReader>,
}

impl Orders {
    pub(crate) fn new(stock: &Arc<StockControl>, catalogue_reader: &Arc<CatalogueReader>) -> Self {
        Self {
            node: stock.node.clone(),
            stock: stock.clone(),
            catalogue_reader: catalogue_reader.clone(),
        }
    }

    /// Looks up the id of an order, a queued request or a waitlist entry. If `buyer` is `None`, an
    /// operator asks, and the id may belong to any buyer.
    ///
    /// # Errors
    /// If the store is unreachable. The function never guesses a result.
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
        // This read of the waiting requests must come before the read of the verdict. Otherwise, a
        // ticket could get its verdict between the two reads, and neither read would find it.
        let waits = self.node.waiting_buyer(id);
        let mut resolved = self.node.store().verdict(id).await?;
        if let Some(order) = resolved.as_ref().and_then(|r| r.order.clone()) {
            // The id stays valid for the buyer who made the request. But if this buyer was erased,
            // the order no longer has the buyer's name, and the buyer must not find it.
            return Ok(if buyer.is_none_or(|buyer| order.buyer == *buyer) {
                found_order(&self.node, order, buyer.is_some())
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
                return Ok(found_order(&self.node, order, true));
            }
            if resolved.is_some() {
                // Reconciliation gives the units of the returned ticket back to the slot.
                self.node.control().wake(grant.slot.item);
            }
        }
        let Some(item) = self.catalogue_reader.find_item(grant.slot.item).await? else {
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

    async fn look_up_waitlist(
        &self,
        id: TicketId,
        item: ItemId,
        buyer: Option<&BuyerId>,
    ) -> Result<OrderLookup, EngineError> {
        let Some(WaitlistPosition { entry, ahead }) =
            self.node.store().waitlist_position(id).await?
        else {
            return Ok(OrderLookup::NotFound);
        };
        if buyer.is_some_and(|buyer| entry.buyer != *buyer) {
            return Ok(OrderLookup::NotFound);
        }
        let Some(item) = self.catalogue_reader.find_item(item).await? else {
            return Ok(OrderLookup::NotFound);
        };
        Ok(match entry.state {
            WaitlistState::Waiting => OrderLookup::Waiting { item, entry, ahead },
            WaitlistState::Left => OrderLookup::Left { item, entry },
            WaitlistState::Served | WaitlistState::PassedOver => {
                match self.node.store().verdict(id).await? {
                    Some(resolved) => match resolved.order {
                        Some(order) => found_order(&self.node, order, buyer.is_some()),
                        // For a waitlist entry, the verdict `Unavailable` means that the entry
                        // ended because its sale ended.
                        None if resolved.verdict == Verdict::Unavailable => {
                            OrderLookup::Ended { item, entry }
                        }
                        None => OrderLookup::Refused {
                            item,
                            units: Units::ONE,
                            verdict: resolved.verdict,
                        },
                    },
                    None => OrderLookup::NotFound,
                }
            }
        })
    }

    /// Reads a page of orders. If the query is for one buyer, this node also adds the orders'
    /// requests to its set of requests that hold orders.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn list_orders(&self, query: OrderQuery) -> Result<Page<Order>, EngineError> {
        let is_of_one_buyer = query.buyer.is_some();
        let page = self.node.store().orders(query).await?;
        if is_of_one_buyer {
            page.rows.iter().for_each(|order| self.node.remember_order(order));
        }
        Ok(page)
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

    /// Refunds a paid order. The refund frees the units and the buyer's quota at once. The provider
    /// returns the money later.
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
            // The buyer may send the next purchase at once. So before this call returns, the slot
            // should know that the buyer has fewer units.
            drop(tokio::time::timeout(RECONCILE_WAIT_MAX, reconcile(&self.stock, &item)).await);
        }
        Ok(changed)
    }
}

/// Returns the result for an order that was found. If a buyer asked for the order, this node also
/// remembers that the order's request holds an order.
fn found_order(node: &Node, order: Order, is_read_by_buyer: bool) -> OrderLookup {
    if is_read_by_buyer {
        node.remember_order(&order);
    }
    OrderLookup::Order(order)
}
