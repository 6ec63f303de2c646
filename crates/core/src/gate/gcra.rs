//! Rate limits: a rate with a burst, stored as one number for each limited key.
//!
//! The method is the generic cell rate algorithm (ITU-T I.371, in the form of virtual scheduling).
//! The number is called the state. Imagine that the allowed requests are served one after another,
//! at the limit's rate. The state is the instant at which the last of these requests ends. Each
//! allowed request moves the state forward by the limit's interval. A request is allowed if, after
//! this move, the state is ahead of the present by at most the burst.
//!
//! Instants are nanoseconds since any fixed origin. If the state is in the past, the whole burst is
//! available. So the state of a new key is zero.

const NANOS_PER_MINUTE: u64 = 60_000_000_000;
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A rate limit: a burst of requests, and after that a fixed number of requests each minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Nanoseconds between two requests at the limit's rate. The value is rounded up, so that no
    /// minute has more requests than the rate allows.
    interval: u64,
    /// The burst: how far the state can be ahead of the present, in nanoseconds.
    burst_nanos: u64,
}

/// A limit's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// The request is allowed. The value is the new state.
    Allowed(u64),
    /// The request is not allowed now.
    Wait {
        /// The state to store: the old state, but at most this limit's burst ahead of the present.
        /// The old state can be further ahead if another limit, with a larger burst, moved it.
        state: u64,
        /// The time until the request would be allowed, in nanoseconds.
        nanos: u64,
    },
}

impl RateLimit {
    /// Returns a limit that allows a burst of `burst` requests, and then `per_minute` requests each
    /// minute. Both numbers must be at least one and at most ten million.
    #[must_use]
    pub const fn new(burst: u32, per_minute: u32) -> Self {
        let (burst, per_minute) =
            (if burst == 0 { 1 } else { burst }, if per_minute == 0 { 1 } else { per_minute });
        let interval = NANOS_PER_MINUTE.div_ceil(per_minute as u64);
        // If both numbers are at most ten million, this product does not saturate.
        Self { interval, burst_nanos: interval.saturating_mul(burst as u64) }
    }

    /// Returns the limit for each of `parts` nodes, if the nodes divide this limit's rate and burst
    /// equally. Each of these limits has a burst of at least one request.
    #[must_use]
    pub const fn split_between(self, parts: u32) -> Self {
        let parts = if parts == 0 { 1 } else { parts as u64 };
        let burst = self.burst_nanos / self.interval / parts;
        let interval = self.interval.saturating_mul(parts);
        Self { interval, burst_nanos: interval.saturating_mul(if burst == 0 { 1 } else { burst }) }
    }

    /// Returns the cost, in nanoseconds, of a request that counts as 1/`share` of a full request.
    #[must_use]
    pub const fn cost(self, share: u32) -> u64 {
        let cost = self.interval / (if share == 0 { 1 } else { share as u64 });
        if cost == 0 { 1 } else { cost }
    }

    /// Returns the burst: how far a state can be ahead of the present, in nanoseconds.
    #[must_use]
    pub const fn burst_nanos(self) -> u64 {
        self.burst_nanos
    }

    /// Returns how far a state is ahead of the present, in nanoseconds, but at most this limit's
    /// burst. Another limit may have moved the state further ahead.
    #[must_use]
    pub const fn used_nanos(self, state: u64, now: u64) -> u64 {
        let ahead = state.saturating_sub(now);
        if ahead > self.burst_nanos { self.burst_nanos } else { ahead }
    }

    /// Decides whether a request is allowed. `cost` is the request's cost in nanoseconds.
    #[must_use]
    pub const fn try_take(self, state: u64, now: u64, cost: u64) -> RateDecision {
        let ahead = self.used_nanos(state, now);
        match (ahead + cost).checked_sub(self.burst_nanos) {
            None | Some(0) => RateDecision::Allowed(now + ahead + cost),
            Some(nanos) => RateDecision::Wait { state: now + ahead, nanos },
        }
    }

    /// Returns how many more requests of full cost are allowed now.
    #[must_use]
    pub const fn remaining(self, state: u64, now: u64) -> u64 {
        (self.burst_nanos - self.used_nanos(state, now)) / self.interval
    }

    /// Returns the largest burst: how many requests at full cost are allowed at the same moment, if
    /// there were none for a long time.
    #[must_use]
    pub const fn burst(self) -> u64 {
        self.burst_nanos / self.interval
    }

    /// Returns the time until a used-up burst is available again, in whole seconds, rounded up.
    #[must_use]
    pub const fn window_secs(self) -> u64 {
        secs_rounded_up(self.burst_nanos)
    }
}

/// Returns the state without the cost of a request that did not take place after all.
#[must_use]
pub const fn return_cost(state: u64, cost: u64) -> u64 {
    state.saturating_sub(cost)
}

/// Converts nanoseconds to whole seconds, rounded up, so that a client never retries too early.
#[must_use]
pub const fn secs_rounded_up(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS_PER_SEC)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A token bucket: another implementation of the same limit. If the limit's interval is a whole
    /// number of nanoseconds, both implementations must make the same decisions. Otherwise the
    /// interval is rounded up, so the limit may allow one request fewer. One token is
    /// 60,000,000,000 units of `level`.
    struct Bucket {
        burst: u128,
        per_minute: u128,
        level: u128,
        at: u64,
    }

    impl Bucket {
        fn new(burst: u32, per_minute: u32) -> Self {
            let burst = u128::from(burst) * u128::from(NANOS_PER_MINUTE);
            Self { burst, per_minute: per_minute.into(), level: burst, at: 0 }
        }

        fn takes(&mut self, now: u64) -> bool {
            self.level = self.burst.min(self.level + u128::from(now - self.at) * self.per_minute);
            self.at = now;
            let one = u128::from(NANOS_PER_MINUTE);
            let takes = self.level >= one;
            self.level -= if takes { one } else { 0 };
            takes
        }
    }

    fn takes(pace: RateLimit, state: &mut u64, now: u64) -> bool {
        match pace.try_take(*state, now, pace.cost(1)) {
            RateDecision::Allowed(next) => {
                *state = next;
                true
            }
            RateDecision::Wait { state: same, .. } => {
                *state = same;
                false
            }
        }
    }

    fn even_rate() -> impl Strategy<Value = u32> {
        prop::sample::select(vec![
            1, 2, 3, 5, 6, 10, 12, 60, 100, 600, 6_000, 60_000, 1_000_000, 10_000_000,
        ])
    }

    proptest! {
        #[test]
        fn the_limit_equals_a_token_bucket_where_the_interval_is_whole(
            burst in 1u32..=40,
            per_minute in even_rate(),
            pauses in prop::collection::vec((0u64..4, 0u64..2_000), 1..200)
        ) {
            let pace = RateLimit::new(burst, per_minute);
            let (mut bucket, mut state, mut now) = (Bucket::new(burst, per_minute), 0, 0);
            for (intervals, thousandths) in pauses {
                now += pace.interval * intervals + pace.interval / 1_000 * thousandths;
                prop_assert_eq!(takes(pace, &mut state, now), bucket.takes(now));
            }
        }

        #[test]
        fn the_limit_allows_as_many_requests_as_a_token_bucket_or_one_fewer(
            burst in 1u32..=10_000_000,
            per_minute in 1u32..=10_000_000,
            pauses in prop::collection::vec(0u64..20_000_000, 1..300)
        ) {
            let pace = RateLimit::new(burst, per_minute);
            let (mut bucket, mut state, mut now) = (Bucket::new(burst, per_minute), 0, 0);
            let (mut ours, mut theirs) = (0i64, 0i64);
            for pause in pauses {
                now += pause;
                ours += i64::from(takes(pace, &mut state, now));
                theirs += i64::from(bucket.takes(now));
                prop_assert!(ours <= theirs && theirs - ours <= 1, "{} {}", ours, theirs);
            }
        }

        #[test]
        fn a_client_is_allowed_after_the_required_wait_and_not_a_nanosecond_earlier(
            burst in 1u32..=50,
            per_minute in 1u32..=10_000_000,
            tries in 1usize..120,
            share in 1u32..50
        ) {
            let (pace, now) = (RateLimit::new(burst, per_minute), 1_000);
            let (cost, mut state) = (pace.cost(share), 0);
            for _ in 0..tries * share as usize {
                match pace.try_take(state, now, cost) {
                    RateDecision::Allowed(next) => state = next,
                    RateDecision::Wait { nanos, .. } => {
                        let early = pace.try_take(state, now + nanos - 1, cost);
                        let early = matches!(early, RateDecision::Allowed(_));
                        let late = pace.try_take(state, now + nanos, cost);
                        let late = matches!(late, RateDecision::Allowed(_));
                        prop_assert!(late && !early);
                    }
                }
            }
        }

        #[test]
        fn the_limit_allows_exactly_the_remaining_requests(
            burst in 1u32..=200, per_minute in 1u32..=10_000_000, before in 0u32..300
        ) {
            let (pace, now, mut state) = (RateLimit::new(burst, per_minute), 5, 0);
            (0..before).for_each(|_| {
                takes(pace, &mut state, now);
            });
            let left = pace.remaining(state, now);
            prop_assert_eq!(left, u64::from(burst.saturating_sub(before)));
            prop_assert_eq!((0..500).filter(|_| takes(pace, &mut state, now)).count() as u64, left);
        }

        #[test]
        fn the_parts_of_a_limit_together_allow_no_more_than_the_limit(
            burst in 1u32..=10_000, per_minute in 1u32..=10_000_000, parts in 1u32..64
        ) {
            let whole = RateLimit::new(burst, per_minute);
            let split_between = RateLimit::new(burst, per_minute).split_between(parts);
            let parts_burst = split_between.burst() * u64::from(parts);
            prop_assert!(parts_burst <= whole.burst().max(u64::from(parts)));
            prop_assert_eq!(split_between.interval, whole.interval * u64::from(parts));
            prop_assert!(split_between.burst() >= 1);
        }
    }

    #[test]
    fn a_request_that_was_withdrawn_can_be_made_again() {
        let (pace, mut state) = (RateLimit::new(2, 1), 0);
        assert!(
            takes(pace, &mut state, 7) && takes(pace, &mut state, 7) && !takes(pace, &mut state, 7)
        );
        state = return_cost(state, pace.cost(1));
        assert_eq!(pace.remaining(state, 7), 1);
        assert!(takes(pace, &mut state, 7) && !takes(pace, &mut state, 7));
    }

    #[test]
    fn a_slower_limits_state_is_capped_at_the_burst_of_a_quicker_limit() {
        let (slow, quick, mut state) = (RateLimit::new(5, 1), RateLimit::new(10, 600), 0);
        while takes(slow, &mut state, 0) {}
        let end = quick.burst_nanos();
        assert_eq!(
            quick.try_take(state, 0, quick.cost(1)),
            RateDecision::Wait { state: end, nanos: 100_000_000 }
        );
        assert!(!takes(quick, &mut state, 0) && takes(quick, &mut state, 100_000_000));
    }

    #[test]
    fn the_reported_burst_window_and_seconds_are_correct() {
        let pace = RateLimit::new(60, 300);
        assert_eq!((pace.burst(), pace.window_secs(), pace.remaining(0, 9)), (60, 12, 60));
        let largest = RateLimit::new(10_000_000, 1);
        assert_eq!((largest.burst(), largest.window_secs()), (10_000_000, 600_000_000));
        assert_eq!(
            [
                secs_rounded_up(0),
                secs_rounded_up(1),
                secs_rounded_up(NANOS_PER_SEC),
                secs_rounded_up(NANOS_PER_SEC + 1)
            ],
            [0, 1, 1, 2]
        );
    }
}
