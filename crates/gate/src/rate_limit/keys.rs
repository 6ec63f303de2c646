//! Computes the keys under which limits are stored. A key is a keyed hash of the sale, the route
//! and the caller. This module also counts the buyers of an address.

use std::net::IpAddr;

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::distinct_buyers::DistinctBuyers;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::LimitCell;

use super::{Caller, RateLimiter, Route};

/// The limit of an IP address depends on the number of known buyers at the address. The address has
/// one budget for each group of this many buyers, and at least one budget. Each budget is as large
/// as the configured limit.
const BUYERS_PER_BUDGET: u64 = 250;
const NANOS_PER_SEC: u64 = 1_000_000_000;
/// The length of one period in which the buyers of an address are counted.
const BUYER_COUNT_PERIOD_NANOS: u64 = 600 * NANOS_PER_SEC;
/// How long a large count of buyers stays in the table after the last request from the address.
const BUYER_COUNT_KEPT_NANOS: u64 = 10 * NANOS_PER_SEC;
/// The key of an address's count of buyers is the hash of a text that begins with this byte. For
/// the key of a limit, the text begins with the number of a route.
const ADDRESS_KEY: u8 = 0xFE;
const ADDRESS_BUYER_KEY: u8 = 0xFF;

impl RateLimiter {
    /// Returns the key of the limit with this route and scope for this caller. All nodes compute
    /// the same key.
    pub(super) fn key_of(
        &self,
        (route, scope): (Route, RateLimitScope),
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> u64 {
        match scope {
            RateLimitScope::Buyer => self.hash(route, sale, scope, caller.buyer.as_bytes()),
            RateLimitScope::Ip => self.hash(route, sale, scope, &network(caller.address)),
            RateLimitScope::Interface => self.hash(route, sale, scope, b""),
        }
    }

    pub(super) fn hash(
        &self,
        route: Route,
        sale: &SaleState,
        scope: RateLimitScope,
        who: &[u8],
    ) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher
            .update(&[route as u8, scope as u8])
            .update(sale.row.id.as_bytes())
            .update(b"\0")
            .update(who);
        first_u64(&hasher)
    }

    /// Returns the number of budgets of the caller's address: one for each [`BUYERS_PER_BUDGET`]
    /// buyers who use the address, but at least one. The buyers of all sales and routes count.
    pub(super) fn address_budgets(&self, caller: Caller<'_>, now: u64) -> u32 {
        let hash = |what: u8, who: &[u8]| {
            first_u64(blake3::Hasher::new_keyed(&self.key).update(&[what]).update(who))
        };
        let buyer = hash(ADDRESS_BUYER_KEY, caller.buyer.as_bytes());
        self.table.with_cell(hash(ADDRESS_KEY, &network(caller.address)), now, |cell| {
            let budgets = u32::try_from(estimate_buyers(cell, buyer, now) / BUYERS_PER_BUDGET)
                .unwrap_or(u32::MAX)
                .max(1);
            // The table keeps this count until the time in `state`. The table may evict a small
            // count at once: many addresses have only a few buyers, and their counts must not take
            // the place of limits in use. The table keeps a large count for some seconds, because a
            // new count of so many buyers takes hundreds of requests.
            cell.state = if budgets > 1 { now + BUYER_COUNT_KEPT_NANOS } else { now };
            budgets
        })
    }
}

/// Estimates the number of buyers of an address, including `buyer`. The result is the larger of the
/// current period's count and the previous period's count.
fn estimate_buyers(cell: &mut LimitCell, buyer: u64, now: u64) -> u64 {
    let period = now / BUYER_COUNT_PERIOD_NANOS + 1;
    let mut buyers = DistinctBuyers(cell.share);
    let (known, mut before) = (cell.unshared >> u32::BITS, cell.unshared & u64::from(u32::MAX));
    if known != period {
        before = if known + 1 == period { buyers.estimate() } else { 0 };
        buyers = DistinctBuyers::default();
    }
    buyers = buyers.with_buyer(buyer);
    cell.share = buyers.0;
    cell.unshared = period << u32::BITS | before;
    buyers.estimate().max(before)
}

fn first_u64(hasher: &blake3::Hasher) -> u64 {
    let mut word = [0; 8];
    hasher.finalize_xof().fill(&mut word);
    u64::from_be_bytes(word)
}

/// Returns the part of an address to which a limit applies: the whole IPv4 address, or the first 64
/// bits of an IPv6 address. Usually one customer has all IPv6 addresses with the same first 64
/// bits.
fn network(address: IpAddr) -> [u8; 9] {
    let mut bytes = [0; 9];
    match address.to_canonical() {
        IpAddr::V4(address) => bytes[1..5].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&address.octets()[..8]);
        }
    }
    bytes
}
