//! How many nodes live, as this one sees it: now, and lately.
//!
//! A lease that lapsed may be a machine's that stood still for a moment; whoever holds to a part of
//! something because others have the rest does not take theirs for that. So a node counts on until
//! several looks in a row have missed it. Looks are counted rather than seconds, because a machine
//! on which everything stood still looks once after that, and finds everybody's lease lapsed but
//! its own.
use std::sync::atomic::{AtomicU32, Ordering};

/// Looks in a row by which a node is missed before it counts no more: about three seconds beyond
/// its lease.
const LOOKS: u32 = 6;

/// How many nodes live, this one included. Written by one job, read by everybody.
#[derive(Debug)]
pub(crate) struct Living {
    now: AtomicU32,
    lately: AtomicU32,
    /// Looks in a row that saw fewer than counted lately.
    fewer: AtomicU32,
}

impl Default for Living {
    /// This one alone, until there was a look.
    fn default() -> Self {
        Self { now: AtomicU32::new(1), lately: AtomicU32::new(1), fewer: AtomicU32::new(0) }
    }
}

impl Living {
    /// Those whose lease has not lapsed, at the last look.
    pub(crate) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Those that lived lately, one at least.
    pub(crate) fn lately(&self) -> u32 {
        self.lately.load(Ordering::Relaxed)
    }

    /// A look saw so many.
    pub(crate) fn saw(&self, nodes: usize) {
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        self.now.store(nodes, Ordering::Relaxed);
        let counted = nodes.max(1);
        let fewer =
            if counted < self.lately() { self.fewer.load(Ordering::Relaxed) + 1 } else { 0 };
        let is_sure = fewer == 0 || fewer >= LOOKS;
        if is_sure {
            self.lately.store(counted, Ordering::Relaxed);
        }
        self.fewer.store(if is_sure { 0 } else { fewer }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(seen: &[usize]) -> (u32, u32) {
        let living = Living::default();
        seen.iter().for_each(|nodes| living.saw(*nodes));
        (living.now(), living.lately())
    }

    #[test]
    fn who_comes_counts_at_once_and_who_is_missed_for_a_moment_counts_on() {
        assert_eq!(after(&[]), (1, 1));
        assert_eq!(after(&[2]), (2, 2));
        assert_eq!(after(&[3, 1, 1]), (1, 3));
        assert_eq!(after(&[3, 1, 1, 3, 1, 1, 1, 1]), (1, 3), "seen in between");
        assert_eq!(after(&[2, 0]), (0, 2), "not even its own lease");
    }

    #[test]
    fn who_is_missed_all_the_time_counts_no_more() {
        let gone = |nodes: usize| vec![nodes; LOOKS as usize];
        assert_eq!(after(&[vec![3], gone(1)].concat()), (1, 1));
        assert_eq!(after(&[vec![3], gone(1)[1..].to_vec()].concat()), (1, 3));
        assert_eq!(
            after(&[vec![3], gone(2), gone(1)[1..].to_vec()].concat()),
            (1, 2),
            "one after the other"
        );
        assert_eq!(after(&[vec![2], gone(0)].concat()), (0, 1), "a limit has one part at least");
    }
}
