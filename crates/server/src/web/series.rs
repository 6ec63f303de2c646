//! A sale's numbers over time: each node adds its own second to a table, and readers add up the
//! rows of all nodes. A second in which nothing happened has no row.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_core::{Millis, Phase};
use doorbuster_store::{PointStep, SalePoint};
use serde::{Deserialize, Serialize};

use super::App;
use crate::answer_counts::Answer;
use crate::catalogue::{ItemState, SaleState};
use crate::metrics::{HistogramSnapshot, RateSample};

/// Numbers are recorded this long before a scheduled sale opens.
const BEFORE_OPENING_MS: i64 = 3_600_000;
/// Most points that wait for the store; the oldest are dropped.
const PENDING_MAX: usize = 1_024;

/// The numbers of one node in one step, as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Answers to purchase requests, by kind.
    #[serde(default)]
    pub answers: BTreeMap<String, u64>,
    /// Latencies: indexes of buckets, and their counts.
    #[serde(default)]
    pub latencies: Vec<(usize, u64)>,
    /// Units by item, at the end of the step: free, held, paid.
    #[serde(default)]
    pub items: BTreeMap<String, [u64; 3]>,
    /// Tickets that wait for their verdicts in slots that this node reads.
    #[serde(default)]
    pub queue_depth: u64,
    /// Visitors in the waiting room.
    #[serde(default)]
    pub waiting: u64,
}

impl Point {
    /// Adds a later step of the same node.
    fn append(&mut self, later: &Self) {
        self.add_counts(later);
        (self.queue_depth, self.waiting) = (later.queue_depth, later.waiting);
    }

    /// Adds the same step of another node. The units and the waiting room are the same everywhere.
    pub(crate) fn add_node(&mut self, other: &Self) {
        self.add_counts(other);
        self.queue_depth = self.queue_depth.max(other.queue_depth);
        self.waiting = self.waiting.max(other.waiting);
    }

    fn add_counts(&mut self, other: &Self) {
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

    /// The latencies as a histogram.
    pub(crate) fn histogram(&self) -> HistogramSnapshot {
        let mut histogram = HistogramSnapshot::default();
        self.latencies.iter().for_each(|(bucket, count)| histogram.add(*bucket, *count));
        histogram
    }

    /// Parses a stored point. An invalid one counts as empty.
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// What one sale counted so far.
#[derive(Debug)]
struct SaleProgress {
    last: RateSample,
    shown: Point,
    minute: Millis,
    of_minute: Point,
}

/// Records the numbers of every sale.
#[derive(Debug, Default)]
pub(crate) struct SeriesRecorder {
    sales: Mutex<HashMap<String, SaleProgress>>,
    pending: Mutex<VecDeque<SalePoint>>,
}

impl App {
    /// Adds the past second of every sale to the store; called once a second.
    pub(crate) async fn record_series(&self) {
        let now = self.engine.now();
        let sales: Vec<Arc<SaleState>> = self
            .engine
            .catalogue()
            .sales()
            .filter(|sale| is_recorded(sale, now))
            .cloned()
            .collect();
        for sale in &sales {
            let mut depth = 0;
            for item in &sale.items {
                depth += self.engine.queued(item).await;
            }
            self.record_second(sale, now, depth);
        }
        self.write_pending().await;
    }

    /// Compares a sale's counters with those of a second ago.
    fn record_second(&self, sale: &SaleState, now: Millis, queue_depth: u64) {
        let view = self.views.sale_view(&self.engine, sale);
        let sample = RateSample::from_tally(&sale.flags.answer_counts, view.latencies.read());
        let mut sales = self.series.sales.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = sales.entry(sale.row.id.clone()).or_insert_with(|| SaleProgress {
            // Requests long before the opening belong to no second.
            last: match sale.row.phase {
                Phase::Scheduled => sample.clone(),
                _ => sample.zero(),
            },
            shown: Point::default(),
            minute: start_of(now, PointStep::Minute),
            of_minute: Point::default(),
        });
        let waiting = self.gate.room.counts();
        let waiting = waiting.iter().find(|room| *room.sale == *sale.row.id);
        let point = Point {
            answers: new_answers(&progress.last, &sample),
            latencies: sample.latencies.since(&progress.last.latencies).filled().collect(),
            items: sale.items.iter().map(|item| (item.row.name.clone(), units(item))).collect(),
            queue_depth,
            waiting: waiting.map_or(0, |room| room.waiting),
        };
        progress.last = sample;
        let minute = start_of(now, PointStep::Minute);
        if minute != progress.minute {
            let past = std::mem::take(&mut progress.of_minute);
            if past != Point::default() {
                self.add_pending(sale, PointStep::Minute, progress.minute, &past);
            }
            progress.minute = minute;
        }
        let is_new = !point.answers.is_empty()
            || Point { answers: BTreeMap::new(), latencies: Vec::new(), ..point.clone() }
                != progress.shown;
        if !is_new {
            return;
        }
        progress.of_minute.append(&point);
        // The second that has passed.
        let second = start_of(now.plus(-1_000), PointStep::Second);
        self.add_pending(sale, PointStep::Second, second, &point);
        progress.shown = Point { answers: BTreeMap::new(), latencies: Vec::new(), ..point };
    }

    fn add_pending(&self, sale: &SaleState, step: PointStep, at: Millis, point: &Point) {
        let mut pending = self.series.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() >= PENDING_MAX {
            pending.pop_front();
        }
        pending.push_back(SalePoint {
            sale: sale.row.id.clone(),
            step,
            at,
            node: self.engine.node(),
            point: serde_json::to_string(point).unwrap_or_default(),
        });
    }

    /// Writes what waits for the store; after a failure it waits for the next second.
    async fn write_pending(&self) {
        let pending = || self.series.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let points: Vec<SalePoint> = pending().drain(..).collect();
        if points.is_empty() {
            return;
        }
        if let Err(error) = self.engine.store().insert_points(points.clone()).await {
            tracing::debug!(%error, "failed to record the numbers of sales; will retry");
            let mut later = pending();
            for point in points.into_iter().rev().take(PENDING_MAX - later.len().min(PENDING_MAX)) {
                later.push_front(point);
            }
        }
    }
}

/// Whether a sale's numbers are recorded now. A closed sale is recorded for a minute, so that its
/// last orders are in the numbers.
fn is_recorded(sale: &SaleState, now: Millis) -> bool {
    let row = &sale.row;
    match row.phase {
        Phase::Draft => false,
        Phase::Scheduled => row.starts_at.is_some_and(|at| at.0 - now.0 <= BEFORE_OPENING_MS),
        Phase::Open | Phase::Paused => true,
        Phase::Closed => row.closed_at.is_some_and(|at| now.0 - at.0 <= 60_000),
    }
}

fn new_answers(last: &RateSample, now: &RateSample) -> BTreeMap<String, u64> {
    let kinds = Answer::ALL.iter().zip(now.answers).zip(last.answers);
    let fresh = kinds.map(|((kind, now), before)| (kind.as_str(), now.saturating_sub(before)));
    fresh.filter(|(_, n)| *n > 0).map(|(kind, n)| (kind.to_owned(), n)).collect()
}

fn units(item: &ItemState) -> [u64; 3] {
    let counts = item.gauge.counts();
    [counts.pool + counts.in_slots, counts.held, counts.paid]
}

/// The start of the step that contains this time.
fn start_of(at: Millis, step: PointStep) -> Millis {
    let length = step.secs() * 1_000;
    Millis(at.0.div_euclid(length) * length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(answers: &[(&str, u64)], latencies: &[(usize, u64)], held: u64) -> Point {
        Point {
            answers: answers.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect(),
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
        assert_eq!(sum, all);
        assert_eq!(sum.histogram().count(), 9);
    }

    #[test]
    fn a_stored_point_is_read_again() {
        let stored = point(&[("reserved", 2)], &[(3, 7)], 2);
        let text = serde_json::to_string(&stored).expect("plain data");
        assert_eq!(Point::parse(&text), stored);
        assert_eq!(Point::parse("{}"), Point::default());
        assert_eq!(Point::parse("not JSON"), Point::default());
    }

    #[test]
    fn a_step_starts_at_a_multiple_of_its_length() {
        assert_eq!(start_of(Millis(61_999), PointStep::Second), Millis(61_000));
        assert_eq!(start_of(Millis(61_999), PointStep::Minute), Millis(60_000));
        assert_eq!(start_of(Millis(-1), PointStep::Second), Millis(-1_000));
    }
}
