//! The statistics of a sale in one step of time: a second or a minute.

use std::collections::BTreeMap;

use doorbuster_telemetry::answer_counts::AnswerKind;
use doorbuster_telemetry::metrics::HistogramSnapshot;
use serde::{Deserialize, Serialize};

/// The statistics of one sale on one node in one step, as the store keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepCounts {
    /// Answers to purchase requests, by kind.
    #[serde(default)]
    pub answers: BTreeMap<String, u64>,
    /// Only in a row of a minute: this node's requests in the busiest second, which is the second
    /// with the most requests at all nodes together. 0 in a row of a second, or if an older version
    /// of the program wrote the row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peak: u64,
    /// Orders that the node created. `None` in a step that an older version of the program stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<u64>,
    /// Latencies: each bucket's index and its count.
    #[serde(default)]
    pub latencies: Vec<(usize, u64)>,
    /// Units of each item at the end of the step: free, held and paid.
    #[serde(default)]
    pub items: BTreeMap<String, [u64; 3]>,
    /// Tickets that wait for their verdicts in slots that this node reads.
    #[serde(default)]
    pub queue_depth: u64,
    /// Visitors in the waiting room.
    #[serde(default)]
    pub waiting: u64,
}

/// Serde calls this function, and passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl StepCounts {
    pub(crate) fn requests(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Returns the number of orders. Older versions of the program did not record this number. For
    /// their steps, returns the number of responses `reserved`.
    pub(crate) fn orders(&self) -> u64 {
        let answered = || self.answers.get(AnswerKind::Reserved.as_str()).copied();
        self.orders.or_else(answered).unwrap_or(0)
    }

    /// Adds a later step of the same node. Counts are added up. For the queue, the waiting visitors
    /// and the peak, keeps the larger of the two values.
    pub(crate) fn append(&mut self, later: &Self) {
        self.add_counts(later);
        self.peak = self.peak.max(later.peak);
        self.queue_depth = self.queue_depth.max(later.queue_depth);
        self.waiting = self.waiting.max(later.waiting);
    }

    /// Adds the same step of another node. Counts are added up. Queues are added up too, because
    /// exactly one node counts each queue. Units and waiting visitors are not added up, because
    /// every node records the same numbers.
    pub(crate) fn add_node(&mut self, other: &Self) {
        self.add_counts(other);
        self.peak += other.peak;
        self.queue_depth += other.queue_depth;
        self.waiting = self.waiting.max(other.waiting);
    }

    fn add_counts(&mut self, other: &Self) {
        self.orders = Some(self.orders() + other.orders());
        for (kind, count) in &other.answers {
            *self.answers.entry(kind.clone()).or_default() += count;
        }
        let mut latencies: BTreeMap<usize, u64> = self.latencies.iter().copied().collect();
        for (bucket, count) in &other.latencies {
            *latencies.entry(*bucket).or_default() += count;
        }
        self.latencies = latencies.into_iter().collect();
        self.items.extend(other.items.iter().map(|(item, units)| (item.clone(), *units)));
    }

    /// Returns the numbers of waiting tickets and visitors, which are valid until the node's next
    /// step. A node records a step whenever one of them changes.
    pub(crate) fn levels(&self) -> Self {
        Self { queue_depth: self.queue_depth, waiting: self.waiting, ..Self::default() }
    }

    pub(crate) fn histogram(&self) -> HistogramSnapshot {
        let mut histogram = HistogramSnapshot::default();
        self.latencies.iter().for_each(|(bucket, count)| histogram.add(*bucket, *count));
        histogram
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("maps with text keys serialise")
    }

    /// Parses a stored point. An invalid text counts as an empty point.
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a point for tests. `held` is the number of held units, and also the length of the
    /// queue. Each answer `reserved` counts as one order.
    pub(crate) fn point(
        answers: &[(&str, u64)],
        latencies: &[(usize, u64)],
        held: u64,
    ) -> StepCounts {
        StepCounts {
            answers: answers.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect(),
            peak: 0,
            orders: Some(answers.iter().filter(|(kind, _)| *kind == "reserved").map(|a| a.1).sum()),
            latencies: latencies.to_vec(),
            items: BTreeMap::from([("phone".to_owned(), [10 - held, held, 0])]),
            queue_depth: held,
            waiting: 5,
        }
    }

    #[test]
    fn nodes_add_their_counts_and_share_the_units() {
        let mut sum = point(&[("reserved", 2), ("sold_out", 5)], &[(3, 7)], 2);
        sum.add_node(&point(&[("sold_out", 1)], &[(3, 1), (4, 1)], 2));
        let all = point(&[("reserved", 2), ("sold_out", 6)], &[(3, 8), (4, 1)], 2);
        assert_eq!(sum, StepCounts { queue_depth: 4, ..all });
        assert_eq!(sum.histogram().count(), 9);
    }

    #[test]
    fn a_stored_point_is_read_again() {
        let stored = point(&[("reserved", 2)], &[(3, 7)], 2);
        let text = serde_json::to_string(&stored).expect("plain data");
        assert_eq!(StepCounts::parse(&text), stored);
        let older = r#"{"answers": {"reserved": 3, "sold_out": 1}}"#;
        assert_eq!((stored.orders(), StepCounts::parse(older).orders()), (2, 3));
        assert_eq!(StepCounts::parse("{}"), StepCounts::default());
        assert_eq!(StepCounts::parse("not JSON"), StepCounts::default());
    }
}
