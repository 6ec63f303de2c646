//! Follows the commits of other nodes by their digests. Each poll of the store reads two things in
//! one snapshot: the counts of units, and the digests that are new since the previous poll. The
//! rules:
//!
//! 1. To find the new digests, a node checks for each transaction whether the previous snapshot
//!    included it ([`SnapshotPosition::includes`]). It is not enough to remember the highest
//!    transaction id, because transactions do not commit in the order of their ids.
//! 2. The node reads all orders again if the timeline has changed, if some digests may have been
//!    deleted, or if a digest is unreadable ([`RestartCause`]).
//! 3. After a lost connection, the node polls again from an earlier position, because a database
//!    may use some ids again after a crash ([`DigestFollower::rewind`]).
//! 4. While the node reads all orders, its memory lacks some orders, so the node refuses no request
//!    from memory ([`DigestFollower::is_complete`]).
#[cfg(test)]
mod sim;

use std::collections::VecDeque;

use crate::limits::{DIGEST_POLL_REWIND_MS, DIGEST_POSITIONS_APART_MS, DIGESTS_READ_WITHIN_MS};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// A snapshot that includes no transaction, in PostgreSQL's notation.
const UNKNOWN: &str = "1:1:";

/// The position at which one poll ended and the next poll begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The snapshot as PostgreSQL writes it, as in `10:20:10,14`. The parts are the lowest id of a
    /// running transaction, the id of the next transaction, and the ids of the running
    /// transactions.
    pub snapshot: String,
    /// The database's timeline. A promoted standby begins a new timeline, and may then assign
    /// transaction ids that the old primary has already used.
    pub timeline: String,
    /// The newest fencing number in the database's history.
    pub fence: Option<i64>,
    /// The database's time.
    pub at: Millis,
}

impl SnapshotPosition {
    /// Returns the position before the first transaction of a timeline. Its snapshot includes no
    /// transaction.
    #[must_use]
    pub fn beginning(timeline: String) -> Self {
        Self { snapshot: UNKNOWN.to_owned(), timeline, fence: None, at: Millis(0) }
    }

    /// Returns whether this position is the beginning of a timeline.
    #[must_use]
    pub fn is_beginning(&self) -> bool {
        self.snapshot == UNKNOWN
    }

    /// Returns the lowest transaction id that the snapshot may lack. The snapshot includes every
    /// committed transaction with a lower id.
    #[must_use]
    pub fn xmin(&self) -> &str {
        self.snapshot.split(':').next().unwrap_or("0")
    }

    /// Returns whether the snapshot includes this transaction. Call this only for a committed
    /// transaction.
    #[must_use]
    pub fn includes(&self, transaction: &str) -> bool {
        let mut parts = self.snapshot.split(':').skip(1);
        let (next, running) = (parts.next().unwrap_or("0"), parts.next().unwrap_or(""));
        let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
        let was_running = running.split(',').any(|running| running == transaction);
        number(transaction) < number(next) && !(was_running && enforces(Rule::RefreshFromXmin))
    }
}

/// Why a node must read all orders again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartCause {
    /// The timeline of the database has changed since the previous poll.
    FailedOver,
    /// The previous poll was so long ago that some digests after it may already be deleted.
    TooOld,
    /// A digest is damaged, or was written by a newer program.
    UnknownDigest,
}

impl RestartCause {
    /// Returns whether the database may lack orders that the node knows.
    #[must_use]
    pub fn may_lose_orders(self) -> bool {
        self == Self::FailedOver && enforces(Rule::LimitCountUntilFailover)
    }
}

/// Returns why a node must read all orders again after a poll that began at `before` and ended at
/// `found`. Returns `None` if the digests between these positions are enough.
#[must_use]
pub fn restart_cause(before: &SnapshotPosition, found: &SnapshotPosition) -> Option<RestartCause> {
    if found.timeline != before.timeline && holds(DigestRule::Timeline) {
        return Some(RestartCause::FailedOver);
    }
    let since = found.at.0.saturating_sub(before.at.0);
    let is_late = !before.is_beginning() && since > DIGESTS_READ_WITHIN_MS;
    (is_late && holds(DigestRule::Age)).then_some(RestartCause::TooOld)
}

/// What remains to be read while a node reads all orders again: the orders in `snapshot` whose
/// number is greater than `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The snapshot.
    pub snapshot: String,
    /// The number of the last order that the node has read; -1 if it has read none.
    pub after: i64,
}

/// Follows digests: says where the next poll begins, and which orders a node must still read.
#[derive(Clone, Debug)]
pub struct DigestFollower {
    since: SnapshotPosition,
    /// The positions of earlier polls, each with the time of the poll; oldest first.
    earlier: VecDeque<(i64, SnapshotPosition)>,
    backlog: Option<Backlog>,
}

impl DigestFollower {
    /// Returns a follower that begins at this position. In this and all other methods, `now` is a
    /// monotonic time in milliseconds.
    #[must_use]
    pub fn new(since: SnapshotPosition, now: i64) -> Self {
        Self { earlier: VecDeque::from([(now, since.clone())]), since, backlog: None }
    }

    /// Returns the position from which the node must read next. If
    /// [`SnapshotPosition::is_beginning`] is true for it, the node must read all orders.
    #[must_use]
    pub fn since(&self) -> &SnapshotPosition {
        &self.since
    }

    /// If the node is reading all orders again, returns the orders that it must still read.
    /// Otherwise returns `None`.
    #[must_use]
    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Returns whether the node knows every order that the counts of the latest poll include.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.backlog.is_none() || !holds(DigestRule::BacklogFirst)
    }

    /// Records a poll that ended at `found`. If the node must read all orders again, `backlog`
    /// contains all orders. Otherwise `backlog` is `None`, and the follower keeps an earlier
    /// backlog that is not finished.
    pub fn advance(&mut self, found: SnapshotPosition, backlog: Option<Backlog>, now: i64) {
        self.since = found;
        if backlog.is_some() || !holds(DigestRule::BacklogStays) {
            self.backlog = backlog;
        }
        if self.earlier.back().is_none_or(|(at, _)| now - at >= DIGEST_POSITIONS_APART_MS) {
            self.earlier.push_back((now, self.since.clone()));
        }
        while self.earlier.get(1).is_some_and(|(at, _)| now - at >= DIGEST_POLL_REWIND_MS) {
            self.earlier.pop_front();
        }
    }

    /// Records that the node read a part of the backlog. `last` is the number of the last order in
    /// this part, or `None` if the node has now read the whole backlog.
    pub fn advance_backlog(&mut self, last: Option<i64>) {
        match (last, &mut self.backlog) {
            (Some(last), Some(backlog)) => backlog.after = last,
            (None, backlog) => *backlog = None,
            (Some(_), None) => {}
        }
    }

    /// Moves the position back after a lost connection, because the database may have crashed.
    /// After a crash, the database may assign its last transaction ids a second time. A recent
    /// snapshot already includes those ids. A poll from that snapshot would miss the new
    /// transactions.
    pub fn rewind(&mut self, now: i64) {
        if !holds(DigestRule::Rewind) {
            return;
        }
        let old = self.earlier.front().filter(|(at, _)| now - at >= DIGEST_POLL_REWIND_MS).cloned();
        let unknown = || SnapshotPosition::beginning(self.since.timeline.clone());
        let (at, since) = old.unwrap_or_else(|| (now - DIGEST_POLL_REWIND_MS, unknown()));
        self.since = since.clone();
        self.earlier = VecDeque::from([(at, since)]);
    }
}

local_rules! {
    /// A rule of digests. A test removes one rule at a time, and the simulation must then find an
    /// error.
    pub(super) DigestRule {
        Timeline,
        Age,
        BacklogFirst,
        BacklogStays,
        Rewind,
        KnownFormat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(snapshot: &str, at: i64) -> SnapshotPosition {
        SnapshotPosition {
            snapshot: snapshot.to_owned(),
            timeline: "1".to_owned(),
            fence: None,
            at: Millis(at),
        }
    }

    #[test]
    fn a_snapshot_includes_transactions_that_ended_before_it() {
        let since = position("10:20:10,14", 0);
        for (transaction, shown) in
            [("9", true), ("10", false), ("11", true), ("14", false), ("19", true), ("20", false)]
        {
            assert_eq!(since.includes(transaction), shown, "{transaction}");
        }
        assert_eq!(since.xmin(), "10");
        assert!(!SnapshotPosition::beginning("1".to_owned()).includes("3"));
    }

    #[test]
    fn digests_are_trusted_for_some_minutes() {
        let at = |ms| position("10:20:", ms);
        let cause = |before: &_, found: &_| restart_cause(before, found);
        assert_eq!(cause(&at(0), &at(DIGESTS_READ_WITHIN_MS)), None);
        assert_eq!(cause(&at(0), &at(DIGESTS_READ_WITHIN_MS + 1)), Some(RestartCause::TooOld));
        assert_eq!(
            cause(&at(5_000), &at(0)),
            None,
            "a clock that was set back must not make a position too old"
        );
        let beginning = SnapshotPosition::beginning("1".to_owned());
        assert_eq!(cause(&beginning, &at(i64::MAX)), None);
        let other = SnapshotPosition { timeline: "2".to_owned(), ..at(0) };
        assert_eq!(cause(&at(0), &other), Some(RestartCause::FailedOver));
    }

    #[test]
    fn after_a_lost_connection_a_poll_begins_at_a_position_that_is_old_enough() {
        let mut follower = DigestFollower::new(position("10:20:", 0), 0);
        follower.advance(position("11:21:", 1), None, DIGEST_POLL_REWIND_MS / 2);
        follower.advance(position("12:22:", 2), None, DIGEST_POLL_REWIND_MS);
        let mut early = follower.clone();
        early.rewind(DIGEST_POLL_REWIND_MS);
        assert_eq!(early.since().snapshot, "10:20:");
        follower.rewind(DIGEST_POLL_REWIND_MS - 1);
        assert!(
            follower.since().is_beginning(),
            "if no position is old enough, the next poll must read all orders"
        );
    }
}
