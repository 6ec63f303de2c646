//! A rate limit that several nodes share, as two rules without IO.
//!
//! One shared place holds one number for each limited key, the state of a rate limit
//! ([`super::gcra`]). A node takes a *share* of the limit there before it spends it
//! ([`LimitCall::apply`]). So all nodes together never exceed the limit. Each node keeps a
//! [`NodeShare`] for each key, and decides by it whether to spend, to refuse or to ask.
//!
//! A share ends by itself. It is a piece of the time line between the present and the shared state.
//! At the limit's rate that piece is paid off from its lower end, and then the limit may be used
//! again by all nodes. So the node may spend no more of the share than lies ahead of the present. A
//! node that dies loses only its share, and only until it ends. No clock is compared with another
//! clock: the shared place answers with times relative to its present.
//!
//! Not every request needs a share first ([`Counting`]). A request that only gets an answer from
//! memory is counted afterwards. So a refusal waits for no other node.

#[cfg(test)]
mod tests;

use super::gcra::{RateDecision, RateLimit};

const NANOS_PER_MICRO: u64 = 1_000;
/// Sixteen nodes together may spend one part in this many of a burst before they ask, and more
/// nodes no more than that. So no node spends anything of a burst below 256 before it asks. A limit
/// far above a buyer's needs costs no round trip.
const FREE_PART: u64 = 16;
/// The free part is divided by this number of nodes, or by the live nodes if there are more.
const FREE_NODES: u64 = 16;

/// A call to the shared place for one key. Times are microseconds of the limit's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCall {
    /// Requests that the node allowed without a share. They count in any case.
    pub used_us: u64,
    /// The share that the node asks for.
    pub wanted_us: u64,
    /// The cost of one request, in nanoseconds. Only whole requests are granted.
    pub cost_ns: u64,
    /// The burst.
    pub burst_us: u64,
    /// The part of the burst that other nodes may spend before they ask. It is not granted.
    pub reserved_us: u64,
}

/// The answer to a [`LimitCall`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitAnswer {
    /// How far the state is ahead of the present after the call.
    pub ahead_us: u64,
    /// The granted share. It ends where the state is now.
    pub granted_us: u64,
}

impl LimitCall {
    /// Applies the call to the shared state at the shared place's time `now_us`. Returns the new
    /// state.
    #[must_use]
    pub fn apply(&self, state_us: u64, now_us: u64) -> (u64, LimitAnswer) {
        // The bound keeps a client's wait short after a clock stepped back.
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

/// When a request is counted over all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Before its answer. The request may get units, a pass or a checkout, so the limit is exact.
    BeforeAnswer,
    /// After its answer, which comes from memory. Near the limit, the request is counted before
    /// its answer too. What all nodes answer until the next call may exceed the limit.
    AfterAnswer,
}

/// How nodes share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharingTerms {
    /// The nodes that share the limit, including this one.
    pub nodes: u32,
    /// A share is one part in this many of the burst, and at least what waits.
    pub share_part: u32,
    /// All nodes together leave one part in this many of the burst unreported.
    pub unreported_part: u32,
}

/// What a node knows and has of a shared limit. Times are nanoseconds of the limit's rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeShare {
    /// The state of the limit as far as this node knows, by the node's clock. It includes this
    /// node's share and what the node has not reported.
    pub state: u64,
    /// The unspent share.
    pub share: u64,
    /// What the node spent without a share and has not reported.
    pub unreported: u64,
}

/// A call that a node sent and that has no answer yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCall {
    /// The call.
    pub call: LimitCall,
    /// What the call reports, in nanoseconds.
    pub reported: u64,
    /// When the call was sent, by the node's clock.
    pub sent_at: u64,
}

/// A node's decision about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareDecision {
    /// The request is allowed.
    Allowed {
        /// Whether the node should report what it spent without a share.
        report: bool,
    },
    /// The request is refused for this many nanoseconds.
    Wait(u64),
    /// The node must ask for a share first.
    Ask,
}

impl SharingTerms {
    /// Returns what one node may spend of a limit before it asks, in nanoseconds.
    #[must_use]
    pub fn free_nanos(&self, limit: RateLimit) -> u64 {
        let parts = FREE_PART * FREE_NODES.max(self.nodes.into());
        limit.cost(1) * (limit.burst() / parts)
    }

    fn reserved_nanos(&self, limit: RateLimit) -> u64 {
        self.free_nanos(limit) * u64::from(self.nodes.saturating_sub(1))
    }

    /// Returns how far the state may be ahead, if every other node may spend its free part.
    fn most_nanos(&self, limit: RateLimit) -> u64 {
        limit.burst_nanos().saturating_sub(self.reserved_nanos(limit))
    }

    /// Returns how much of a limit this node may leave unreported, in nanoseconds.
    #[must_use]
    pub fn unreported_nanos(&self, limit: RateLimit) -> u64 {
        limit.burst_nanos() / u64::from(self.unreported_part.max(1)) / u64::from(self.nodes.max(1))
    }
}

impl NodeShare {
    /// Decides one request of cost `cost`, and counts it if it is allowed.
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
            // Nothing else is known of the limit, so this node has not asked yet.
            Counting::BeforeAnswer => {
                let is_unknown = !holds(LimitRule::FreePartOnce) || ahead <= self.unreported;
                is_unknown && spent <= terms.free_nanos(limit)
            }
            // If every other node did the same, they would reach the limit and not exceed it.
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

    /// Decides one request while the shared place is unreachable. `limit` is this node's part of
    /// the limit.
    pub fn spend_alone(&mut self, limit: RateLimit, (now, cost): (u64, u64)) -> ShareDecision {
        let ahead = self.settle(limit, now);
        // A long outage must not end in one large report.
        self.unreported = self.unreported.min(ahead);
        match limit.try_take(self.state, now, cost) {
            RateDecision::Allowed(_) => {
                self.spend_unreported(now, cost);
                ShareDecision::Allowed { report: true }
            }
            RateDecision::Wait { nanos, .. } => ShareDecision::Wait(nanos),
        }
    }

    /// Takes back a request that another limit refused.
    pub fn release(&mut self, cost: u64) {
        if self.unreported >= cost {
            self.unreported -= cost;
            self.state = self.state.saturating_sub(cost);
        } else {
            self.share += cost;
        }
    }

    /// Serves the requests that waited, with these costs, from the share. Returns how many of them
    /// it served, from the first one on.
    pub fn serve(&mut self, limit: RateLimit, now: u64, waiting: &[u64]) -> usize {
        self.settle(limit, now);
        let (served, rest) = served(self.share, waiting);
        self.share = rest;
        served
    }

    /// Makes a call that reports what the node spent. If requests wait, which cost `waiting`
    /// together, the call asks for their share and for some more. The node sends one call at a
    /// time for a key. If there is no answer, the next call reports the same again, because the
    /// first call may have had no effect.
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

    /// Applies the answer to a call. Then the requests that waited, with these costs, get their
    /// parts of the share in turn. Returns how many of them got it, from the first one on.
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
        // The answer was made after the call was sent. So this instant is never too late. The
        // shared place rounds its time down to a microsecond.
        let ahead_us = answer.ahead_us.saturating_sub(1);
        let state = sent.sent_at + ahead_us * NANOS_PER_MICRO + self.unreported;
        if granted == 0 && rest > 0 {
            // The older share keeps its end, so the node does not learn the new state now.
            self.state = self.state.saturating_sub(sent.reported);
        } else if granted > 0 {
            self.state = state;
        } else {
            self.state = self.state.max(state);
        }
        // A rest of an older share would get the end of the new one.
        self.share = if granted > 0 { rest.min(granted) } else { rest };
        served
    }

    /// Returns after how many nanoseconds a request that got no share may be allowed.
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

    /// Returns the state without the unspent share, for the caller's status.
    #[must_use]
    pub const fn used_state(&self) -> u64 {
        self.state.saturating_sub(self.share)
    }

    /// Drops the part of the share that has ended, and applies a shorter burst. Returns how far the
    /// state is ahead. The unreported part stays, because other nodes may use the limit at its full
    /// rate.
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

/// Returns how many of these costs `share` covers, from the first one on, and what is left of it.
fn served(share: u64, waiting: &[u64]) -> (usize, u64) {
    let mut rest = share;
    for (served, cost) in waiting.iter().enumerate() {
        match rest.checked_sub(*cost) {
            Some(less) => rest = less,
            None => return (served, rest),
        }
    }
    (waiting.len(), rest)
}

/// A rule of shared limits. The tests remove each rule, and must notice its absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitRule {
    /// The shared place grants no more than is free under the burst.
    GrantWithinBurst,
    /// What other nodes may spend before they ask is not granted.
    ReserveForOthers,
    /// Only whole requests are granted, so that no node keeps a part that it cannot spend.
    WholeRequests,
    /// A share ends when its piece of the time line is paid off.
    SharesEnd,
    /// A node spends its free part once, until the limit is full again.
    FreePartOnce,
    /// A call reports what the node spent without a share.
    ReportsUse,
}

#[cfg(test)]
thread_local! {
    static REMOVED: std::cell::Cell<Option<LimitRule>> = const { std::cell::Cell::new(None) };
}

/// Returns whether a rule holds. Only tests can remove one.
#[cfg(test)]
fn holds(rule: LimitRule) -> bool {
    REMOVED.get() != Some(rule)
}

/// Returns whether a rule holds: always.
#[cfg(not(test))]
#[inline(always)]
const fn holds(_rule: LimitRule) -> bool {
    true
}
