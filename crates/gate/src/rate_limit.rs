//! The request limits of a sale: for one buyer, for one address, and for all buyers together. The
//! server checks limits before it does expensive work for a request.
//!
//! - Each route counts its own requests. So requests for a position in a waiting room do not use up
//!   the limit of purchases.
//! - The buyer's limit is checked first, and the limit of all buyers last. If a limit refuses a
//!   request, the limits that were checked earlier give back what they counted. So refused requests
//!   cannot use up a limit that other buyers share.
//! - If nodes share limits, a request for a purchase, a pass or a checkout waits until its node has
//!   a share of each limit. See [`check`], [`sharing`] and [`doorbuster_core::gate::shared_limit`].

mod check;
mod keys;
mod object;
mod sharing;
mod status;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::IdKey;
use doorbuster_core::gate::gcra;
use doorbuster_core::gate::shared_limit::Counting;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::{LimitCell, LimitTable, Route};

pub use check::{LimitCheck, PendingLimit};
pub use sharing::LimitSharing;
pub(crate) use sharing::SharedPlace;
pub use status::RateLimitStatus;

/// The caller of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The address to which limits and blocks apply.
    pub address: IpAddr,
    /// The buyer's name, from a token that was already verified.
    pub buyer: &'a str,
}

/// A refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitExceeded {
    /// The limit that refused the request.
    pub scope: RateLimitScope,
    /// The seconds after which this limit would allow the request.
    pub retry_after_secs: u32,
    /// The caller's status.
    pub status: RateLimitStatus,
}

#[derive(Clone, Copy, Debug)]
struct LimitStep {
    scope: RateLimitScope,
    key: u64,
    pace: gcra::RateLimit,
    /// The request's cost, counted by the whole limit.
    cost: u64,
    /// How far the request moved the limit's state, in nanoseconds. This value is above `cost` if
    /// the node applied only its own part of the limit.
    taken: u64,
}

/// The limits of this node.
#[derive(Debug)]
pub struct RateLimiter {
    table: LimitTable,
    key: [u8; 32],
    birth: Instant,
    sharing: Option<LimitSharing>,
    /// The number of edges, if this process is an edge. `None` if it is a node.
    edges: Option<Arc<AtomicU32>>,
}

impl RateLimiter {
    /// Creates limits that no caller has used yet. Nodes with the same id key compute the same
    /// limit key for a caller, so they can share limits.
    pub fn new(id_key: &IdKey, sharing: Option<LimitSharing>) -> Self {
        let secret = id_key.buyer_hash("limits").to_be_bytes();
        let key = blake3::derive_key("doorbuster: whom limits are held to", &secret);
        Self { table: LimitTable::default(), key, birth: Instant::now(), sharing, edges: None }
    }

    /// Sets the number of edges, including this edge, among which the limits are divided. On a
    /// node, `edges` is `None`, and the limits stay as they are.
    pub(crate) fn at_edge(self, edges: Option<Arc<AtomicU32>>) -> Self {
        Self { edges, ..self }
    }

    /// Returns a caller's status without counting a request.
    pub fn rate_limit_status(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> RateLimitStatus {
        let (mut status, now) = (RateLimitStatus::default(), self.now());
        for scope in RateLimitScope::ALL {
            let Some(pace) = sale.limits_of(route).pace(scope) else { continue };
            let state = match scope {
                RateLimitScope::Interface => sale.runtime.limits.sale_wide(route).used_state(),
                RateLimitScope::Buyer | RateLimitScope::Ip => {
                    let key = self.key_of((route, scope), caller, sale);
                    let used = |cell: &mut LimitCell| cell.with_share(|n| n.used_state());
                    self.table.with_existing(key, used).unwrap_or(0)
                }
            };
            status.record(scope, self.pace_now(pace), state, now);
        }
        status
    }

    /// Returns how many limits were evicted from the table while they were still in use.
    pub fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Returns the connection through which nodes share limits. `None` if nodes do not share
    /// limits.
    pub fn sharing(&self) -> Option<&LimitSharing> {
        self.sharing.as_ref()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.birth.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the limit that this process applies. An edge applies the limit divided by the number
    /// of edges, because no other process counts the requests that the edge answers itself.
    fn pace_of(&self, pace: gcra::RateLimit) -> gcra::RateLimit {
        match &self.edges {
            Some(edges) => pace.split_between(edges.load(Ordering::Relaxed)),
            None => pace,
        }
    }

    /// Returns whether this process is an edge and passes the request on to a node. The node then
    /// counts the request.
    fn is_passed_on(&self, counting: Counting) -> bool {
        self.edges.is_some() && counting == Counting::BeforeAnswer
    }

    /// Returns the whole limit. But while the nodes cannot share limits, returns this node's part
    /// of the limit.
    fn pace_now(&self, pace: gcra::RateLimit) -> gcra::RateLimit {
        match self.sharing.as_ref().filter(|sharing| sharing.is_unreachable()) {
            Some(sharing) => pace.split_between(sharing.nodes()),
            None => pace,
        }
    }
}
