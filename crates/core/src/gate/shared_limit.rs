//! A rate limit that several nodes share: the rules of the shared storage and the rules of a node,
//! without IO.
//!
//! The shared storage, in Redis or PostgreSQL, has the state of a rate limit ([`super::gcra`]) for
//! each limited key. Before a node spends a part of the limit, it takes this part, its *share*,
//! from the shared storage ([`LimitCall::apply`]). So all nodes together stay within the limit.
//!
//! The state is an instant, and a share is an interval of time that ends at this instant. As time
//! passes, the limit's rate pays the share back. So the node may spend only the part of the
//! interval that is still in the future. The share of a dead node ends by itself when the interval
//! has passed.
//!
//! The clocks of two machines are never compared: the times in the answers of the shared storage
//! are relative to its own present.

#[cfg(test)]
mod tests;

use super::gcra::{RateDecision, RateLimit};

const NANOS_PER_MICRO: u64 = 1_000;
/// Nodes may spend a free part of the limit before they ask for shares. For all nodes together, the
/// free part is 1/`FREE_PART` of the burst. So a buyer who stays far below a limit costs no round
/// trip. A limit with a burst below 256 has no free part.
const FREE_PART: u64 = 16;
/// One node may spend 1/`FREE_NODES` of the free part. If there are more than `FREE_NODES` nodes,
/// the free part is divided by the number of nodes instead.
const FREE_NODES: u64 = 16;

/// A call to the shared storage for one key. Each amount of a limit is given as the time in which
/// the limit recovers by this amount. The name of a field ends with the unit of its time:
/// microseconds (`us`) or nanoseconds (`ns`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCall {
    /// The cost of the requests that the node has already allowed without a share. The shared
    /// storage adds this cost to the limit's state, even if the state then exceeds the burst.
    pub used_us: u64,
    /// The share that the node asks for.
    pub wanted_us: u64,
    /// The cost of one request, in nanoseconds. A granted share covers whole requests.
    pub cost_ns: u64,
    /// The limit's burst.
    pub burst_us: u64,
    /// The part of the burst that other nodes may spend before they ask for shares. The shared
    /// storage does not grant this part.
    pub reserved_us: u64,
}

/// The shared storage's answer to a [`LimitCall`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitAnswer {
    /// How far the shared state is ahead of the storage's present time after the call.
    pub ahead_us: u64,
    /// The granted share: the interval of this many microseconds that ends at the new shared state.
    pub granted_us: u64,
}

impl LimitCall {
    /// Applies the call to the shared state at the storage's time `now_us`, and returns the new
    /// state.
    #[must_use]
    pub fn apply(&self, state_us: u64, now_us: u64) -> (u64, LimitAnswer) {
        // If the storage's clock was set back, the old state is far in the future. So the new state
        // is at most two bursts ahead of `now_us`. Otherwise requests would wait long.
        let used =
            (state_us.max(now_us) + self.used_us).min(now_us.saturating_add(2 * self.burst_us));
        let most = match holds(LimitRule::ReserveForOthers) {
            true => self.burst_us.saturating_sub(self.reserved_us),
            false => self.burst_us,
        };
        let free = match holds(LimitRule::GrantWithinBurst) {
            true => most.saturating_sub(used - now_us),
            false => self.wanted_us,
        };
        let granted_us = if self.wanted_us <= free {
            self.wanted_us
        } else if holds(LimitRule::WholeRequests) {
            let cost = self.cost_ns.max(1);
            let requests = free.saturating_mul(NANOS_PER_MICRO) / cost;
            requests.saturating_mul(cost).div_ceil(NANOS_PER_MICRO).min(free)
        } else {
            free
        };
        let state = used + granted_us;
        (state, LimitAnswer { ahead_us: state - now_us, granted_us })
    }
}

/// When a request is counted in the limit that all nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Before the request is answered. The request may get units, a pass or a checkout, so the
    /// limit must be exact.
    BeforeAnswer,
    /// After the request is answered, because the answer comes from memory. Only near the limit,
    /// the request is counted before the answer. A node may answer some requests before it reports
    /// them to the shared storage. All nodes together may exceed the limit by the number of these
    /// requests.
    AfterAnswer,
}

/// How nodes share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharingTerms {
    /// The number of nodes that share the limit, including this one.
    pub nodes: u32,
    /// When a node asks for a share, it asks for the cost of the waiting requests, plus
    /// 1/`share_part` of the burst.
    pub share_part: u32,
    /// A node may allow requests that it has not reported to the shared storage yet. For all nodes
    /// together, these requests cost at most 1/`unreported_part` of the burst.
    pub unreported_part: u32,
}

/// What a node knows about a shared limit, and the node's share. Each amount of a limit is given as
/// the time in which the limit's rate pays the amount back, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeShare {
    /// The state of the limit as this node knows it, by the node's clock. The state includes the
    /// node's share and the node's unreported requests.
    pub state: u64,
    /// The unspent share.
    pub share: u64,
    /// The cost of the requests that the node allowed without a share and has not reported.
    pub unreported: u64,
}

/// A call that a node sent and that has no answer yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCall {
    /// The call.
    pub call: LimitCall,
    /// The cost of the requests that the call reports, in nanoseconds.
    pub reported: u64,
    /// When the call was sent, by the node's clock.
    pub sent_at: u64,
}

/// A node's decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareDecision {
    /// The request is allowed.
    Allowed {
        /// Whether the node should now report the requests that it allowed without a share.
        report: bool,
    },
    /// The request is refused. It may be allowed after this many nanoseconds.
    Wait(u64),
    /// The node must ask for a share first.
    Ask,
}

impl SharingTerms {
    /// Returns how much of a limit one node may spend before it asks for a share, in nanoseconds.
    #[must_use]
    pub fn free_nanos(&self, limit: RateLimit) -> u64 {
        let parts = FREE_PART * FREE_NODES.max(self.nodes.into());
        limit.cost(1) * (limit.burst() / parts)
    }

    fn reserved_nanos(&self, limit: RateLimit) -> u64 {
        self.free_nanos(limit) * u64::from(self.nodes.saturating_sub(1))
    }

    /// Returns how far the state may be ahead of the present, in nanoseconds: the burst without the
    /// part that is reserved for other nodes.
    fn most_nanos(&self, limit: RateLimit) -> u64 {
        limit.burst_nanos().saturating_sub(self.reserved_nanos(limit))
    }

    /// Returns how much use of a limit this node may leave unreported, in nanoseconds.
    #[must_use]
    pub fn unreported_nanos(&self, limit: RateLimit) -> u64 {
        limit.burst_nanos() / u64::from(self.unreported_part.max(1)) / u64::from(self.nodes.max(1))
    }
}

impl NodeShare {
    /// Decides whether a request that costs `cost` nanoseconds is allowed. If so, counts the
    /// request.
    pub fn spend(
        &mut self,
        limit: RateLimit,
        (now, cost): (u64, u64),
        terms: &SharingTerms,
        counting: Counting,
    ) -> ShareDecision {
        let ahead = self.settle(limit, now);
        if self.share >= cost {
            self.share -= cost;
            return ShareDecision::Allowed { report: false };
        }
        let burst = limit.burst_nanos();
        let most = match counting {
            Counting::BeforeAnswer => terms.most_nanos(limit),
            Counting::AfterAnswer => burst,
        };
        if let Some(nanos) = (ahead + cost).checked_sub(most).filter(|nanos| *nanos > 0) {
            return ShareDecision::Wait(nanos);
        }
        let spent = self.unreported + cost;
        let is_free = match counting {
            // The node may use the free part only if the whole state comes from this node's
            // unreported requests: before these requests, the limit had fully recovered.
            Counting::BeforeAnswer => {
                let is_unknown = !holds(LimitRule::FreePartOnce) || ahead <= self.unreported;
                is_unknown && spent <= terms.free_nanos(limit)
            }
            // Assume that every other node has the same cost of unreported requests as this node.
            // If all nodes together still stay within the limit, the request needs no share.
            Counting::AfterAnswer => {
                let others = u64::from(terms.nodes.saturating_sub(1)).saturating_mul(spent);
                ahead == 0 || (ahead + cost).saturating_add(others) <= burst
            }
        };
        if !is_free {
            return ShareDecision::Ask;
        }
        self.spend_unreported(now, cost);
        ShareDecision::Allowed { report: spent > terms.unreported_nanos(limit) }
    }

    /// Decides whether a request is allowed while the shared storage is unreachable. `part` is this
    /// node's part of the limit. Counted by `part`, the request costs `taken`. Counted by the whole
    /// limit, it costs `cost`.
    pub fn spend_alone(
        &mut self,
        part: RateLimit,
        (now, taken): (u64, u64),
        cost: u64,
    ) -> ShareDecision {
        // Meanwhile, the limit has recovered by a part of the unreported cost. Drop this part, so
        // that the first report after a long outage is small.
        self.unreported = self.unreported.min(self.settle(part, now));
        match part.try_take(self.state, now, taken) {
            RateDecision::Allowed(state) => {
                (self.state, self.unreported) = (state, self.unreported + cost);
                ShareDecision::Allowed { report: true }
            }
            RateDecision::Wait { nanos, .. } => ShareDecision::Wait(nanos),
        }
    }

    /// Gives back the cost of a request that this limit allowed and another limit refused. The
    /// request has moved the state by `taken`.
    pub fn release(&mut self, cost: u64, taken: u64) {
        if self.unreported >= cost {
            self.unreported -= cost;
            self.state = self.state.saturating_sub(taken);
        } else {
            self.share += cost;
        }
    }

    /// Allows waiting requests, in sequence, as far as the share covers their costs. `waiting`
    /// contains the cost of each waiting request. Returns the number of allowed requests.
    pub fn serve(&mut self, limit: RateLimit, now: u64, waiting: &[u64]) -> usize {
        self.settle(limit, now);
        let (served, rest) = served(self.share, waiting);
        self.share = rest;
        served
    }

    /// Creates a call that reports the unreported requests. `waiting` is the total cost of the
    /// waiting requests. If `waiting` is above 0, the call also asks for a share that covers these
    /// requests and some further requests.
    ///
    /// For each key, the node sends one call at a time. If no answer arrives, the next call reports
    /// the same requests again, because the first call may have had no effect.
    pub fn call(
        &mut self,
        limit: RateLimit,
        (now, cost): (u64, u64),
        terms: &SharingTerms,
        waiting: u64,
    ) -> SentCall {
        self.settle(limit, now);
        let cost = cost.max(1);
        let more = limit.burst_nanos() / u64::from(terms.share_part.max(1)) / cost * cost;
        let wanted = if waiting == 0 { 0 } else { waiting + more };
        let reported = if holds(LimitRule::ReportsUse) { self.unreported } else { 0 };
        let call = LimitCall {
            used_us: reported.div_ceil(NANOS_PER_MICRO),
            wanted_us: wanted.div_ceil(NANOS_PER_MICRO),
            cost_ns: cost,
            burst_us: limit.burst_nanos().div_ceil(NANOS_PER_MICRO),
            reserved_us: terms.reserved_nanos(limit).div_ceil(NANOS_PER_MICRO),
        };
        SentCall { call, reported: self.unreported, sent_at: now }
    }

    /// Applies the answer to a call. Then allows waiting requests, in sequence, as far as the share
    /// covers their costs. `waiting` contains the cost of each waiting request. Returns the number
    /// of allowed requests.
    pub fn receive(
        &mut self,
        (limit, now): (RateLimit, u64),
        answer: LimitAnswer,
        sent: &SentCall,
        waiting: &[u64],
    ) -> usize {
        self.settle(limit, now);
        self.unreported = self.unreported.saturating_sub(sent.reported);
        let granted = answer.granted_us * NANOS_PER_MICRO;
        let (served, rest) = served(self.share + granted, waiting);
        // The shared storage computed `ahead_us` after this node sent the call. So `sent_at` plus
        // `ahead_us` is never later than the true state. One microsecond is subtracted, because
        // the shared storage rounds its time down.
        let ahead_us = answer.ahead_us.saturating_sub(1);
        let state = sent.sent_at + ahead_us * NANOS_PER_MICRO + self.unreported;
        if granted == 0 && rest > 0 {
            // No new share was granted, and the node still has a part of its older share.
            // `self.state` is the end of the older share, so `state` must not replace it.
            self.state = self.state.saturating_sub(sent.reported);
        } else if granted > 0 {
            self.state = state;
        } else {
            self.state = self.state.max(state);
        }
        // The state is now the end of the new share. The older share ends earlier, at a time that
        // the node no longer knows, so the unspent part of the older share is dropped.
        self.share = if granted > 0 { rest.min(granted) } else { rest };
        served
    }

    /// Returns how many nanoseconds a request that got no share must wait until it may be allowed.
    #[must_use]
    pub fn wait_nanos(
        &self,
        limit: RateLimit,
        (now, cost): (u64, u64),
        terms: &SharingTerms,
    ) -> u64 {
        let ahead = limit.used_nanos(self.state, now);
        (ahead + cost).saturating_sub(terms.most_nanos(limit)).max(1)
    }

    /// Returns the state without the unspent share. The rate-limit status that the client sees is
    /// computed from this state.
    #[must_use]
    pub const fn used_state(&self) -> u64 {
        self.state.saturating_sub(self.share)
    }

    /// Caps the state at the burst, and returns how many nanoseconds the state is then ahead of the
    /// present. If the unspent share and the unreported requests together exceed this time, reduces
    /// the share. The unreported requests still count in full, because other nodes may have used
    /// everything that the limit has recovered.
    fn settle(&mut self, limit: RateLimit, now: u64) -> u64 {
        let ahead = limit.used_nanos(self.state, now);
        self.state = now + ahead;
        if holds(LimitRule::SharesEnd) {
            self.share = self.share.min(ahead.saturating_sub(self.unreported));
        }
        ahead
    }

    fn spend_unreported(&mut self, now: u64, cost: u64) {
        self.state = self.state.max(now) + cost;
        self.unreported += cost;
    }
}

/// Counts the costs in `waiting` that the share covers, in sequence. Returns this count and the
/// rest of the share.
fn served(share: u64, waiting: &[u64]) -> (usize, u64) {
    let mut rest = share;
    for (served, cost) in waiting.iter().enumerate() {
        let Some(less) = rest.checked_sub(*cost) else { return (served, rest) };
        rest = less;
    }
    (waiting.len(), rest)
}

local_rules! {
    /// A rule of shared limits. The tests remove one rule at a time, and must then find an error.
    LimitRule {
        /// The shared storage grants no more than the unused part of the burst.
        GrantWithinBurst,
        /// The shared storage does not grant the part of the burst that other nodes may spend
        /// before they ask for shares.
        ReserveForOthers,
        /// A share covers only whole requests, so that no node keeps a part that it cannot spend.
        WholeRequests,
        /// A node must not use a share after the share's interval of time has passed.
        SharesEnd,
        /// After a node has spent its free part, it gets a free part again only after the limit has
        /// fully recovered.
        FreePartOnce,
        /// A call reports the requests that the node allowed without a share.
        ReportsUse,
    }
}
