//! The reads of the store that a purchase needs.
use std::time::Duration;

use doorbuster_core::Order;
use doorbuster_core::slot::{IssuedTicket, TicketRequest};
use doorbuster_steps::memory::Refusal;
use doorbuster_steps::purchase::{CONFIRM_WITHIN_MS, Input, Outcome};
use doorbuster_store::StoreResult;
use tokio::time::timeout;

use super::{Driver, Purchase};
use crate::holders::ReadError;

const CONFIRM_WITHIN: Duration = Duration::from_millis(CONFIRM_WITHIN_MS);
const UNAVAILABLE: Outcome = Outcome::Refused(Refusal::Unavailable);

impl Driver<'_> {
    pub(super) async fn is_grant_closed(&self, ticket: &IssuedTicket) -> bool {
        let item = &self.purchase.item;
        item.work
            .open_grants
            .is_closed(self.purchases.node.store(), item.row.id, ticket.grant)
            .await
    }

    pub(super) async fn read_verdict(&mut self, ticket: &IssuedTicket) -> Input {
        match self.purchases.node.store().verdict(self.ticket_id(ticket)).await {
            Ok(Some(resolved)) => self.take_verdict(resolved),
            Ok(None) => Input::NoVerdict,
            Err(_) => Input::Failed,
        }
    }

    pub(super) async fn read_quota(&self) -> Input {
        let ended_orders = self.purchase.item.work.feed.ended_orders();
        let used = self.used_units().await;
        if let Ok(used) = used {
            self.purchase.item.work.at_limit.learn(self.request.buyer_hash, used, ended_orders);
        }
        Input::Quota(used.ok())
    }

    /// Reads the buyer's used units, and then the order of this request. The sequence matters: if
    /// the used units include this request's own order, the second read finds this order.
    pub(super) async fn confirm_refusal(&mut self) -> Input {
        let confirmed = async {
            let _permit = self.purchases.node.holders().confirm_permit().await;
            let ended_orders = self.purchase.item.work.feed.ended_orders();
            let used = self.used_units().await?;
            let Purchase { buyer, key, .. } = self.purchase;
            let order = self.purchases.node.store().order_of(buyer.clone(), key.clone()).await?;
            StoreResult::Ok((used, order, ended_orders))
        };
        match timeout(CONFIRM_WITHIN, confirmed).await {
            Ok(Ok((used, Some(order), _))) => Input::Confirmed(used, Some(self.take_order(order))),
            Ok(Ok((used, None, ended_orders))) => {
                let TicketRequest { buyer_hash, units, limit, .. } = self.request;
                if u64::from(used) + units.to_u64() > u64::from(limit) {
                    self.purchase.item.work.at_limit.learn(buyer_hash, used, ended_orders);
                }
                Input::Confirmed(used, None)
            }
            Ok(Err(_)) => Input::Failed,
            Err(_) => Input::Elapsed,
        }
    }

    async fn used_units(&self) -> StoreResult<u32> {
        let Purchase { item, buyer, .. } = self.purchase;
        self.purchases.node.store().quota(item.row.id, buyer.clone()).await
    }

    /// Looks up the order of a request. Returns the result for the client, or `None` if the request
    /// has no order. The node's memory may have the request, or may have forgotten it after the end
    /// of the sale. In both cases, the lookup waits for its turn in the retry limiter. Every other
    /// lookup needs one of a few permits.
    pub(super) async fn look_up_order(&mut self) -> Option<Outcome> {
        let (node, request) = (&self.purchases.node, self.request.request);
        let (holders, Purchase { item, buyer, key, .. }) = (node.holders(), self.purchase);
        let order = node.store().order_of(buyer.clone(), key.clone());
        let sale = node.catalogue().sale(&item.sale).cloned();
        let is_forgotten = || sale.is_some_and(|sale| sale.is_long_over(node.now()));
        let found = if holders.holds(request) || is_forgotten() {
            holders.retry_limiter.read_order(self.request.buyer_hash, request, order).await
        } else {
            let Some(_permit) = holders.lookup_permit() else { return Some(UNAVAILABLE) };
            order.await.map_err(ReadError::Store)
        };
        match found {
            Ok(order) => Some(self.take_order(order?)),
            Err(ReadError::Busy) => Some(UNAVAILABLE),
            Err(ReadError::Store(error)) => {
                tracing::debug!(%error, "failed to look up the order of a repeated request");
                Some(UNAVAILABLE)
            }
        }
    }

    /// Stores the order that the request holds, and returns the outcome of the request.
    fn take_order(&mut self, order: Order) -> Outcome {
        let Purchase { item, units, .. } = self.purchase;
        let is_same = order.is_for(item.row.id, *units);
        self.order = Some(order);
        Outcome::for_order(is_same)
    }
}
