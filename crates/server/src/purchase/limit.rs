//! Answers a buyer who has reached the limit of units. The store or a slot counted the buyer's
//! units.
use std::time::Duration;

use doorbuster_core::slot::TicketRequest;
use doorbuster_steps::purchase::CONFIRM_WITHIN_MS;

use super::{Attempt, AttemptContext, Purchase, PurchaseOutcome, Refusal, UNAVAILABLE};
use crate::engine::Engine;

const CONFIRM_WITHIN: Duration = Duration::from_millis(CONFIRM_WITHIN_MS);

impl Engine {
    /// Refuses a request if the store's recent count of the buyer's units does not allow more
    /// units. Does not refuse if the request holds or may hold an order.
    pub(super) async fn refuse_at_limit(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
    ) -> Option<PurchaseOutcome> {
        let work = &purchase.item.work;
        let limit = purchase.item.row.limit;
        // The counted units may belong to this request's own order. This node knows that order once
        // it has read the store after the count.
        let staleness = self.store().staleness();
        let used = work.at_limit.refuses(
            request.buyer_hash,
            request.units,
            limit,
            work.feed.endings(),
            staleness,
        )?;
        if !self.is_memory_recent() {
            return None;
        }
        if let Some(bought) = self.find_remembered(purchase, request).await {
            return Some(bought);
        }
        Some(PurchaseOutcome::Refused(Refusal::LimitReached { limit, used }))
    }

    /// Returns the order that the request holds, if this node remembers it. The slot may have begun
    /// a new epoch after the first look-up. So a remembered order takes precedence over a slot's
    /// refusal.
    pub(super) async fn find_remembered(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
    ) -> Option<PurchaseOutcome> {
        match self.may_hold(&purchase.sale, request.request) {
            true => Box::pin(self.held_order(purchase, request.request)).await,
            false => None,
        }
    }

    /// Decides about a slot's refusal. A slot knows only the requests that it served. If the item
    /// has other slots, one of them may have an order of the request, or an undecided ticket that
    /// contradicts the refusal. In this case the store decides, and the request waits. If the
    /// request itself has a ticket, that ticket's result takes precedence.
    pub(super) async fn refused_by_slot(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        refusal: Refusal,
        context: AttemptContext,
    ) -> Attempt {
        if let Some(bought) = self.find_remembered(purchase, request).await {
            return Attempt::Answer(bought);
        }
        // A node that settles the tickets of the only slot knows every order of the item.
        let is_only_slot = !self.current_item(purchase).has_other_slots(self.layout());
        if is_only_slot && self.layout().is_node_local() {
            return Attempt::Answer(PurchaseOutcome::Refused(refusal));
        }
        let confirmed = async {
            let _place = self.holders().confirm_permit().await;
            self.confirm_refusal(purchase, request, refusal).await
        };
        if let Ok(Some(bought)) = tokio::time::timeout(CONFIRM_WITHIN, confirmed).await {
            let own = match bought {
                PurchaseOutcome::Refused(Refusal::LimitReached { .. }) => {
                    Box::pin(self.find_issued_ticket(purchase, request, context)).await
                }
                _ => None,
            };
            return Attempt::Answer(own.unwrap_or(bought));
        }
        // The request tries again after the next commit.
        Attempt::Undecided
    }

    /// Checks a slot's refusal against the store. `None`: the buyer may still get the requested
    /// units.
    async fn confirm_refusal(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        refusal: Refusal,
    ) -> Option<PurchaseOutcome> {
        let (item, limit) = (&purchase.item, purchase.item.row.limit);
        let endings = item.work.feed.endings();
        // The quota is read before the order. So every order in the quota is found.
        let Ok(used) = self.store().quota(item.row.id, purchase.buyer.clone()).await else {
            return Some(UNAVAILABLE);
        };
        match self.store().order_of(purchase.buyer.clone(), purchase.key.clone()).await {
            Err(_) => Some(UNAVAILABLE),
            Ok(Some(order)) => Some(purchase.replay(order)),
            Ok(None) if refusal == Refusal::KeyReused => Some(PurchaseOutcome::Refused(refusal)),
            Ok(None) if u64::from(used) + purchase.units.to_u64() > u64::from(limit) => {
                item.work.at_limit.learn(request.buyer_hash, used, endings);
                Some(PurchaseOutcome::Refused(Refusal::LimitReached { limit, used }))
            }
            Ok(None) => None,
        }
    }
}
