//! Request limits of a sale. There is a limit for one buyer, for one address, and for all buyers
//! together. The server checks limits before any expensive work.
//!
//! Under a sale's limits, each route has its own counts. So requests for a waiting-room position do
//! not use up the limit of purchases. The buyer's limit is checked first and the limit of all
//! buyers last. If a later limit refuses a request, the earlier limits do not count the request. So
//! refused requests cannot use up a shared limit.
//!
//! A request that exceeds a limit is refused from node memory ([`table`]). If nodes share limits, a
//! purchase waits for its share of the limit ([`check`]). A request for a pass or a checkout also
//! waits. The node takes the shares of several requests together ([`sharing`]). The rules of shared
//! limits are in [`doorbuster_core::gate::shared_limit`].

mod check;
mod keys;
mod rules;
mod sale_wide;
mod sharing;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::IdKey;
use doorbuster_core::gate::gcra;

use crate::catalogue::SaleState;

pub(crate) use check::{LimitCheck, PendingLimit};
pub(crate) use doorbuster_core::gate::shared_limit::Counting;
pub(crate) use rules::{LimitRules, SCOPES};
use sale_wide::SaleWide;
pub(crate) use sharing::{LimitSharing, SharedPlace};
pub(crate) use status::RateLimitStatus;
use table::LimitTable;

/// The kind of request. Each route has its own counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A purchase.
    Purchase,
    /// A purchase pass.
    Pass,
    /// A challenge.
    Challenge,
    /// An entry into a waiting room, or a read of a position.
    Room,
    /// A checkout of an order.
    Checkout,
}

impl Route {
    /// Every route.
    pub(crate) const ALL: [Self; 5] =
        [Self::Purchase, Self::Pass, Self::Challenge, Self::Room, Self::Checkout];

    /// Returns when a request on this route is added to the shared count of all nodes: before or
    /// after this node's answer. Waiting-room polls and challenges are frequent and give no units.
    /// They need no exact limit, so they are added after the answer.
    pub(crate) const fn counting(self) -> Counting {
        match self {
            Self::Challenge | Self::Room => Counting::AfterAnswer,
            Self::Purchase | Self::Pass | Self::Checkout => Counting::BeforeAnswer,
        }
    }

    /// Returns the route's label in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Pass => "pass",
            Self::Challenge => "challenge",
            Self::Room => "waiting_room",
            Self::Checkout => "checkout",
        }
    }
}

/// The caller of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// The caller's address, to which limits and blocks apply.
    pub address: IpAddr,
    /// The buyer, whose token was checked.
    pub buyer: &'a str,
}

/// A refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimitExceeded {
    /// The limit that refused the request.
    pub scope: RateLimitScope,
    /// Seconds after which the limit would accept the request.
    pub retry_after_secs: u32,
    /// The caller's status.
    pub status: RateLimitStatus,
}

/// The limit that all buyers of a sale share, and the sale's counters of refusals.
#[derive(Debug, Default)]
pub struct SaleLimitState {
    sale_wide: [SaleWide; Route::ALL.len()],
    refused: [[AtomicU64; SCOPES.len()]; Route::ALL.len()],
}

impl SaleLimitState {
    fn sale_wide(&self, route: Route) -> &SaleWide {
        &self.sale_wide[route as usize]
    }

    /// Returns the number of refused requests.
    pub(crate) fn refused(&self, route: Route, scope: RateLimitScope) -> u64 {
        self.refused[route as usize][scope as usize].load(Ordering::Relaxed)
    }
}

/// One request under one limit.
#[derive(Clone, Copy, Debug)]
struct LimitStep {
    scope: RateLimitScope,
    key: u64,
    pace: gcra::RateLimit,
    cost: u64,
}

/// The limits of this node.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    table: LimitTable,
    key: [u8; 32],
    birth: Instant,
    sharing: Option<LimitSharing>,
    /// The number of edges. If an edge refuses a request from memory, it applies only its part of a
    /// limit. `None` means that this process is a node.
    edges: Option<Arc<AtomicU32>>,
}

impl RateLimiter {
    /// Creates limits that no caller has used. Nodes with the same id key compute the same hash for
    /// a caller.
    pub(crate) fn new(id_key: &IdKey, sharing: Option<LimitSharing>) -> Self {
        let secret = id_key.buyer_hash("limits").to_be_bytes();
        let key = blake3::derive_key("doorbuster: whom limits are held to", &secret);
        Self { table: LimitTable::default(), key, birth: Instant::now(), sharing, edges: None }
    }

    /// Converts these limits to the limits of an edge. `edges` is the number of edges, including
    /// this edge.
    pub(crate) fn at_edge(self, edges: Option<Arc<AtomicU32>>) -> Self {
        Self { edges, ..self }
    }

    /// Returns a caller's status without counting a request.
    pub(crate) fn rate_limit_status(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> RateLimitStatus {
        let (mut status, now) = (RateLimitStatus::default(), self.now());
        for scope in SCOPES {
            let Some(pace) = sale.limits_of(route).pace(scope) else { continue };
            let state = match scope {
                RateLimitScope::Interface => sale.flags.limits.sale_wide(route).used_state(),
                RateLimitScope::Buyer | RateLimitScope::Ip => {
                    let key = self.key_of((route, scope), caller, sale);
                    let used = |cell: &mut table::LimitCell| cell.with_share(|n| n.used_state());
                    self.table.with_existing(key, used).unwrap_or(0)
                }
            };
            status.record(scope, self.pace_now(pace), state, now);
        }
        status
    }

    /// Returns how many keys were evicted while they were still in use.
    pub(crate) fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Returns the state of the sharing between nodes. `None` means that nodes do not share limits.
    pub(crate) fn sharing(&self) -> Option<&LimitSharing> {
        self.sharing.as_ref()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.birth.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the limit that applies to a request. If an edge refuses a request from memory, no
    /// other process counts this request. So the edge applies only its part of the limit. If an
    /// edge passes a request to a node, the node counts the request again. So the edge applies the
    /// whole limit.
    fn pace_of(&self, pace: gcra::RateLimit, counting: Counting) -> gcra::RateLimit {
        match &self.edges {
            Some(edges) if counting == Counting::AfterAnswer => {
                pace.split_between(edges.load(Ordering::Relaxed))
            }
            _ => pace,
        }
    }

    /// While the nodes cannot share limits, returns this node's part of the limit. At other times,
    /// returns the whole limit.
    fn pace_now(&self, pace: gcra::RateLimit) -> gcra::RateLimit {
        match self.sharing.as_ref().filter(|sharing| sharing.is_unreachable()) {
            Some(sharing) => pace.split_between(sharing.nodes()),
            None => pace,
        }
    }
}

impl SaleState {
    fn count_refusal(&self, route: Route, scope: RateLimitScope) {
        self.flags.limits.refused[route as usize][scope as usize].fetch_add(1, Ordering::Relaxed);
    }
}
