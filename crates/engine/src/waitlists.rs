//! Lets buyers join an item's waitlist, look up their entry, or leave the waitlist. Another part, a
//! job of the leader, gives units to the entries.
//!
//! A limiter bounds the reads of the store. A few reads run at the same time, at most one for each
//! buyer.
//!
//! [`Waitlists`] owns no state. It uses the store and the memory of its [`Node`], and looks up an
//! entry's state through [`Orders`]. The handlers of requests call [`Waitlists`].

use std::sync::Arc;

use doorbuster_core::limits::WAITLIST_ENTRIES_MAX;
use doorbuster_core::waitlist::{JoinOutcome, LeaveOutcome};
use doorbuster_core::{
    BuyerId, ItemId, Order, OrderState, Phase, RequestKey, TicketId, Units, WaitlistEntry,
    WaitlistState,
};
use doorbuster_store::WaitlistPosition;

use crate::catalogue::{ItemState, SaleState};
use crate::error::EngineError;
use crate::holders::ReadError;
use crate::node::Node;
use crate::orders::{OrderLookup, Orders};

/// The result for a buyer who wants to join a waitlist.
#[derive(Clone, Debug)]
pub enum JoinResult {
    /// The buyer has an entry in this state.
    WaitlistEntry {
        /// The entry's id.
        id: TicketId,
        /// The entry's state.
        lookup: OrderLookup,
        /// Whether this request created the entry.
        is_new: bool,
    },
    /// The request already holds this order.
    Order(Order),
    /// The buyer cannot join.
    Refused(JoinRefusal),
}

/// Why a buyer cannot join a waitlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// A unit is free, so the buyer can buy without the waitlist.
    UnitsFree,
    /// All units are paid. So no unit is free, and no held unit can become free.
    SoldOut,
    /// The buyer's limit is reached.
    LimitReached {
        /// The limit.
        limit: u32,
        /// Units that the buyer holds.
        used: u32,
    },
    /// The buyer already got an order from this waitlist. The order was not paid, and ended in this
    /// state.
    Lapsed(OrderState),
    /// The request's key belongs to an order for another item or for another number of units.
    KeyReused,
    /// The waitlist accepts no more entries. Either it has the maximum number of entries, or each
    /// held or kept unit already has one entry that waits for it.
    Full,
    /// The sale is not open.
    NotOnSale,
    /// The item does not exist.
    NotFound,
    /// Too many requests wait at the same time.
    Busy,
}

/// The result of leaving a waitlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveResult {
    /// The buyer has no waiting entry any more.
    Done,
    /// The buyer's entry has already become an order. This is the order's state now.
    Served(OrderState),
    /// Too many requests wait at the same time.
    Busy,
}

/// The part of a node that changes waitlists for buyers.
pub struct Waitlists {
    node: Arc<Node>,
    orders: Arc<Orders>,
}

impl Waitlists {
    pub(crate) fn new(node: &Arc<Node>, orders: &Arc<Orders>) -> Self {
        Self { node: node.clone(), orders: orders.clone() }
    }

    /// Returns the result for a repeated request that already holds an order. Works in any phase of
    /// the sale. Returns `None` if this node does not know that the request holds an order.
    ///
    /// # Errors
    ///
    /// If the store is unreachable.
    pub async fn replay_waitlist_order(
        &self,
        item: &ItemState,
        buyer: &BuyerId,
        key: &RequestKey,
    ) -> Result<Option<JoinResult>, EngineError> {
        let request = self.node.id_key().request_hash(buyer.as_str(), key.as_str());
        if !self.node.holders().holds(request) {
            return Ok(None);
        }
        let order = self.node.store().order_of(buyer.clone(), key.clone());
        match self
            .node
            .holders()
            .retry_limiter
            .read_order(read_key(&self.node, buyer), request, order)
            .await
        {
            Ok(order) => Ok(order.map(|order| replayed_order(item, order))),
            Err(ReadError::Busy) => Ok(Some(JoinResult::Refused(JoinRefusal::Busy))),
            Err(ReadError::Store(error)) => Err(error.into()),
        }
    }

    /// If this request has already created an entry that still waits, returns the entry's state.
    /// Otherwise, returns `None`. Reads the store only if some buyer waits for the item.
    ///
    /// # Errors
    ///
    /// If the store is unreachable.
    pub async fn replay_waitlist_entry(
        &self,
        item: &ItemState,
        buyer: &BuyerId,
        key: &RequestKey,
    ) -> Result<Option<JoinResult>, EngineError> {
        if item.gauge.counts().waiting == 0 {
            return Ok(None);
        }
        match self.buyer_waitlist_position(item.row.id, buyer).await? {
            Some(Some(found)) if found.entry.key == *key => {
                self.join_result(found.entry.id, buyer, false).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Adds a buyer to an item's waitlist. If the buyer already has a waiting entry, returns this
    /// entry.
    ///
    /// # Errors
    ///
    /// If the store is unreachable. The caller may repeat the request.
    pub async fn join_waitlist(
        &self,
        item: &ItemState,
        buyer: &BuyerId,
        key: &RequestKey,
    ) -> Result<JoinResult, EngineError> {
        let id = item.row.id;
        if let Some(why) = join_refusal(&self.node, item) {
            // A buyer who already has a waiting entry gets this entry and not the refusal.
            let read = self.buyer_waitlist_position(id, buyer).await?;
            return match read {
                Some(Some(found)) => self.join_result(found.entry.id, buyer, false).await,
                Some(None) => Ok(JoinResult::Refused(why)),
                None => Ok(JoinResult::Refused(JoinRefusal::Busy)),
            };
        }
        let joining = self.node.store().join_waitlist(id, buyer.clone(), key.clone());
        let Some(joined) =
            self.node.holders().waitlist_limiter.read(read_key(&self.node, buyer), joining).await
        else {
            return Ok(JoinResult::Refused(JoinRefusal::Busy));
        };
        Ok(JoinResult::Refused(match joined? {
            JoinOutcome::Done(join_result) => {
                return self.join_result(join_result.id, buyer, true).await;
            }
            JoinOutcome::Already(join_result) => {
                return self.join_result(join_result.id, buyer, false).await;
            }
            JoinOutcome::Order(order) => {
                self.node.remember_order(&order);
                return Ok(replayed_order(item, order));
            }
            JoinOutcome::Lapsed(order) => JoinRefusal::Lapsed(order.state),
            JoinOutcome::KeyReused => JoinRefusal::KeyReused,
            JoinOutcome::LimitReached => {
                let used = self.node.store().quota(id, buyer.clone()).await?;
                JoinRefusal::LimitReached { limit: item.row.limit, used }
            }
            JoinOutcome::UnitsFree => JoinRefusal::UnitsFree,
            JoinOutcome::SoldOut => JoinRefusal::SoldOut,
            JoinOutcome::Full => JoinRefusal::Full,
            JoinOutcome::NotOnSale => JoinRefusal::NotOnSale,
            JoinOutcome::NotFound => JoinRefusal::NotFound,
        }))
    }

    /// Returns the buyer's waiting entry for the item, with its position. Returns `Some(None)` if
    /// the buyer has no waiting entry. Returns `None` if too many requests wait for the limiter.
    ///
    /// # Errors
    ///
    /// If the store is unreachable.
    pub async fn buyer_waitlist_position(
        &self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> Result<Option<Option<WaitlistPosition>>, EngineError> {
        let reading = self.node.store().waitlist_position_of(item, buyer);
        let Some(read) =
            self.node.holders().waitlist_limiter.read(read_key(&self.node, buyer), reading).await
        else {
            return Ok(None);
        };
        Ok(Some(read?.filter(|found| found.entry.state == WaitlistState::Waiting)))
    }

    /// Ends the buyer's waiting entry, if the buyer has one. If the sale has ended (`is_over`),
    /// changes nothing, because a job ends the entries of ended sales.
    ///
    /// # Errors
    ///
    /// If the store is unreachable. The caller may repeat the request.
    pub async fn leave_waitlist(
        &self,
        item: ItemId,
        buyer: &BuyerId,
        is_over: bool,
    ) -> Result<LeaveResult, EngineError> {
        let Some(found) = self.buyer_waitlist_position(item, buyer).await? else {
            return Ok(LeaveResult::Busy);
        };
        if let Some(WaitlistPosition { entry, .. }) = found {
            if is_over {
                return Ok(LeaveResult::Done);
            }
            match self.node.store().leave_waitlist(entry.id).await? {
                LeaveOutcome::Already(WaitlistEntry { state: WaitlistState::Served, .. }) => {}
                LeaveOutcome::Done(_) | LeaveOutcome::Already(_) | LeaveOutcome::NotFound => {
                    return Ok(LeaveResult::Done);
                }
            }
        }
        // The buyer no longer has a waiting entry. Perhaps the entry became an order, just now or
        // earlier.
        let reading = self.node.store().waitlist_order_of(item, buyer);
        let Some(read) =
            self.node.holders().waitlist_limiter.read(read_key(&self.node, buyer), reading).await
        else {
            return Ok(LeaveResult::Busy);
        };
        Ok(read?.map_or(LeaveResult::Done, |order| LeaveResult::Served(order.state)))
    }

    /// Ends all waiting entries of a blocked buyer in open and paused sales. In other sales, the
    /// entries get no units and need not be ended. In a deployment of several nodes, this node may
    /// not know which items have waiting buyers. Then it asks the store about every item of these
    /// sales.
    ///
    /// # Errors
    ///
    /// If the store is unreachable. Some entries may then remain. The caller may repeat the call.
    pub async fn leave_all_waitlists(&self, buyer: &BuyerId) -> Result<(), EngineError> {
        let catalogue = self.node.catalogue().clone();
        let is_on = |sale: &&Arc<SaleState>| matches!(sale.row.phase, Phase::Open | Phase::Paused);
        let sales = catalogue.sales().filter(is_on);
        let is_alone = self.node.layout().is_single_node();
        let may_wait = |item: &&Arc<ItemState>| !is_alone || item.gauge.counts().waiting > 0;
        for item in sales.flat_map(|sale| &sale.items).filter(may_wait) {
            if let Some(found) = self.node.store().waitlist_position_of(item.row.id, buyer).await? {
                self.node.store().leave_waitlist(found.entry.id).await?;
            }
        }
        Ok(())
    }

    async fn join_result(
        &self,
        id: TicketId,
        buyer: &BuyerId,
        is_new: bool,
    ) -> Result<JoinResult, EngineError> {
        Ok(JoinResult::WaitlistEntry {
            id,
            lookup: self.orders.look_up_order(id, Some(buyer)).await?,
            is_new,
        })
    }
}

/// Returns the refusal if this node's memory shows that no buyer can join the waitlist now. Returns
/// `None` if this memory is not recent.
fn join_refusal(node: &Node, item: &ItemState) -> Option<JoinRefusal> {
    if !node.is_memory_recent() {
        return None;
    }
    match item.gauge.free().refuses(Units::ONE) {
        None => Some(JoinRefusal::UnitsFree),
        Some(sold_out) if !sold_out.may_return => Some(JoinRefusal::SoldOut),
        Some(_) => {
            let counts = item.gauge.counts();
            let may_come = counts.held + counts.kept;
            (counts.waiting >= WAITLIST_ENTRIES_MAX.min(may_come)).then_some(JoinRefusal::Full)
        }
    }
}

fn read_key(node: &Node, buyer: &BuyerId) -> u64 {
    node.id_key().buyer_hash(buyer.as_str())
}

/// Returns the result for a request that already holds an order. The buyer may have used the same
/// key for another item or another number of units. In this case, the request is refused.
fn replayed_order(item: &ItemState, order: Order) -> JoinResult {
    match order.is_for(item.row.id, Units::ONE) {
        true => JoinResult::Order(order),
        false => JoinResult::Refused(JoinRefusal::KeyReused),
    }
}
