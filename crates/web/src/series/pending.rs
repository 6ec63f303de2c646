//! The points (rows with a sale's statistics) that this node has not yet written to the store.

use std::collections::VecDeque;

use doorbuster_store::SaleSeriesRow;

/// The maximum number of waiting points. If more points wait, the oldest points are dropped, and
/// `dropped` counts the dropped points.
pub(super) const PENDING_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct PendingPoints {
    pub(super) points: VecDeque<SaleSeriesRow>,
    /// The number of points that were dropped since the node started.
    pub(super) dropped: u64,
    /// The number of dropped points that log lines have already reported.
    pub(super) logged: u64,
}

impl PendingPoints {
    pub(super) fn push(&mut self, point: SaleSeriesRow) {
        self.points.push_back(point);
        self.drop_oldest();
    }

    /// Returns points to the queue, because they could not be written. They come before the points
    /// that were added later.
    pub(super) fn put_back(&mut self, points: Vec<SaleSeriesRow>) {
        points.into_iter().rev().for_each(|point| self.points.push_front(point));
        self.drop_oldest();
    }

    fn drop_oldest(&mut self) {
        let excess = self.points.len().saturating_sub(PENDING_MAX);
        self.points.drain(..excess);
        self.dropped += excess as u64;
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::{Millis, NodeId};
    use doorbuster_store::PointStep;

    use super::*;

    #[test]
    fn dropped_points_are_counted() {
        let point = |at| SaleSeriesRow {
            sale: "spring".to_owned(),
            step: PointStep::Second,
            at: Millis(at),
            node: NodeId(1),
            point: String::new(),
        };
        let mut pending = PendingPoints::default();
        (0..PENDING_MAX as i64 + 2).for_each(|at| pending.push(point(at)));
        assert_eq!((pending.dropped, pending.points[0].at), (2, Millis(2)));
        pending.put_back(vec![point(0), point(1)]);
        assert_eq!((pending.dropped, pending.points[0].at), (4, Millis(2)));
    }
}
