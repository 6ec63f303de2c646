//! What a buyer hears who is known to hold as much as the limit allows.
use doorbuster_core::slot::Request;

use super::{Bought, Purchase, Refusal};
use crate::engine::Engine;

impl Engine {
    /// What the truth said of the buyer's limit not long ago, unless the request holds an order, or may.
    pub(super) async fn at_limit(&self, purchase: &Purchase, request: &Request) -> Option<Bought> {
        let work = &purchase.item.work;
        let limit = purchase.item.row.limit;
        let used = work.at_limit.refuses(request.buyer_hash, request.units, limit, work.feed.told())?;
        if !self.is_recent() {
            return None;
        }
        if self.may_hold(&purchase.sale, request.request)
            && let Some(bought) = Box::pin(self.held(purchase, request.request)).await
        {
            return Some(bought);
        }
        Some(Bought::Refused(Refusal::LimitReached { limit, used }))
    }
}
