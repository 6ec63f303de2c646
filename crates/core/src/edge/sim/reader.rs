//! The simulated edge.
use std::collections::{BTreeMap, BTreeSet};

use crate::edge::{ClockReading, EdgeFeedFollower, FeedHead, FeedRead, FeedStep, is_fresh};

/// The result of one read of the feed. Each of the `entries` is an item with its free units.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) read: FeedRead,
    pub(super) requests: Vec<u64>,
    pub(super) entries: Vec<(u64, u64)>,
}

#[derive(Default)]
pub(super) struct Edge {
    pub(super) follower: EdgeFeedFollower,
    /// The head in the last read that the edge used.
    pub(super) used: Option<FeedHead>,
    pub(super) requests: BTreeSet<u64>,
    pub(super) kept: BTreeMap<u64, u64>,
    pub(super) free: BTreeMap<u64, u64>,
    pub(super) own: BTreeSet<u64>,
    pub(super) clock: Option<ClockReading>,
    pub(super) read_at: i64,
    /// When the edge last used the result of a read.
    pub(super) used_at: i64,
    pub(super) last_read: Option<Answer>,
}

impl Edge {
    pub(super) fn take(&mut self, answer: Answer, now: i64) {
        let Answer { read, requests, entries } = answer;
        let step = self.follower.receive(&read, now);
        if step == FeedStep::Ignore {
            return;
        }
        if matches!(step, FeedStep::ReadOn { begins: true } | FeedStep::Use { begins: true }) {
            self.kept.clear();
        }
        self.requests.extend(requests);
        self.kept.extend(entries);
        if matches!(step, FeedStep::Use { .. }) {
            self.free.extend(std::mem::take(&mut self.kept));
            if self.used.replace(read.head) != Some(read.head) {
                self.read_at = now;
            }
            self.used_at = now;
        }
    }

    pub(super) fn refuses(&self, item: u64, request: u64, now: i64) -> bool {
        is_fresh(self.used.as_ref(), self.clock.as_ref(), self.read_at, now)
            && self.free.get(&item) == Some(&0)
            && !self.requests.contains(&request)
            && !self.own.contains(&request)
    }
}
