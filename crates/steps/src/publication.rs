//! Publishes a commit, or a snapshot of the store, to a node's memory.
//!
//! After the counts are published, the node may answer "sold out". A request that holds an order
//! must not get this answer. So the memory must have all these requests before the memory gets the
//! counts.
use doorbuster_core::rules::{Rule, enforces};

/// A part of a commit or of a snapshot. The driver publishes the parts one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The requests that hold orders.
    Requests,
    /// The counts of each item.
    Counts,
    /// The verdicts.
    Verdicts,
}

/// Returns the parts of a commit or snapshot in their sequence. If the simulator has removed
/// [`Rule::HoldersWithCounts`], the requests come too late, after the counts.
#[must_use]
pub fn parts() -> &'static [Part] {
    use Part::{Counts, Requests, Verdicts};
    match enforces(Rule::HoldersWithCounts) {
        true => &[Requests, Counts, Verdicts],
        false => &[Counts, Requests, Verdicts],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_come_first_and_the_verdicts_last() {
        assert_eq!(parts(), [Part::Requests, Part::Counts, Part::Verdicts]);
    }
}
