//! Publishes a commit, or a snapshot of the store, to a node's memory: first the requests that hold
//! orders, then the counts, then the verdicts for requests that wait.
//!
//! The counts may refuse a request ("sold out"). So the memory must know before that the request
//! holds an order.
use doorbuster_core::rules::{Rule, enforces};

/// A part of a commit or snapshot that the driver publishes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The requests that hold orders.
    Requests,
    /// The counts of each item.
    Counts,
    /// The verdicts.
    Verdicts,
}

/// The publication of one commit or snapshot. It yields the parts in their sequence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publication {
    done: usize,
}

impl Iterator for Publication {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let part = sequence().get(self.done).copied();
        self.done += 1;
        part
    }
}

/// Returns the sequence of the parts. Without the rule, the requests come too late.
fn sequence() -> [Part; 3] {
    use Part::{Counts, Requests, Verdicts};
    match enforces(Rule::HoldersWithCounts) {
        true => [Requests, Counts, Verdicts],
        false => [Counts, Requests, Verdicts],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_come_first_and_the_verdicts_last() {
        let parts: Vec<Part> = Publication::default().collect();
        assert_eq!(parts, [Part::Requests, Part::Counts, Part::Verdicts]);
    }
}
