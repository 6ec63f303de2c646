//! Records statistics of each sale over time, such as its requests, orders and waiting visitors:
//! - Each node writes one row for each second in which something happened.
//! - The leader adds up the seconds of each node into minutes.
//! - Readers add up the rows of all nodes.
//!
//! While visitors or tickets wait, each node writes at least one row a minute. So a reader finds
//! the present number of waiting visitors and tickets in the rows of the last minute.

mod pending;
pub(crate) mod recorder;
mod step_counts;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_core::{Millis, NodeId, Phase};
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_store::{PointQuery, PointStep, SaleRow, SaleSeriesRow, StoreError};
use doorbuster_telemetry::answer_counts::AnswerKind;
use doorbuster_telemetry::metrics::RateSample;

use super::App;
use recorder::SaleProgress;

pub(crate) use step_counts::StepCounts;
#[cfg(test)]
pub(crate) use step_counts::tests::point;

/// A node begins to record a scheduled sale this long before its opening.
const BEFORE_OPENING_MS: i64 = 3_600_000;
/// A node continues to record a sale for this long after its close, because the last purchases get
/// their verdicts in this time.
const RECORDED_AFTER_CLOSE_MS: i64 = 60_000;
/// The length of a minute. A row has the node's queue length and its number of waiting visitors,
/// and readers use these numbers for at most this time.
pub(crate) const MINUTE_MS: i64 = 60_000;
/// The number of past minutes that the leader adds up each time. Rows can arrive late: if the store
/// does not respond, a node keeps up to 1024 rows and writes them later. For one recorded sale,
/// these are the rows of 17 minutes.
const MINUTES_SUMMED: i64 = 20;
/// The length of the period that a new leader adds up first, because there may have been no leader
/// for some time. The store keeps the rows of seconds for one day.
const FIRST_SUMMED_MS: i64 = 86_400_000;
/// The longest period that one query reads. [`App::sum_minutes`] also uses this time: a minute that
/// began longer ago than this counts as old.
const READ_AT_ONCE_MS: i64 = 3_600_000;
/// If the present second is earlier than the last recorded second by more than this, a node assumes
/// that the clock was set back.
const STEP_BACK_MS: i64 = 10_000;

struct SaleCounts {
    sample: RateSample,
    orders: u64,
}

impl App {
    /// Records every sale at the start of each second, until the program stops.
    pub(crate) async fn run_series(&self) {
        loop {
            self.wait_for_next_second().await;
            let now = self.node.now();
            self.record_seconds(now).await;
            if let Err(error) = self.sum_due_minutes(now).await {
                tracing::debug!(%error, "failed to sum the counts of the last minutes; will retry");
            }
        }
    }

    /// Waits until the next second begins. The clock can be set back during the wait, so one wait
    /// may be too short.
    async fn wait_for_next_second(&self) {
        let second = start_of(self.node.now(), PointStep::Second);
        while start_of(self.node.now(), PointStep::Second) == second {
            tokio::time::sleep(until_next_second(self.node.now())).await;
        }
    }

    /// Records the second in which the program stops, although this second has not ended yet.
    pub(super) async fn record_last_second(&self) {
        self.record_seconds(self.node.now().plus(1_000)).await;
    }

    async fn record_seconds(&self, now: Millis) {
        let sales = self.sales_for_ms(now, RECORDED_AFTER_CLOSE_MS);
        // Reads the counts of all sales before the first `await`. Requests that arrive during an
        // `await` belong to the next second.
        let counts: Vec<SaleCounts> = sales.iter().map(|sale| self.sale_counts(sale)).collect();
        // Readers add up the queues of all nodes, so exactly one node must count each queue. If the
        // nodes share the slots, the leader counts all queues. If each slot belongs to one node,
        // that node counts the slot's queue.
        let layout = self.node.layout();
        let counts_queues = layout.is_node_local() || self.node.control().leads();
        for (sale, counts) in sales.iter().zip(counts) {
            let mut depth = 0;
            for item in sale.items.iter().filter(|_| counts_queues) {
                depth += self.stock.queued(item).await;
            }
            self.record_second(sale, now, counts, depth);
        }
        self.note_upcoming(now);
        self.write_pending().await;
    }

    fn sale_counts(&self, sale: &SaleState) -> SaleCounts {
        SaleCounts {
            sample: sale.runtime.rate_sample(self.views.sale_view(sale).latencies.read()),
            orders: sale.runtime.orders.load(Ordering::Relaxed),
        }
    }

    /// Stores the present counts of each sale whose recording has not begun, so that earlier
    /// requests are not recorded. Removes the counts of sales that are not recorded any more.
    fn note_upcoming(&self, now: Millis) {
        let is_recorded = |row: &SaleRow| is_recorded(row, now, RECORDED_AFTER_CLOSE_MS);
        let is_upcoming = |row: &SaleRow| matches!(row.phase, Phase::Draft | Phase::Scheduled);
        let catalogue = self.node.catalogue();
        let mut progress = self.progress();
        progress.retain(|name, _| {
            catalogue
                .sale(name)
                .is_some_and(|sale| is_upcoming(&sale.row) || is_recorded(&sale.row))
        });
        for sale in catalogue.sales() {
            if !is_upcoming(&sale.row) || is_recorded(&sale.row) {
                continue;
            }
            let latencies = self.views.with(&sale.row.id, |view| view.latencies.read());
            let noted = SaleProgress {
                last: sale.runtime.rate_sample(latencies.unwrap_or_default()),
                orders: sale.runtime.orders.load(Ordering::Relaxed),
                levels: StepCounts::default(),
                second: start_of(now.plus(-2_000), PointStep::Second),
            };
            progress.insert(sale.row.id.clone(), noted);
        }
    }

    /// Returns running sales, sales that open within the next hour, and sales that closed at most
    /// `after_close_ms` ago.
    fn sales_for_ms(&self, now: Millis, after_close_ms: i64) -> Vec<Arc<SaleState>> {
        let catalogue = self.node.catalogue();
        let sales = catalogue.sales().filter(|sale| is_recorded(&sale.row, now, after_close_ms));
        sales.cloned().collect()
    }

    fn progress(&self) -> MutexGuard<'_, HashMap<String, SaleProgress>> {
        self.series.sales.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a point (a row of one second) if the sale's numbers have changed since the last
    /// recorded second. While visitors or tickets wait, also adds a point in each new minute.
    fn record_second(&self, sale: &SaleState, now: Millis, counts: SaleCounts, queue_depth: u64) {
        let SaleCounts { sample, orders } = counts;
        let second = start_of(now.plus(-1_000), PointStep::Second);
        let mut sales = self.progress();
        let progress = sales.entry(sale.row.id.clone()).or_insert_with(|| SaleProgress {
            // A scheduled sale may have got requests before its recording began. The series does
            // not include these requests.
            last: match sale.row.phase {
                Phase::Scheduled => sample.clone(),
                _ => sample.zero(),
            },
            orders: 0,
            levels: StepCounts::default(),
            second: second.plus(-1_000),
        });
        if !is_next(progress.second, second) {
            // The row of this second is already written. The new counts go into a later row.
            return;
        }
        let rooms = self.gate.room.counts();
        let levels = StepCounts {
            items: sale.items.iter().map(|item| (item.row.name.clone(), units(item))).collect(),
            queue_depth,
            waiting: rooms.iter().filter(|r| *r.sale == *sale.row.id).map(|r| r.waiting).sum(),
            ..StepCounts::default()
        };
        let answers = new_answers(&progress.last, &sample);
        let has_counts = !answers.is_empty() || orders != progress.orders;
        let waits = levels.queue_depth > 0 || levels.waiting > 0;
        let is_new_minute =
            start_of(second, PointStep::Minute) != start_of(progress.second, PointStep::Minute);
        if !has_counts && levels == progress.levels && !(waits && is_new_minute) {
            return;
        }
        let latencies = sample.latencies.since(&progress.last.latencies).filled().collect();
        let new_orders = Some(orders.saturating_sub(progress.orders));
        let point = StepCounts { answers, orders: new_orders, latencies, ..levels.clone() };
        *progress = SaleProgress { last: sample, orders, levels, second };
        self.series.pending().push(SaleSeriesRow {
            sale: sale.row.id.clone(),
            step: PointStep::Second,
            at: second,
            node: self.node.id(),
            point: point.to_json(),
        });
    }

    /// Writes the waiting points to the store. If the store fails, the points wait for the next
    /// second.
    async fn write_pending(&self) {
        let points: Vec<SaleSeriesRow> = self.series.pending().points.drain(..).collect();
        if points.is_empty() {
            return;
        }
        if let Err(error) = self.node.store().insert_points(points.clone()).await {
            tracing::debug!(%error, "failed to record the figures of the sales' charts; will retry");
            return self.series.pending().put_back(points);
        }
        let mut pending = self.series.pending();
        let lost = pending.dropped - pending.logged;
        if lost > 0 {
            pending.logged = pending.dropped;
            tracing::warn!(
                event = "sale.numbers_lost",
                points = lost,
                "dropped statistics of sales, because the store did not accept them in time"
            );
        }
    }

    /// On the leader, adds up the seconds of recent minutes, once a minute. Leaves out the last
    /// complete minute, whose rows may still arrive. A new leader first adds up the last day.
    async fn sum_due_minutes(&self, now: Millis) -> Result<(), StoreError> {
        if !self.node.control().leads() {
            self.series.summed.store(0, Ordering::Relaxed);
            return Ok(());
        }
        let minute = start_of(now, PointStep::Minute);
        let last = self.series.summed.load(Ordering::Relaxed);
        if last == minute.0 {
            return Ok(());
        }
        let to = minute.plus(-MINUTE_MS);
        let past_ms = if last == 0 { FIRST_SUMMED_MS } else { MINUTES_SUMMED * MINUTE_MS };
        let mut from = to.plus(-past_ms);
        while from < to {
            let end = from.plus(READ_AT_ONCE_MS).min(to);
            self.sum_minutes(now, past_ms, (from, end)).await?;
            from = end;
        }
        self.series.summed.store(minute.0, Ordering::Relaxed);
        Ok(())
    }

    /// Adds up the seconds from `from` to `to` into rows of minutes. Existing rows of old minutes
    /// are not replaced. The store may have deleted some seconds of these minutes, so a new sum
    /// could be too low.
    async fn sum_minutes(
        &self,
        now: Millis,
        past_ms: i64,
        (from, to): (Millis, Millis),
    ) -> Result<(), StoreError> {
        for sale in self.sales_for_ms(now, 2 * past_ms) {
            let query = PointQuery { sale: sale.row.id.clone(), step: PointStep::Second, from, to };
            let minutes = minutes_of(&self.node.store().points(query).await?);
            let since = now.plus(-READ_AT_ONCE_MS);
            let (recent, old): (Vec<_>, _) = minutes.into_iter().partition(|row| row.at >= since);
            if !old.is_empty() {
                self.node.store().insert_points(old).await?;
            }
            if !recent.is_empty() {
                self.node.store().replace_points(recent).await?;
            }
        }
        Ok(())
    }
}

/// Adds up rows of seconds into rows of minutes. `seconds` must be sorted by time.
fn minutes_of(seconds: &[SaleSeriesRow]) -> Vec<SaleSeriesRow> {
    let mut minutes: BTreeMap<(Millis, NodeId), StepCounts> = BTreeMap::new();
    let mut requests: BTreeMap<Millis, BTreeMap<NodeId, u64>> = BTreeMap::new();
    for second in seconds {
        let minute = start_of(second.at, PointStep::Minute);
        let point = StepCounts::parse(&second.point);
        requests.entry(second.at).or_default().insert(second.node, point.requests());
        minutes.entry((minute, second.node)).or_default().append(&point);
    }
    // The peak of a minute is its busiest second. Readers add up the peaks of all nodes, so the
    // peaks of all nodes must be from the same second.
    let mut busiest: BTreeMap<Millis, &BTreeMap<NodeId, u64>> = BTreeMap::new();
    for (at, nodes) in &requests {
        let most = busiest.entry(start_of(*at, PointStep::Minute)).or_insert(nodes);
        if nodes.values().sum::<u64>() > most.values().sum() {
            *most = nodes;
        }
    }
    for ((minute, node), sum) in &mut minutes {
        sum.peak = busiest[minute].get(node).copied().unwrap_or(0);
    }
    let sale = seconds.first().map(|second| second.sale.clone()).unwrap_or_default();
    let row = |((at, node), point): ((Millis, NodeId), StepCounts)| SaleSeriesRow {
        sale: sale.clone(),
        step: PointStep::Minute,
        at,
        node,
        point: point.to_json(),
    };
    minutes.into_iter().map(row).collect()
}

fn until_next_second(now: Millis) -> Duration {
    let next = start_of(now, PointStep::Second).plus(1_000);
    Duration::from_millis(next.0.abs_diff(now.0))
}

/// Returns whether `second` must be recorded after `last`. A clock that is being adjusted can show
/// one second twice. This second is then recorded only once. If the clock was set back further, the
/// recording continues at once.
fn is_next(last: Millis, second: Millis) -> bool {
    second > last || last.0 - second.0 > STEP_BACK_MS
}

/// Returns whether a sale is recorded now: shortly before its opening, while it runs, and for some
/// time after its close.
fn is_recorded(row: &SaleRow, now: Millis, after_close_ms: i64) -> bool {
    match row.phase {
        Phase::Draft => false,
        Phase::Scheduled => row.starts_at.is_some_and(|at| at.0 - now.0 <= BEFORE_OPENING_MS),
        Phase::Open | Phase::Paused => true,
        Phase::Closed => row.closed_at.is_some_and(|at| now.0 - at.0 <= after_close_ms),
    }
}

fn new_answers(last: &RateSample, now: &RateSample) -> BTreeMap<String, u64> {
    let kinds = AnswerKind::ALL.iter().zip(now.answers).zip(last.answers);
    let fresh = kinds.map(|((kind, now), before)| (kind.as_str(), now.saturating_sub(before)));
    fresh.filter(|(_, n)| *n > 0).map(|(kind, n)| (kind.to_owned(), n)).collect()
}

fn units(item: &ItemState) -> [u64; 3] {
    let counts = item.gauge.counts();
    [counts.pool + counts.in_slots, counts.held, counts.paid]
}

fn start_of(at: Millis, step: PointStep) -> Millis {
    let length = step.secs() * 1_000;
    Millis(at.0.div_euclid(length) * length)
}

#[cfg(test)]
mod tests;
