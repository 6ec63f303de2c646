//! Decides how long nodes that share a store pause between two batches, and between two refreshes.
//! Without these pauses, the store's work for one order would increase with the number of nodes.
//!
//! - Each transaction has a fixed cost. So if several nodes settle tickets, each node waits after a
//!   batch. Thus its next batch has about as many tickets as the batch of a single settler
//!   ([`SettlerPace`]).
//! - The more nodes there are, the less often each node reads the commits of the others
//!   ([`refresh_interval`]).
use std::time::Duration;

use crate::limits::SETTLE_BATCH_MAX;

/// The longest time that a settler waits after a batch, to gather more tickets.
pub const LINGER_MAX: Duration = Duration::from_millis(3);
/// If the load is low, the settlers do not wait. The load is low if batches would have fewer
/// tickets than this, even if a single settler settled all tickets.
pub const LINGER_MIN_BATCH: f64 = 8.0;
/// The weight of the newest batch in the averages.
const WEIGHT: f64 = 0.1;
/// If the time between two batches is longer than this, the averages count it as this long. So
/// after an idle time, the averages soon follow the load again.
const CYCLE_MAX: Duration = Duration::from_millis(20);

/// A batch of a settler.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The number of tickets.
    pub tickets: usize,
    /// The time since the settler took its previous batch.
    pub cycle: Duration,
    /// How long the store took to resolve the batch.
    pub commit: Duration,
}

/// The pace of one settler: moving averages over its batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct SettlerPace {
    tickets: f64,
    cycle_secs: f64,
}

impl SettlerPace {
    /// Returns how long the settler waits after a batch. `settlers` is the number of nodes that
    /// settle tickets, including this node.
    ///
    /// Small batches do not prove that the load is low, because many settlers may divide a high
    /// load. So the settler measures how many tickets it gets per second, and assumes that each
    /// other settler gets the same number.
    pub fn pause_after_batch(&mut self, batch: Batch, settlers: usize) -> Duration {
        let cycle = batch.cycle.min(CYCLE_MAX).as_secs_f64();
        self.tickets += WEIGHT * (batch.tickets as f64 - self.tickets);
        self.cycle_secs += WEIGHT * (cycle - self.cycle_secs);
        if batch.tickets >= SETTLE_BATCH_MAX {
            return Duration::ZERO;
        }
        let of_all = self.tickets * settlers as f64 / self.cycle_secs.max(f64::MIN_POSITIVE);
        if of_all * batch.commit.as_secs_f64() < LINGER_MIN_BATCH {
            return Duration::ZERO;
        }
        let others = u32::try_from(settlers.saturating_sub(1)).unwrap_or(u32::MAX);
        batch.commit.saturating_mul(others).min(LINGER_MAX)
    }
}

/// A refresh of a node reads the items' counts and the other nodes' commits. The pause between two
/// refreshes is this time, multiplied by the number of live nodes. If the last refresh is longer
/// ago than this pause, the next refresh begins immediately. So the pause delays verdicts only
/// under load, when refreshes follow each other closely.
const REFRESH_INTERVAL_EACH: Duration = Duration::from_millis(5);
/// The smallest pause between two refreshes.
pub const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// The largest pause between two refreshes.
pub const REFRESH_INTERVAL_MAX: Duration = Duration::from_millis(100);

/// Returns how long each node pauses between two of its refreshes, if this many nodes are live.
#[must_use]
pub fn refresh_interval(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    REFRESH_INTERVAL_EACH.saturating_mul(nodes).clamp(REFRESH_INTERVAL_MIN, REFRESH_INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(700);
    const BATCHES: u32 = 20_000;

    /// Returns how long a settler waits after the last of 100 equal batches.
    fn pause_after_batch(tickets: usize, cycle: Duration, settlers: usize) -> Duration {
        let mut pace = SettlerPace::default();
        let batch = Batch { tickets, cycle, commit: COMMIT };
        (0..100).map(|_| pace.pause_after_batch(batch, settlers)).last().expect("a batch")
    }

    #[test]
    fn a_single_settler_never_waits() {
        assert_eq!(pause_after_batch(100, COMMIT, 1), Duration::ZERO);
        assert_eq!(pause_after_batch(100, COMMIT, 0), Duration::ZERO);
    }

    #[test]
    fn several_settlers_wait_for_the_tickets_of_one_commit() {
        assert_eq!(pause_after_batch(100, COMMIT, 2), COMMIT);
        assert_eq!(
            pause_after_batch(3, COMMIT, 4),
            COMMIT * 3,
            "a settler with a small part of a high load must wait"
        );
    }

    #[test]
    fn a_settler_waits_at_most_three_milliseconds() {
        assert_eq!(pause_after_batch(100, COMMIT, 8), LINGER_MAX);
        assert_eq!(pause_after_batch(100, COMMIT, usize::MAX), LINGER_MAX);
    }

    #[test]
    fn a_settler_does_not_wait_at_low_load_or_when_a_batch_is_full() {
        assert_eq!(pause_after_batch(1, COMMIT * 10, 4), Duration::ZERO);
        assert_eq!(pause_after_batch(SETTLE_BATCH_MAX, COMMIT, 4), Duration::ZERO);
    }

    #[test]
    fn a_settler_follows_the_load_soon_after_an_idle_time() {
        let mut pace = SettlerPace::default();
        let idle = Batch { tickets: 1, cycle: Duration::from_secs(60), commit: COMMIT };
        for _ in 0..100 {
            assert_eq!(pace.pause_after_batch(idle, 4), Duration::ZERO);
        }
        let busy = Batch { tickets: 20, cycle: COMMIT, commit: COMMIT };
        let waits = (0..40).position(|_| !pace.pause_after_batch(busy, 4).is_zero());
        assert!(waits.is_some_and(|batches| batches < 30), "{waits:?}");
    }

    /// Simulates a settler, and returns the average number of tickets in its batches. The settlers
    /// share `rate` tickets a second equally. A commit takes half a millisecond, plus two
    /// microseconds for each ticket.
    fn average_batch(settlers: usize, rate: f64) -> f64 {
        let (each, mut waiting, mut tickets) = (rate / settlers as f64, 1.0, 0.0);
        let (mut pace, mut cycle) = (SettlerPace::default(), Duration::from_millis(1));
        for _ in 0..BATCHES {
            let batch = f64::clamp(waiting, 1.0, SETTLE_BATCH_MAX as f64).floor();
            // If no ticket waits, the settler is idle until the first ticket arrives.
            let idle = Duration::from_secs_f64((batch - waiting).max(0.0) / each);
            let commit = Duration::from_secs_f64(0.000_5 + 0.000_002 * batch);
            let taken = Batch { tickets: batch as usize, cycle: cycle + idle, commit };
            cycle = commit + pace.pause_after_batch(taken, settlers);
            waiting += each * (idle + cycle).as_secs_f64() - batch;
            tickets += batch;
        }
        tickets / f64::from(BATCHES)
    }

    #[test]
    fn several_settlers_have_batches_as_large_as_a_single_one() {
        for rate in [20_000.0, 50_000.0, 100_000.0] {
            let single = average_batch(1, rate);
            for (settlers, least) in [(2, 0.9), (4, 0.9), (8, 0.6)] {
                let batch = average_batch(settlers, rate);
                assert!(
                    batch >= least * single,
                    "{settlers} settlers at {rate} tickets a second have batches of {batch}; one \
                     settler has batches of {single}"
                );
            }
        }
        assert!(average_batch(4, 1_000.0) < 2.0, "low load");
    }

    #[test]
    fn all_nodes_together_refresh_equally_often() {
        for (nodes, apart) in [(0, 5), (1, 5), (2, 10), (4, 20), (8, 40), (1_000, 100)] {
            assert_eq!(refresh_interval(nodes), Duration::from_millis(apart), "{nodes} nodes");
        }
    }
}
