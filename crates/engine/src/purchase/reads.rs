//! The reads of the store that a purchase needs: a ticket's verdict, a buyer's units, and the order
//! that a request holds.
use std::time::Duration;

use doorbuster_core::slot::{IssuedTicket, TicketRequest};
use doorbuster_core::{Order, Verdict};
use doorbuster_steps::memory;
use doorbuster_steps::purchase::{CONFIRM_WITHIN_MS, Input, Outcome};
use doorbuster_store::StoreResult;
use tokio::time::timeout;

use super::{DoorRefusal, Driver, Purchase, PurchaseOutcome, Refusal};
use crate::holders::{Queued, ReadError};

const CONFIRM_WITHIN: Duration = Duration::from_millis(CONFIRM_WITHIN_MS);
const UNAVAILABLE: Outcome = Outcome::Refused(memory::Refusal::Unavailable);

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

    /// Reads the buyer's units first and then the request's order. So if the units include the
    /// request's order, the order is found.
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

    /// Returns the units that the store counts for the buyer.
    async fn used_units(&self) -> StoreResult<u32> {
        let Purchase { item, buyer, .. } = self.purchase;
        self.purchases.node.store().quota(item.row.id, buyer.clone()).await
    }

    /// Returns the answer to a request that the front door refuses.
    pub(super) async fn refuse_at_door(&mut self, refusal: DoorRefusal) -> PurchaseOutcome {
        let may_hold = memory::may_hold(&self.view(&self.purchases.node.catalogue()));
        if may_hold && let Some(outcome) = self.look_up_order().await {
            if outcome == Outcome::Replayed {
                self.remember_order();
            }
            return self.answer(outcome);
        }
        PurchaseOutcome::Refused(Refusal::AtDoor(refusal))
    }

    /// Returns the answer to a request that may hold an order or a queued ticket. Returns `None` if
    /// the request holds neither. If the node's memory shows that the request holds an order, the
    /// retry limiter delays the lookup. All other lookups share a few permits. Without a free
    /// permit, the client must retry.
    pub(super) async fn look_up_order(&mut self) -> Option<Outcome> {
        let (holders, request) = (self.purchases.node.holders(), self.request.request);
        let is_remembered = holders.holds(request);
        if !is_remembered
            && let Some(queued) = holders.queued_requests.find(request, self.purchases.node.now())
            && let Some(outcome) = self.repeat_queued(queued).await
        {
            return Some(outcome);
        }
        let Purchase { buyer, key, .. } = self.purchase;
        let order = self.purchases.node.store().order_of(buyer.clone(), key.clone());
        let found = if is_remembered {
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

    /// Returns the answer to a request that was queued before. Returns `None` if the ticket was
    /// refused. The request may then get a new ticket.
    async fn repeat_queued(&mut self, Queued { item, ticket }: Queued) -> Option<Outcome> {
        let mut input = self.await_verdict(&ticket, false, false).await;
        if !matches!(input, Input::Verdict(_)) {
            input = self.read_verdict(&ticket).await;
        }
        let outcome = match input {
            Input::Verdict(Verdict::Reserved | Verdict::Order(_)) => Outcome::Replayed,
            Input::Verdict(_) => {
                self.wake_item();
                self.purchases.node.holders().queued_requests.forget(self.request.request);
                return None;
            }
            Input::NoVerdict => Outcome::Queued(ticket),
            _ => return Some(UNAVAILABLE),
        };
        match item == self.purchase.item.row.id && ticket.units == self.request.units {
            true => Some(outcome),
            false => Some(Outcome::for_order(false)),
        }
    }

    /// Keeps an order that the request holds, and returns the answer.
    fn take_order(&mut self, order: Order) -> Outcome {
        let Purchase { item, units, .. } = self.purchase;
        let is_same = order.is_for(item.row.id, *units);
        self.order = Some(order);
        Outcome::for_order(is_same)
    }
}
