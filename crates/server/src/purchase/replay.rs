//! Answers a repeated request with the order that it holds, or with its queued ticket. The node
//! looks up the order if it remembers that the request holds one, or if its memory is incomplete.
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::{Order, Phase, RequestHash};

use super::park::{Deadlines, VerdictWait};
use super::{Attempt, Purchase, PurchaseOutcome, Refusal, UNAVAILABLE};
use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::holders::{Queued, ReadError};

impl Purchase {
    /// Returns the answer to a request whose key holds this order.
    pub(super) fn replay(&self, order: Order) -> PurchaseOutcome {
        match order.item == self.item.row.id && order.units == self.units {
            true => PurchaseOutcome::Replayed(order),
            false => PurchaseOutcome::Refused(Refusal::KeyReused),
        }
    }
}

impl Engine {
    /// Returns whether the request may hold an order or a queued ticket, according to this node's
    /// memory.
    pub(super) fn may_hold(&self, sale: &SaleState, request: RequestHash) -> bool {
        let holders = self.holders();
        holders.may_hold(request)
            || holders.queued_requests.contains(request)
            || (sale.row.phase == Phase::Closed && sale.is_long_over(self.now()))
    }

    /// Returns the answer to a request that may hold an order. `None`: the request holds no order.
    /// Lookups of remembered orders wait until the limiter lets them run. Only a few other lookups
    /// run at a time.
    pub(super) async fn held_order(
        &self,
        purchase: &Purchase,
        request: RequestHash,
    ) -> Option<PurchaseOutcome> {
        let is_remembered = self.holders().holds(request);
        if !is_remembered
            && let Some(queued) = self.holders().queued_requests.find(request, self.now())
            && let Some(bought) = self.repeat_queued(purchase, request, queued).await
        {
            return Some(bought);
        }
        let order = self.store().order_of(purchase.buyer.clone(), purchase.key.clone());
        let found = if is_remembered {
            let buyer = self.id_key().buyer_hash(purchase.buyer.as_str());
            self.holders().retry_limiter.read_order(buyer, request, order).await
        } else {
            let Some(_place) = self.holders().lookup_permit() else { return Some(UNAVAILABLE) };
            order.await.map_err(ReadError::Store)
        };
        match found {
            Ok(Some(order)) => Some(purchase.replay(order)),
            Ok(None) => None,
            Err(ReadError::Busy) => Some(UNAVAILABLE),
            Err(ReadError::Store(error)) => {
                tracing::debug!(%error, "failed to look up the order of a repeated request");
                Some(UNAVAILABLE)
            }
        }
    }

    /// Returns the answer to a request that has no verdict yet. A repeated request gets the same
    /// answer, even if the sale or the buyer's pass has ended.
    pub(super) fn answer_queued(
        &self,
        purchase: &Purchase,
        ticket: &IssuedTicket,
    ) -> PurchaseOutcome {
        let request = self.id_key().request_hash(purchase.buyer.as_str(), purchase.key.as_str());
        let queued = Queued { item: purchase.item.row.id, ticket: *ticket };
        self.holders().queued_requests.remember(request, queued, self.now());
        PurchaseOutcome::Queued {
            id: self.ticket_id(purchase, ticket),
            decide_by: ticket.decide_by,
        }
    }

    /// Returns the answer to a request that was queued before. `None`: its ticket was refused, so
    /// this is a new attempt.
    async fn repeat_queued(
        &self,
        purchase: &Purchase,
        request: RequestHash,
        queued: Queued,
    ) -> Option<PurchaseOutcome> {
        let Queued { item, ticket } = queued;
        let attempt = match self.waiters().join(ticket.token) {
            Some(verdict) => {
                let verdict_wait = VerdictWait {
                    is_first: false,
                    may_publish: true,
                    until: Deadlines::from_now(purchase.wait).verdict,
                };
                self.await_verdict(purchase, &ticket, verdict, verdict_wait).await
            }
            None => self.find_verdict(purchase, &ticket, true).await,
        };
        let is_same = item == purchase.item.row.id && ticket.units == purchase.units;
        match attempt {
            Attempt::Answer(PurchaseOutcome::Queued { .. } | PurchaseOutcome::Replayed(_))
                if !is_same =>
            {
                Some(PurchaseOutcome::Refused(Refusal::KeyReused))
            }
            Attempt::Answer(bought) => Some(bought),
            Attempt::Short | Attempt::NotReady | Attempt::Undecided | Attempt::Retry => {
                self.holders().queued_requests.forget(request);
                None
            }
        }
    }
}
