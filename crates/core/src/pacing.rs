//! Paces the work of nodes that share a store, so that an order costs the store about the same with
//! any number of nodes.
//!
//! A transaction has a fixed cost. If several settlers share the load, each of them gathers only a
//! part of the tickets while the store commits. So their batches are smaller, and each order bears
//! a larger part of the fixed cost. Each settler therefore waits until it has about as many tickets
//! as a single settler would have ([`linger`]). Each node reads what other nodes committed. The
//! more nodes there are, the less often each node reads, so that all nodes together read equally
//! often ([`refreshes_apart`]).
use std::time::Duration;

use crate::limits::SETTLE_BATCH_MAX;

/// The longest time that a settler waits.
pub const LINGER_MAX: Duration = Duration::from_millis(3);
/// If the last batch was smaller than this, the load is low, and the settler does not wait.
pub const LINGER_MIN_BATCH: usize = 8;

/// Returns how long a settler waits after a batch of `tickets`, if resolving the batch took the
/// time `commit`. `settlers` is the number of nodes that settle, including this node.
#[must_use]
pub fn linger(tickets: usize, commit: Duration, settlers: usize) -> Duration {
    let is_useful = (LINGER_MIN_BATCH..SETTLE_BATCH_MAX).contains(&tickets);
    if !is_useful {
        return Duration::ZERO;
    }
    let others = u32::try_from(settlers.saturating_sub(1)).unwrap_or(u32::MAX);
    commit.saturating_mul(others).min(LINGER_MAX)
}

/// A refresh reads what other nodes committed. Each live node adds this time to the pause between
/// two such refreshes. If the last refresh is longer ago than the pause, the node refreshes at
/// once. So the pause delays other nodes' verdicts only under load.
const REFRESHES_APART_EACH: Duration = Duration::from_millis(5);
/// The smallest pause between two refreshes.
pub const REFRESHES_APART_MIN: Duration = Duration::from_millis(5);
/// The largest pause between two refreshes.
pub const REFRESHES_APART_MAX: Duration = Duration::from_millis(100);

/// Returns the pause between two refreshes that read what other nodes committed, while this many
/// nodes are alive.
#[must_use]
pub fn refreshes_apart(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    REFRESHES_APART_EACH.saturating_mul(nodes).clamp(REFRESHES_APART_MIN, REFRESHES_APART_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(700);

    #[test]
    fn a_single_settler_never_waits() {
        assert_eq!(linger(100, COMMIT, 1), Duration::ZERO);
        assert_eq!(linger(100, COMMIT, 0), Duration::ZERO);
    }

    #[test]
    fn several_settlers_wait_for_the_tickets_of_one_commit() {
        assert_eq!(linger(100, COMMIT, 2), COMMIT);
        assert_eq!(linger(100, COMMIT, 4), COMMIT * 3);
    }

    #[test]
    fn a_settler_waits_at_most_three_milliseconds() {
        assert_eq!(linger(100, COMMIT, 8), LINGER_MAX);
        assert_eq!(linger(100, Duration::MAX, usize::MAX), LINGER_MAX);
    }

    #[test]
    fn a_settler_does_not_wait_at_low_load_or_when_a_batch_is_full() {
        assert_eq!(linger(LINGER_MIN_BATCH - 1, COMMIT, 4), Duration::ZERO);
        assert_eq!(linger(SETTLE_BATCH_MAX, COMMIT, 4), Duration::ZERO);
    }

    #[test]
    fn all_nodes_together_refresh_equally_often() {
        for (nodes, apart) in [(0, 5), (1, 5), (2, 10), (4, 20), (8, 40), (1_000, 100)] {
            assert_eq!(refreshes_apart(nodes), Duration::from_millis(apart), "{nodes} nodes");
        }
    }
}
