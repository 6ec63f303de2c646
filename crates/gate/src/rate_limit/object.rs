//! Checks a request for one object that has a limit of its own, such as an order of the caller.

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::gcra::RateLimit;
use doorbuster_engine::catalogue::SaleState;

use super::check::{Charge, ChargeResult, exceeded, wait_for_share};
use super::status::RateLimitStatus;
use super::{Caller, LimitStep, RateLimitExceeded, RateLimiter, Route};

impl RateLimiter {
    /// Checks one request against the limit of the object with this name, and against the sale's
    /// limits for the caller. Counts the request. Waits for this node's shares if necessary.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit. In this case, no limit counts the request.
    pub async fn acquire_for(
        &self,
        route: Route,
        object: &str,
        pace: RateLimit,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> Result<(), RateLimitExceeded> {
        let (mut status, now) = (RateLimitStatus::default(), self.now());
        // An object's limit is stored like the limit of a buyer with this name. No real buyer has
        // this name, because a buyer's name contains no control character.
        let name = format!("\u{1}{object}");
        let key = self.hash(route, sale, RateLimitScope::Buyer, name.as_bytes());
        let cost = pace.cost(1);
        let step = LimitStep { scope: RateLimitScope::Buyer, key, pace, cost, taken: cost };
        let turn = match self.charge(&step, route, sale, route.counting(), now) {
            ChargeResult::Decided(turn) => turn,
            ChargeResult::Pending(share) => {
                let grant = wait_for_share(share).await;
                self.apply_grant(&step, sale, route, grant, self.now())
            }
        };
        let Charge { taken, .. } = turn.map_err(|(nanos, state)| {
            status.record(RateLimitScope::Buyer, self.pace_now(pace), state, now);
            sale.runtime.limits.count_refusal(route, RateLimitScope::Buyer);
            exceeded(RateLimitScope::Buyer, nanos, status)
        })?;
        let counted = self.acquire_shared((route, route.counting()), caller, sale).await;
        let used = LimitStep { taken, ..step };
        counted.map(drop).inspect_err(|_| self.give_back(&used, route, sale))
    }
}
