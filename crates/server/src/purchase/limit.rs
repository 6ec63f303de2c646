//! What a buyer hears who holds as much as the limit allows, as the truth said, or as a slot does.
use std::time::Duration;

use doorbuster_core::slot::TicketRequest;

use super::{Attempt, Bought, Purchase, Refusal, Tries, UNAVAILABLE};
use crate::engine::Engine;

/// How long one such question may take, its turn included.
const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

impl Engine {
    /// What the truth said of the buyer's limit not long ago, unless the request holds an order, or
    /// may.
    pub(super) async fn at_limit(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
    ) -> Option<Bought> {
        let work = &purchase.item.work;
        let limit = purchase.item.row.limit;
        // What is held may be this request's own order, which this node knows of once it has looked
        // after that was read.
        let unseen_for = self.store().staleness();
        let used = work.at_limit.refuses(
            request.buyer_hash,
            request.units,
            limit,
            work.feed.told(),
            unseen_for,
        )?;
        if !self.is_recent() {
            return None;
        }
        if let Some(bought) = self.remembered(purchase, request).await {
            return Some(bought);
        }
        Some(Bought::Refused(Refusal::LimitReached { limit, used }))
    }

    /// What the request holds as far as this node remembers. A slot may have begun a new epoch
    /// since the request was first looked up: its order comes before a refusal.
    pub(super) async fn remembered(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
    ) -> Option<Bought> {
        match self.may_hold(&purchase.sale, request.request) {
            true => Box::pin(self.held(purchase, request.request)).await,
            false => None,
        }
    }

    /// What a slot's refusal comes to. A slot knows what was asked of it; where an item has others,
    /// the request may hold an order by another one, and what stands in its way may be undecided.
    /// There the truth has the last word, and until it has it the request waits. A ticket of its
    /// own comes before that.
    pub(super) async fn refused_by_slot(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        refusal: Refusal,
        tries: Tries,
    ) -> Attempt {
        if let Some(bought) = self.remembered(purchase, request).await {
            return Attempt::Answer(bought);
        }
        if !self.layout().has_elsewhere(purchase.item.slots.len()) {
            return Attempt::Answer(Bought::Refused(refusal));
        }
        let confirmed = async {
            let _place = self.holders().confirm().await;
            self.confirmed(purchase, request, refusal).await
        };
        if let Ok(Some(bought)) = tokio::time::timeout(CONFIRM_WITHIN, confirmed).await {
            let own = match bought {
                Bought::Refused(Refusal::LimitReached { .. }) => {
                    Box::pin(self.ticket_anywhere(purchase, request, tries)).await
                }
                _ => None,
            };
            return Attempt::Answer(own.unwrap_or(bought));
        }
        // Whatever commits makes it ask again.
        Attempt::Undecided
    }

    /// What the truth makes of a slot's refusal; `None`: the buyer may yet have as much as is asked
    /// for.
    async fn confirmed(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        refusal: Refusal,
    ) -> Option<Bought> {
        let (item, limit) = (&purchase.item, purchase.item.row.limit);
        let told = item.work.feed.told();
        // The share before the order: an order that is in the share is seen.
        let Ok(used) = self.store().quota(item.row.id, purchase.buyer.clone()).await else {
            return Some(UNAVAILABLE);
        };
        match self.store().order_of(purchase.buyer.clone(), purchase.key.clone()).await {
            Err(_) => Some(UNAVAILABLE),
            Ok(Some(order)) => Some(purchase.shown(order)),
            Ok(None) if refusal == Refusal::KeyReused => Some(Bought::Refused(refusal)),
            Ok(None) if u64::from(used) + purchase.units.to_u64() > u64::from(limit) => {
                item.work.at_limit.learn(request.buyer_hash, used, told);
                Some(Bought::Refused(Refusal::LimitReached { limit, used }))
            }
            Ok(None) => None,
        }
    }
}
