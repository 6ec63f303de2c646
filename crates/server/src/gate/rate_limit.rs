//! Request limits of a sale. There is a limit for one buyer, for one address, and for all buyers
//! together. The server checks limits before any expensive work.
//!
//! Under a sale's limits, each route has its own counts. So requests for a waiting-room position
//! use up no limit of purchases. The buyer's limit is checked first and the limit of all buyers
//! last. If a later limit refuses a request, the earlier limits do not count it. So refused
//! requests cannot use up a shared limit.
//!
//! Every decision uses only node memory and waits for no other node ([`table`]). If nodes share
//! limits, each node reports its accepted requests to the others in the background, in batches
//! ([`run_sharing`]).

mod rules;
mod sharing;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::IdKey;
use doorbuster_core::gate::distinct_buyers::DistinctBuyers;
use doorbuster_core::gate::gcra::{self, RateDecision, RateLimit};

use crate::catalogue::SaleState;

pub(crate) use rules::{LimitRules, SCOPES};
pub(crate) use sharing::LimitSharing;
use sharing::UnsharedUse;
pub(crate) use status::RateLimitStatus;
use table::{LimitCell, LimitTable};

/// An address gets one budget for this many known buyers. Up to this number, the address has its
/// configured limit. With twice as many buyers, it has twice the limit.
const BUYERS_PER_BUDGET: u64 = 250;
/// The period after which the buyers behind an address are counted again.
const BUYER_COUNT_PERIOD_NANOS: u64 = 600 * NANOS_PER_SEC;
/// A large count of buyers stays in the table for this long after its last request.
const BUYER_COUNT_KEPT_NANOS: u64 = 10 * NANOS_PER_SEC;
/// The route number for the hashes of addresses.
const ADDRESS_KEY: u8 = 0xFE;
const ADDRESS_BUYER_KEY: u8 = 0xFF;
const NANOS_PER_SEC: u64 = 1_000_000_000;
const NANOS_PER_MICRO: u64 = 1_000;

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
    /// The address that limits and blocks use for this request.
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

/// A limit that all buyers of a sale share.
#[derive(Debug, Default)]
struct SaleWide {
    state: AtomicU64,
    /// The use that this node has not reported to other nodes, in nanoseconds of the limit's rate.
    owed: AtomicU64,
    is_queued: std::sync::atomic::AtomicBool,
}

impl SaleLimitState {
    /// Returns the number of refused requests.
    pub(crate) fn refused(&self, route: Route, scope: RateLimitScope) -> u64 {
        self.refused[route as usize][scope as usize].load(Ordering::Relaxed)
    }
}

/// The limits of this node.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    table: LimitTable,
    key: [u8; 32],
    birth: Instant,
    sharing: Option<LimitSharing>,
}

impl RateLimiter {
    /// Creates empty limits. Nodes with the same id key compute the same hash for a caller.
    pub(crate) fn new(id_key: &IdKey, sharing: Option<LimitSharing>) -> Self {
        let secret = id_key.buyer_hash("limits").to_be_bytes();
        let key = blake3::derive_key("doorbuster: whom limits are held to", &secret);
        Self { table: LimitTable::default(), key, birth: Instant::now(), sharing }
    }

    /// Counts one request.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit. In this case, no limit counts the request.
    pub(crate) fn acquire(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> Result<RateLimitStatus, RateLimitExceeded> {
        if sale.limits_of(route).is_none() {
            return Ok(RateLimitStatus::default());
        }
        self.acquire_at(route, caller, sale, self.now())
    }

    fn acquire_at(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
        now: u64,
    ) -> Result<RateLimitStatus, RateLimitExceeded> {
        let mut status = RateLimitStatus::default();
        let mut used = None;
        if let Some(pace) = self.pace(route, sale, RateLimitScope::Buyer) {
            let key = self.hash(route, sale, RateLimitScope::Buyer, caller.buyer.as_bytes());
            let cost = pace.cost(1);
            let turn =
                self.table.with_cell(key, now, |cell| self.charge_cell(cell, pace, now, cost, key));
            status.record(RateLimitScope::Buyer, pace, state_of(turn), now);
            check_turn(turn, RateLimitScope::Buyer, status)
                .inspect_err(|_| sale.count_refusal(route, RateLimitScope::Buyer))?;
            used = Some((pace, key, cost));
        }
        let mut used_here = None;
        if let Some(pace) = self.pace(route, sale, RateLimitScope::Ip) {
            let address = self.hash(route, sale, RateLimitScope::Ip, &network(caller.address));
            let cost = pace.cost(self.address_budgets(caller, now));
            let turn = self
                .table
                .with_cell(address, now, |cell| self.charge_cell(cell, pace, now, cost, address));
            status.record(RateLimitScope::Ip, pace, state_of(turn), now);
            if let Err(mut limited) = check_turn(turn, RateLimitScope::Ip, status) {
                self.release(used, &mut limited.status, RateLimitScope::Buyer, now);
                sale.count_refusal(route, RateLimitScope::Ip);
                return Err(limited);
            }
            used_here = Some((pace, address, cost));
        }
        if let Some(pace) = self.pace(route, sale, RateLimitScope::Interface) {
            let turn = self.charge_sale_wide(route, sale, pace, now);
            status.record(RateLimitScope::Interface, pace, state_of(turn), now);
            if let Err(mut limited) = check_turn(turn, RateLimitScope::Interface, status) {
                self.release(used, &mut limited.status, RateLimitScope::Buyer, now);
                self.release(used_here, &mut limited.status, RateLimitScope::Ip, now);
                sale.count_refusal(route, RateLimitScope::Interface);
                return Err(limited);
            }
        }
        Ok(status)
    }

    /// Counts one request about an object that belongs to the caller.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit. In this case, no limit counts the request.
    pub(crate) fn acquire_for(
        &self,
        route: Route,
        thing: &str,
        pace: RateLimit,
        sale: &SaleState,
    ) -> Result<(), RateLimitExceeded> {
        let (mut status, now) = (RateLimitStatus::default(), self.now());
        // No buyer's name has a control character, so this text cannot have the hash of a buyer.
        let key = self.hash(route, sale, RateLimitScope::Buyer, format!("\u{1}{thing}").as_bytes());
        let pace = self
            .sharing
            .as_ref()
            .map_or(pace, |sharing| pace.split_between(sharing.node_divisor()));
        let turn = self
            .table
            .with_cell(key, now, |cell| self.charge_cell(cell, pace, now, pace.cost(1), key));
        status.record(RateLimitScope::Buyer, pace, state_of(turn), now);
        check_turn(turn, RateLimitScope::Buyer, status)
            .inspect_err(|_| sale.count_refusal(route, RateLimitScope::Buyer))
    }

    /// Returns a caller's status without counting a request.
    pub(crate) fn rate_limit_status(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> RateLimitStatus {
        let (mut status, now) = (RateLimitStatus::default(), self.now());
        let known = |key| self.table.with_existing(key, |cell| cell.state).unwrap_or(0);
        for scope in SCOPES {
            let Some(pace) = self.pace(route, sale, scope) else { continue };
            let hash = |who: &[u8]| self.hash(route, sale, scope, who);
            let state = match scope {
                RateLimitScope::Buyer => known(hash(caller.buyer.as_bytes())),
                RateLimitScope::Ip => known(hash(&network(caller.address))),
                RateLimitScope::Interface => {
                    sale.flags.limits.sale_wide[route as usize].state.load(Ordering::Relaxed)
                }
            };
            status.record(scope, pace, state, now);
        }
        status
    }

    /// Returns how many keys were evicted while they were still in use.
    pub(crate) fn evicted(&self) -> u64 {
        self.table.evicted()
    }

    /// Returns statistics of the sharing. `None`: nodes do not share limits.
    pub(crate) fn sharing(&self) -> Option<&LimitSharing> {
        self.sharing.as_ref()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.birth.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns a sale's limit, or this node's part of it while other nodes are unreachable.
    fn pace(&self, route: Route, sale: &SaleState, scope: RateLimitScope) -> Option<RateLimit> {
        let pace = sale.limits_of(route).pace(scope)?;
        Some(match &self.sharing {
            Some(sharing) => pace.split_between(sharing.node_divisor()),
            None => pace,
        })
    }

    fn hash(&self, route: Route, sale: &SaleState, scope: RateLimitScope, who: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher
            .update(&[route as u8, scope as u8])
            .update(sale.row.id.as_bytes())
            .update(b"\0")
            .update(who);
        first_u64(&hasher)
    }

    /// Returns the number of budgets of an address. The number follows from the buyers of the
    /// address on all routes and in all sales, including this buyer.
    fn address_budgets(&self, caller: Caller<'_>, now: u64) -> u32 {
        let hash = |what: u8, who: &[u8]| {
            first_u64(blake3::Hasher::new_keyed(&self.key).update(&[what]).update(who))
        };
        let buyer = hash(ADDRESS_BUYER_KEY, caller.buyer.as_bytes());
        self.table.with_cell(hash(ADDRESS_KEY, &network(caller.address)), now, |cell| {
            let budgets = u32::try_from(estimate_buyers(cell, buyer, now) / BUYERS_PER_BUDGET)
                .unwrap_or(u32::MAX)
                .max(1);
            // A small count may be evicted without harm. There may be any number of addresses with
            // few buyers, so their counts must not evict used limits. Few addresses have many
            // buyers, and a new large count takes hundreds of requests. So a large count stays.
            cell.state = if budgets > 1 { now + BUYER_COUNT_KEPT_NANOS } else { now };
            budgets
        })
    }

    /// Applies one step to a cell.
    fn charge_cell(
        &self,
        cell: &mut LimitCell,
        pace: RateLimit,
        now: u64,
        cost: u64,
        key: u64,
    ) -> RateDecision {
        let turn = pace.try_take(cell.state, now, cost);
        cell.state = state_of(turn);
        if let (Some(sharing), RateDecision::Allowed(_)) = (&self.sharing, turn) {
            cell.unshared += cost;
            let is_worth_it = cell.unshared > sharing.unshared_allowance(pace.burst_nanos());
            if is_worth_it && !cell.is_queued {
                cell.is_queued = sharing.enqueue(UnsharedUse::LimitCell {
                    key,
                    burst_us: pace.burst_nanos() / NANOS_PER_MICRO,
                });
            }
        }
        turn
    }

    fn charge_sale_wide(
        &self,
        route: Route,
        sale: &SaleState,
        pace: RateLimit,
        now: u64,
    ) -> RateDecision {
        let sale_wide = &sale.flags.limits.sale_wide[route as usize];
        let cost = pace.cost(1);
        let mut turn = RateDecision::Allowed(0);
        // The closure always returns a new state, so this call always succeeds.
        let _ = sale_wide.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            turn = pace.try_take(state, now, cost);
            Some(state_of(turn))
        });
        if let (Some(sharing), RateDecision::Allowed(_)) = (&self.sharing, turn) {
            sale_wide.owed.fetch_add(cost, Ordering::AcqRel);
            if !sale_wide.is_queued.swap(true, Ordering::AcqRel) {
                let key = self.hash(route, sale, RateLimitScope::Interface, b"");
                let flags = sale.flags.clone();
                let owed = UnsharedUse::SaleWide {
                    key,
                    flags,
                    route,
                    burst_us: pace.burst_nanos() / NANOS_PER_MICRO,
                };
                if !sharing.enqueue(owed) {
                    sale_wide.is_queued.store(false, Ordering::Release);
                }
            }
        }
        turn
    }

    /// Gives back the part of an earlier limit that a request used.
    fn release(
        &self,
        used: Option<(RateLimit, u64, u64)>,
        status: &mut RateLimitStatus,
        scope: RateLimitScope,
        now: u64,
    ) {
        let Some((pace, key, cost)) = used else { return };
        let state = self.table.with_existing(key, |cell| {
            cell.state = gcra::return_cost(cell.state, cost);
            cell.unshared = cell.unshared.saturating_sub(cost);
            cell.state
        });
        status.record(scope, pace, state.unwrap_or(0), now);
    }
}

impl SaleState {
    fn count_refusal(&self, route: Route, scope: RateLimitScope) {
        self.flags.limits.refused[route as usize][scope as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Estimates the number of buyers of an address: the larger of this period's and the last period's
/// count. This buyer counts too.
fn estimate_buyers(cell: &mut LimitCell, buyer: u64, now: u64) -> u64 {
    let period = now / BUYER_COUNT_PERIOD_NANOS + 1;
    let (known, mut before) = (cell.unshared >> u32::BITS, cell.unshared & u64::from(u32::MAX));
    if known != period {
        before = if known + 1 == period { cell.crowd.about() } else { 0 };
        cell.crowd = DistinctBuyers::default();
    }
    cell.crowd = cell.crowd.with(buyer);
    cell.unshared = period << u32::BITS | before;
    cell.crowd.about().max(before)
}

fn first_u64(hasher: &blake3::Hasher) -> u64 {
    let mut word = [0; 8];
    hasher.finalize_xof().fill(&mut word);
    u64::from_be_bytes(word)
}

fn state_of(turn: RateDecision) -> u64 {
    match turn {
        RateDecision::Allowed(state) | RateDecision::Wait { state, .. } => state,
    }
}

fn check_turn(
    turn: RateDecision,
    scope: RateLimitScope,
    status: RateLimitStatus,
) -> Result<(), RateLimitExceeded> {
    match turn {
        RateDecision::Allowed(_) => Ok(()),
        RateDecision::Wait { nanos, .. } => {
            let secs = u32::try_from(gcra::secs_rounded_up(nanos)).unwrap_or(u32::MAX).max(1);
            Err(RateLimitExceeded { scope, retry_after_secs: secs, status })
        }
    }
}

/// Returns the part of an address that counts as one caller: all of an IPv4 address, or the first
/// 64 bits of an IPv6 address. One customer usually has all addresses with the same 64 bits.
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
