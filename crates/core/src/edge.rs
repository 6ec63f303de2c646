//! Keeps an edge up to date with the nodes. One node writes its memory to a feed, and the edge
//! reads this feed.
//!
//! The feed has three parts:
//!
//! - a head ([`FeedHead`]);
//! - a set of entries with the counts, phases and blocks;
//! - a list with the hashes of the requests that hold orders. Within a generation, this list only
//!   grows.
//!
//! The writing node sometimes begins a new generation of the feed, which contains everything that
//! this node knows. The node does so if it has taken over from another node, or if Redis lost a
//! part of the feed.
//!
//! The rules of an edge:
//!
//! 1. An edge uses entries only after it has all requests that the head counts
//!    ([`EdgeFeedFollower::receive`]). So if a count says "sold out", the edge knows every request
//!    whose order is in that count.
//! 2. An edge does not replace its copy with an older state or an incomplete generation. There is
//!    one exception: if the store's clock was set back, the edge starts over after
//!    [`FEED_AGE_MAX_MS`] without a usable read. By then the copy is too old to refuse a request.
//! 3. An edge refuses no request if its copy lacks requests, or is older than [`FEED_AGE_MAX_MS`]
//!    ([`is_fresh`]).
//! 4. If a request gets an order through an edge, that edge adds the request to its copy
//!    immediately.
#[cfg(test)]
mod sim;

use crate::limits::FEED_AGE_MAX_MS;
use crate::value::Millis;

/// The head of a feed: how far an edge must read, and up to which time the feed is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedHead {
    /// The generation's id: a random number, chosen by the node that began the generation.
    pub generation: u64,
    /// The number of the newest change in the feed.
    pub seq: u64,
    /// How many requests are in the feed's list of requests.
    pub requests: u64,
    /// The store's time up to which the copied memory is complete.
    pub as_of: Millis,
    /// Whether the node has written the whole generation: everything that it knew when the
    /// generation began.
    pub is_complete: bool,
    /// Whether the feed's list of requests contains every request whose order the items' counts
    /// include. False while the node reads all orders again.
    pub has_all_requests: bool,
}

/// The part of a generation that an edge has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedPosition {
    /// The generation; 0 before the first read.
    pub generation: u64,
    /// The number of the newest change that was read.
    pub seq: u64,
    /// How many requests were read.
    pub requests: u64,
}

/// The result of one atomic read of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedRead {
    /// The head.
    pub head: FeedHead,
    /// The position at which the read began.
    pub from: FeedPosition,
    /// The number of requests in the result.
    pub requests: u64,
    /// The change number of the last entry in the result, if there is an entry. Entries are sorted
    /// by their change numbers.
    pub last_seq: Option<u64>,
    /// Whether the feed has further entries after the last entry in the result.
    pub has_more_entries: bool,
}

/// The action of an edge after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedStep {
    /// Ignore the result of the read. The result is older than the copy, or its generation is not
    /// complete, or the read did not begin at the edge's position.
    Ignore,
    /// Add the requests to the copy. Keep the entries, but do not use them yet, because the edge
    /// has not read everything that the head counts. Read the next part immediately.
    ReadOn {
        /// Whether this read is the first of a new generation. If so, drop the entries that the
        /// edge kept from earlier reads.
        begins: bool,
    },
    /// Add the requests to the copy. Then use the entries of this read, and all entries that the
    /// edge kept since the last `Use`.
    Use {
        /// Whether this read is the first of a new generation. If so, drop the entries that earlier
        /// reads kept.
        begins: bool,
    },
}

/// Follows the feed for an edge: decides where each read begins, and how the edge uses the read's
/// result.
#[derive(Clone, Copy, Debug, Default)]
pub struct EdgeFeedFollower {
    at: FeedPosition,
    /// The `as_of` time of the newest read that was not ignored.
    newest: Option<Millis>,
    /// The edge's monotonic time, in milliseconds, when the result of its newest read arrived.
    /// Ignored reads do not count.
    received_at: i64,
}

impl EdgeFeedFollower {
    /// Returns where the next read begins if the feed still has the same generation. In a new
    /// generation, the read must begin at the start.
    #[must_use]
    pub fn position(&self) -> FeedPosition {
        self.at
    }

    /// Makes the next read begin at the start of the generation. Older results are still ignored.
    pub fn start_over(&mut self) {
        self.at = FeedPosition::default();
    }

    /// Returns what the edge must do with the result of a read. `now` is the edge's monotonic time,
    /// in milliseconds.
    pub fn receive(&mut self, read: &FeedRead, now: i64) -> FeedStep {
        let head = &read.head;
        if !head.is_complete && holds(FeedRule::CompleteGeneration) {
            return FeedStep::Ignore;
        }
        // The result is older than an earlier result, for example because a replica that lags
        // behind sent it.
        if self.newest.is_some_and(|newest| head.as_of < newest) && holds(FeedRule::NeverBack) {
            // If the store's clock was set back, every result seems older. After `FEED_AGE_MAX_MS`
            // with only such results, the edge starts over.
            if now - self.received_at > FEED_AGE_MAX_MS {
                *self = Self::default();
            }
            return FeedStep::Ignore;
        }
        let begins = head.generation != self.at.generation;
        let start = match begins && holds(FeedRule::GenerationFromStart) {
            true => FeedPosition { generation: head.generation, ..FeedPosition::default() },
            false => FeedPosition { generation: head.generation, ..self.at },
        };
        if read.from != start && holds(FeedRule::NoGaps) {
            return FeedStep::Ignore;
        }
        self.newest = Some(head.as_of);
        self.received_at = now;
        self.at = FeedPosition {
            generation: head.generation,
            seq: read.last_seq.unwrap_or(start.seq),
            requests: start.requests + read.requests,
        };
        let lacks_requests =
            self.at.requests != head.requests && holds(FeedRule::RequestsBeforeEntries);
        if lacks_requests || read.has_more_entries {
            return FeedStep::ReadOn { begins };
        }
        self.at.seq = head.seq;
        FeedStep::Use { begins }
    }
}

/// The result of a request for a node's time. From this result, the edge computes the store's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The time in the node's answer.
    pub time: Millis,
    /// The edge's monotonic time when the edge sent the request, in milliseconds.
    pub asked_at: i64,
    /// The edge's monotonic time when the answer arrived, in milliseconds.
    pub answered_at: i64,
}

/// The assumed accuracy of the edge's clock: during any period, the clock gains or loses at most
/// 1/`DRIFT_PARTS` of the period.
const DRIFT_PARTS: i64 = 1_000;

impl ClockReading {
    /// Returns the latest possible time in the store when the edge's clock shows `now`.
    #[must_use]
    pub fn latest(&self, now: i64) -> Millis {
        let since = now - self.asked_at;
        self.time.plus(since + since / DRIFT_PARTS)
    }

    /// Returns the likely time in the store when the edge's clock shows `now`. The function assumes
    /// that the node read its clock halfway through the round trip.
    #[must_use]
    pub fn likely(&self, now: i64) -> Millis {
        self.time.plus(now - self.asked_at - (self.answered_at - self.asked_at) / 2)
    }

    /// Returns whether this reading is at least as exact as `other` when the edge's clock shows
    /// `now`.
    #[must_use]
    pub fn is_better_than(&self, other: &Self, now: i64) -> bool {
        let width = |reading: &Self| {
            let trip = reading.answered_at - reading.asked_at;
            trip + (now - reading.asked_at) / DRIFT_PARTS
        };
        width(self) <= width(other)
    }
}

/// Returns whether an edge may use its copy to refuse a request. `head` is the head of the copy,
/// `read_at` is when the head last changed, and `now` is the present time. The edge's clock gives
/// both times.
///
/// - The copy must have every request whose order is included in the counts.
/// - The copy's `as_of` must be recent by the store's clock, because the copy may have arrived
///   late.
/// - The head must have changed recently by the edge's clock. Such a change shows that a node still
///   writes.
#[must_use]
pub fn is_fresh(
    head: Option<&FeedHead>,
    clock: Option<&ClockReading>,
    read_at: i64,
    now: i64,
) -> bool {
    let (Some(head), Some(clock)) = (head, clock) else { return false };
    if !head.has_all_requests && holds(FeedRule::AllRequests) {
        return false;
    }
    let age = clock.latest(now).0 - head.as_of.0;
    let is_recent = age <= FEED_AGE_MAX_MS && now - read_at <= FEED_AGE_MAX_MS;
    // If the copy's time is far in the future, one of the clocks is wrong, so the copy does not
    // count as fresh.
    (is_recent && age >= -FEED_AGE_MAX_MS) || !holds(FeedRule::Age)
}

local_rules! {
    /// A rule of this file. A test removes one rule at a time, and the simulation must then find an
    /// error.
    FeedRule {
        CompleteGeneration,
        NeverBack,
        GenerationFromStart,
        NoGaps,
        RequestsBeforeEntries,
        AllRequests,
        Age,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(generation: u64, seq: u64, requests: u64, as_of: i64) -> FeedHead {
        FeedHead {
            generation,
            seq,
            requests,
            as_of: Millis(as_of),
            is_complete: true,
            has_all_requests: true,
        }
    }

    fn read(head: FeedHead, from: FeedPosition, requests: u64, last_seq: Option<u64>) -> FeedRead {
        FeedRead { head, from, requests, last_seq, has_more_entries: false }
    }

    #[test]
    fn entries_are_used_only_after_all_requests() {
        let mut follower = EdgeFeedFollower::default();
        let start = FeedPosition { generation: 7, ..FeedPosition::default() };
        let first = read(head(7, 5, 10, 100), start, 6, Some(5));
        assert_eq!(follower.receive(&first, 0), FeedStep::ReadOn { begins: true });
        let rest = read(head(7, 5, 10, 120), follower.position(), 4, None);
        assert_eq!(follower.receive(&rest, 0), FeedStep::Use { begins: false });
        assert_eq!(follower.position(), FeedPosition { generation: 7, seq: 5, requests: 10 });
    }

    #[test]
    fn an_older_head_an_unfinished_generation_and_another_position_are_ignored() {
        let mut follower = EdgeFeedFollower::default();
        let start = FeedPosition { generation: 7, ..FeedPosition::default() };
        let all = read(head(7, 5, 1, 100), start, 1, Some(5));
        assert_eq!(follower.receive(&all, 0), FeedStep::Use { begins: true });
        let at = follower.position();
        let older = read(head(7, 5, 1, 99), at, 0, None);
        assert_eq!(follower.receive(&older, 0), FeedStep::Ignore);
        let unfinished = FeedHead { is_complete: false, ..head(8, 1, 0, 200) };
        let from = FeedPosition { generation: 8, ..FeedPosition::default() };
        assert_eq!(follower.receive(&read(unfinished, from, 0, None), 0), FeedStep::Ignore);
        let other = FeedPosition { requests: 0, ..at };
        assert_eq!(
            follower.receive(&read(head(7, 6, 2, 200), other, 2, None), 0),
            FeedStep::Ignore
        );
        assert_eq!(follower.position(), at);
    }

    #[test]
    fn after_the_clock_was_set_back_the_edge_starts_over() {
        let mut follower = EdgeFeedFollower::default();
        let start = FeedPosition { generation: 7, ..FeedPosition::default() };
        let before = read(head(7, 5, 1, 3_600_000), start, 1, Some(5));
        assert_eq!(follower.receive(&before, 10), FeedStep::Use { begins: true });
        let after = read(head(7, 6, 1, 100), follower.position(), 0, Some(6));
        assert_eq!(follower.receive(&after, 10 + FEED_AGE_MAX_MS), FeedStep::Ignore);
        assert_eq!(follower.position().generation, 7, "the copy can still be fresh");
        assert_eq!(follower.receive(&after, 11 + FEED_AGE_MAX_MS), FeedStep::Ignore);
        assert_eq!(follower.position(), FeedPosition::default());
        let again = read(head(7, 6, 1, 120), start, 1, Some(6));
        let step = follower.receive(&again, 12 + FEED_AGE_MAX_MS);
        assert_eq!(step, FeedStep::Use { begins: true });
    }

    #[test]
    fn a_copy_is_fresh_for_two_seconds_by_both_clocks() {
        let clock = ClockReading { time: Millis(10_000), asked_at: 0, answered_at: 4 };
        let head = head(1, 1, 0, 10_000);
        let fresh = |read_at, now| is_fresh(Some(&head), Some(&clock), read_at, now);
        assert!(fresh(0, 1_998));
        assert!(!fresh(0, 2_001), "a copy that is too old by the edge's clock must not be used");
        assert!(
            !fresh(2_400, 2_500),
            "a copy that is too old by the store's clock must not be used, even if it just arrived"
        );
        assert!(
            !is_fresh(Some(&head), None, 0, 0),
            "a copy must not be used before the store's time is known"
        );
        assert!(
            !is_fresh(None, Some(&clock), 0, 0),
            "an edge that has read nothing must not use its copy"
        );
        let lacking = FeedHead { has_all_requests: false, ..head };
        assert!(!is_fresh(Some(&lacking), Some(&clock), 0, 0));
        let future = FeedHead { as_of: Millis(12_500), ..head };
        assert!(
            !is_fresh(Some(&future), Some(&clock), 0, 0),
            "a copy with a future time must not be used; its time shows that a clock is wrong"
        );
    }

    #[test]
    fn a_reading_of_the_clock_is_never_early() {
        let clock = ClockReading { time: Millis(1_000), asked_at: 50, answered_at: 90 };
        // The node's clock shows between 1,000 and 1,040 when the answer arrives.
        assert_eq!(clock.latest(90), Millis(1_040));
        assert_eq!(clock.likely(90), Millis(1_020));
        assert!(clock.latest(10_090) >= Millis(11_040));
        let quick = ClockReading { time: Millis(2_000), asked_at: 1_050, answered_at: 1_052 };
        assert!(quick.is_better_than(&clock, 1_052) && !clock.is_better_than(&quick, 1_052));
        assert!(!quick.is_better_than(
            &ClockReading { time: Millis(99_000), asked_at: 98_000, answered_at: 98_010 },
            98_010
        ));
    }
}
