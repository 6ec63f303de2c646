//! `GET /v1/admin/sales/{sale}/series`: a sale's numbers over time, summed over all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::console::{Series, SeriesItem, SeriesPoint};
use doorbuster_api::limits::SERIES_STEPS_MAX;
use doorbuster_api::problem::{Fault, FaultLocation, Problem};
use doorbuster_api::query::SeriesQuery;
use doorbuster_core::{Millis, NodeId, Stock};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_store::{PointQuery, PointStep, SaleSeriesRow};
use doorbuster_telemetry::answer_counts::AnswerKind;

use super::sale;
use crate::App;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, ok};
use crate::series::{MINUTE_MS, StepCounts};

/// The length of the series in milliseconds, if the request has no `from`.
const DEFAULT_MS: i64 = 3_600_000;
/// The leader writes the row of a minute some time after the minute ends. So rows of minutes may be
/// missing in the period of this many milliseconds before `to`. Rows of seconds replace the missing
/// rows.
const RECENT_MS: i64 = 600_000;

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let query = SeriesQuery::for_operator(query.as_deref().unwrap_or_default())?;
    let sale = sale(&app, &name)?;
    let length = i64::from(query.step_secs) * 1_000;
    // With `to`, the last step contains the millisecond before `to`. Without `to`, the last step
    // contains the present time.
    let last = query.to.map_or(app.node.now(), |to| Millis(to.millis() - 1));
    let mut to = Millis(last.0.div_euclid(length) * length + length);
    let from = query.from.map_or(to.plus(-DEFAULT_MS), |from| Millis(from.millis()));
    let mut from = Millis(from.0.div_euclid(length) * length);
    let wrong_from = |detail: &'static str| {
        let place = FaultLocation::Query("from".into());
        Problem::invalid_request(vec![Fault::new(place, detail)])
    };
    // If `from` equals `to`, the period is empty: the step that contains this time is not returned.
    if query.to.is_some() && query.from == query.to {
        from = to;
    }
    // Without `to`, a client wants the newest steps. If the client's clock is slightly fast, `from`
    // is in the future. The response is then an empty list of steps, and not an error.
    if query.to.is_none() && from <= to.plus(length) {
        to = to.max(from);
    }
    if from > to {
        let detail = "must not be after to; if to is absent, it is the present time";
        return Err(wrong_from(detail).into());
    }
    let steps = (to.0 - from.0) / length;
    // A period of the maximum length may begin or end within a step. Then it covers one step more
    // than the maximum, and the response omits the first step.
    let is_exact =
        [query.from, query.to].iter().all(|at| at.is_some_and(|at| at.millis() % length == 0));
    if steps == i64::from(SERIES_STEPS_MAX) + 1 && !is_exact {
        from = from.plus(length);
    } else if steps > i64::from(SERIES_STEPS_MAX) {
        let detail = "at most 3,600 steps are read at once; choose a later time or a longer step";
        return Err(wrong_from(detail).into());
    }
    let step = if query.step_secs == 60 { PointStep::Minute } else { PointStep::Second };
    let store = app.node.store();
    // If a node has no row for a minute or second, its numbers of waiting tickets and visitors are
    // the numbers in its previous row. So this query also reads the minute before `from`.
    let minutes_or_seconds =
        PointQuery { sale: name.clone(), step, from: from.plus(-MINUTE_MS), to };
    let mut rows = store.points(minutes_or_seconds).await?;
    if step == PointStep::Minute {
        let recent = from.max(to.plus(-RECENT_MS));
        let seconds = PointQuery { sale: name, step: PointStep::Second, from: recent, to };
        let seconds = store.points(seconds).await?;
        let is_open = |second: &SaleSeriesRow| {
            let minute = Millis(second.at.0.div_euclid(length) * length);
            !rows.iter().any(|row| row.at == minute && row.node == second.node)
        };
        let open: Vec<SaleSeriesRow> = seconds.into_iter().filter(is_open).collect();
        rows.extend(open);
    }
    let nodes = rows.iter().map(|row| (row.at, row.node, counts_of(row)));
    let points = add_up(nodes, from, length);
    let points = points.iter().map(|(at, point)| point_view(&sale, *at, point)).collect();
    let (from, to) = (api_conversion::time(from), api_conversion::time(to));
    ok(&Series { step_secs: query.step_secs, from, to, points })
}

/// Parses the row's counts. `peak` is the number of requests in the busiest second. In a row of one
/// second, `peak` is the number of requests in that second.
fn counts_of(row: &SaleSeriesRow) -> StepCounts {
    let mut counts = StepCounts::parse(&row.point);
    if row.step == PointStep::Second {
        counts.peak = counts.requests();
    }
    counts
}

/// Adds up the points of all nodes at each time, and then combines the times since `from` into
/// steps of `length` milliseconds. If a node has no point at a time, the queue length and the
/// number of waiting visitors come from its previous point. A previous point that is at least a
/// minute old is ignored.
fn add_up(
    rows: impl Iterator<Item = (Millis, NodeId, StepCounts)>,
    from: Millis,
    length: i64,
) -> BTreeMap<Millis, StepCounts> {
    let mut times: BTreeMap<Millis, BTreeMap<NodeId, StepCounts>> = BTreeMap::new();
    for (at, node, point) in rows {
        times.entry(at).or_default().insert(node, point);
    }
    let mut levels: BTreeMap<NodeId, (Millis, StepCounts)> = BTreeMap::new();
    let mut steps: BTreeMap<Millis, StepCounts> = BTreeMap::new();
    for (at, nodes) in times {
        levels.extend(nodes.iter().map(|(node, point)| (*node, (at, point.levels()))));
        // While visitors or tickets wait at a node, the node writes a row at least once a minute.
        levels.retain(|_, (since, _)| at.0 - since.0 < MINUTE_MS);
        let mut sum = StepCounts::default();
        for (node, (_, level)) in &levels {
            sum.add_node(nodes.get(node).unwrap_or(level));
        }
        if at >= from {
            let step = Millis(at.0.div_euclid(length) * length);
            steps.entry(step).or_default().append(&sum);
        }
    }
    steps
}

fn point_view(sale: &SaleState, at: Millis, point: &StepCounts) -> SeriesPoint {
    let latencies = point.histogram();
    let is_refusal = |kind: &str| {
        AnswerKind::ALL.iter().any(|known| known.as_str() == kind && known.is_refusal())
    };
    let refused = point.answers.iter().filter(|(kind, _)| is_refusal(kind));
    let is_unlimited = |item: &str| {
        sale.item(item).is_some_and(|item| item.gauge.counts().total == Stock::Unlimited)
    };
    let items = point.items.iter().map(|(item, [free, held, paid])| SeriesItem {
        item: item.clone(),
        free: (!is_unlimited(item)).then_some(*free),
        held: *held,
        paid: *paid,
    });
    let requests = point.requests();
    SeriesPoint {
        at: api_conversion::time(at),
        requests,
        // `None` for a minute that an older version of the program stored without its busiest
        // second.
        busiest_second: (point.peak > 0 || requests == 0).then_some(point.peak),
        reserved: point.orders(),
        refused: refused.map(|(kind, count)| (kind.clone(), *count)).collect(),
        p50_ms: latencies.quantile_ms(0.5),
        p99_ms: latencies.quantile_ms(0.99),
        items: items.collect(),
        queue_depth: point.queue_depth,
        waiting: point.waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::point;

    #[test]
    fn a_node_without_a_point_has_its_last_levels_for_a_minute() {
        let (leader, other) = (NodeId(1), NodeId(2));
        let queue = |depth| StepCounts { queue_depth: depth, ..StepCounts::default() };
        let rows = [
            (Millis(9_000), leader, point(&[("reserved", 3)], &[], 4)),
            (Millis(12_000), other, queue(1)),
            (Millis(15_000), leader, queue(6)),
            (Millis(75_000), other, queue(2)),
        ];
        let steps = add_up(rows.into_iter(), Millis(10_000), 1_000);
        let shown: Vec<_> =
            steps.iter().map(|(at, step)| (at.0, step.queue_depth, step.waiting)).collect();
        assert_eq!(shown, [(12_000, 5, 5), (15_000, 7, 0), (75_000, 2, 0)]);
        assert_eq!(
            steps[&Millis(12_000)].answers,
            BTreeMap::new(),
            "a step must not repeat the answers of an earlier step"
        );
    }
}
