//! The buyers whose orders this node publishes. Each of these buyers has a reader on this node, or
//! had one so recently that the buyer may reconnect for missed events.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use doorbuster_core::digest::buyer_tag;

/// The maximum number of remembered buyers who have no connected reader. If there are more such
/// buyers, the node forgets all of them. It then treats every buyer as followed, until the time at
/// which the last of the forgotten entries would have ended.
const LEFT_MAX: usize = 262_144;
/// With fewer entries than this, the node does not search for ended entries to remove.
const SWEEP_MIN: usize = 1_024;

/// The followed buyers. The key is a buyer's tag, which is a short hash of the buyer.
#[derive(Debug)]
pub(super) struct FollowedBuyers {
    tags: HashMap<u32, Followed>,
    /// The number of entries at which the next removal of ended entries begins.
    sweep_at: usize,
    /// Until this time, every buyer counts as followed, because `tags` lacks buyers who left.
    all_until: Option<Instant>,
    left_max: usize,
}

#[derive(Debug, Default)]
struct Followed {
    readers: u32,
    /// When this entry ends, if no reader is connected then. `None` until the first reader
    /// disconnects.
    until: Option<Instant>,
}

impl Followed {
    fn is_over(&self, now: Instant) -> bool {
        self.readers == 0 && self.until.is_none_or(|until| until <= now)
    }
}

impl Default for FollowedBuyers {
    fn default() -> Self {
        let tags = HashMap::new();
        Self { tags, sweep_at: SWEEP_MIN, all_until: None, left_max: LEFT_MAX }
    }
}

impl FollowedBuyers {
    pub(super) fn add(&mut self, buyer: &str) {
        self.tags.entry(buyer_tag(buyer)).or_default().readers += 1;
    }

    /// Records that a reader of this buyer disconnected. The buyer stays followed for the time
    /// `keep`, so that the reader can come back.
    pub(super) fn remove(&mut self, buyer: &str, now: Instant, keep: Duration) {
        let until = now + keep;
        if let Some(followed) = self.tags.get_mut(&buyer_tag(buyer)) {
            followed.readers = followed.readers.saturating_sub(1);
            followed.until = Some(until);
        }
        if self.tags.len() >= self.sweep_at {
            self.tags.retain(|_, followed| !followed.is_over(now));
            let left = self.tags.values().filter(|followed| followed.readers == 0).count();
            if left > self.left_max {
                self.tags.retain(|_, followed| followed.readers > 0);
                self.all_until = Some(until);
            }
            self.sweep_at = (self.tags.len() * 2).max(SWEEP_MIN);
        }
    }

    pub(super) fn has(&self, tag: u32, now: Instant) -> bool {
        self.all_until.is_some_and(|until| now < until)
            || self.tags.get(&tag).is_some_and(|followed| !followed.is_over(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    #[test]
    fn a_buyer_is_followed_while_a_reader_is_connected_and_for_a_while_after_it() {
        let (mut followed, now) = (FollowedBuyers::default(), Instant::now());
        let anna = buyer_tag("anna");
        assert!(!followed.has(anna, now));
        followed.add("anna");
        followed.add("anna");
        followed.remove("anna", now, KEEP);
        assert!(
            followed.has(anna, now + KEEP * 2),
            "the buyer must count while one reader is connected"
        );
        followed.remove("anna", now, KEEP);
        assert!(followed.has(anna, now + KEEP / 2));
        assert!(!followed.has(anna, now + KEEP));
        assert!(!followed.has(buyer_tag("bert"), now));
    }

    #[test]
    fn buyers_who_left_are_bounded_and_no_buyer_is_missed() {
        let (mut followed, now) = (FollowedBuyers::default(), Instant::now());
        followed.left_max = 2 * SWEEP_MIN;
        followed.add("stays");
        let buyers: Vec<String> = (0..20 * SWEEP_MIN).map(|n| format!("b{n}")).collect();
        for buyer in &buyers {
            followed.add(buyer);
            followed.remove(buyer, now, KEEP);
            assert!(followed.has(buyer_tag(buyer), now));
            assert!(followed.tags.len() <= 4 * SWEEP_MIN + 2, "{}", followed.tags.len());
        }
        assert!(buyers.iter().all(|buyer| followed.has(buyer_tag(buyer), now)));
        assert!(followed.has(buyer_tag("stays"), now + KEEP));
        assert!(
            !followed.has(buyer_tag("b1"), now + KEEP),
            "the entry of a buyer who left must end"
        );
        followed.add("late");
        for buyer in &buyers[..3 * SWEEP_MIN] {
            followed.add(buyer);
            followed.remove(buyer, now + KEEP * 2, KEEP);
        }
        assert!(followed.tags.len() <= 4 * SWEEP_MIN + 2, "{}", followed.tags.len());
    }
}
