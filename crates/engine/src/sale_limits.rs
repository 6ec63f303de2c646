//! The request limits of a sale: their rules, and their state in the catalogue. The crate
//! `doorbuster-gate` checks requests against them.

mod rules;
mod sale_wide;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::shared_limit::Counting;

pub use rules::LimitRules;
pub use sale_wide::SaleWideLimit;
pub use table::{LimitCell, LimitTable};

doorbuster_core::labels! {
    /// The kinds of requests that have limits. Each limit counts the requests of each kind
    /// separately.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Route {
        /// A purchase.
        Purchase = "purchase",
        /// A purchase pass.
        Pass = "pass",
        /// A challenge.
        Challenge = "challenge",
        /// An entry into a waiting room, or a read of the visitor's position.
        Room = "waiting_room",
        /// A checkout of an order.
        Checkout = "checkout",
    }
}

impl Route {
    /// Returns when the node adds a request on this route to the count that all nodes share.
    /// Purchases, passes and checkouts are added before the response. Challenges and requests to
    /// waiting rooms are added after the response: they give no units, so their limits need not be
    /// exact.
    pub const fn counting(self) -> Counting {
        match self {
            Self::Challenge | Self::Room => Counting::AfterAnswer,
            Self::Purchase | Self::Pass | Self::Checkout => Counting::BeforeAnswer,
        }
    }
}

/// The limit that all buyers of a sale share, and the counts of requests that a limit refused.
#[derive(Debug, Default)]
pub struct SaleLimitState {
    sale_wide: [SaleWideLimit; Route::ALL.len()],
    refused: [[AtomicU64; RateLimitScope::ALL.len()]; Route::ALL.len()],
}

impl SaleLimitState {
    /// Returns the limit for requests on this route that all buyers of the sale share.
    pub fn sale_wide(&self, route: Route) -> &SaleWideLimit {
        &self.sale_wide[route as usize]
    }

    /// Returns the number of refused requests.
    pub fn refused(&self, route: Route, scope: RateLimitScope) -> u64 {
        self.refused[route as usize][scope as usize].load(Ordering::Relaxed)
    }

    /// Counts a request that a limit refused.
    pub fn count_refusal(&self, route: Route, scope: RateLimitScope) {
        self.refused[route as usize][scope as usize].fetch_add(1, Ordering::Relaxed);
    }
}
