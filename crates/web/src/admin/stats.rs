//! `GET /v1/admin/sales/{sale}/stats`: the statistics of a sale on this node.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use axum::extract::State;
use doorbuster_api::admin::stats::{Latency, Rates, Stats};
use doorbuster_core::gate::RateLimitScope;
use doorbuster_engine::api_conversion;
use doorbuster_engine::sale_limits::{Route, SaleLimitState};
use doorbuster_telemetry::answer_counts::AnswerKind;
use doorbuster_telemetry::metrics::{RateSample, WINDOW_SECS};

use super::sale;
use crate::App;
use crate::path_names::PathNames;
use crate::queue_depth::queue_depth;
use crate::reply::{HandlerResult, ok};

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
) -> HandlerResult {
    let sale = sale(&app, &name)?;
    let view = app.views.sale_view(&sale);
    let now = sale.runtime.rate_sample(view.latencies.read());
    let oldest = view.window.lock().unwrap_or_else(PoisonError::into_inner).oldest().clone();
    // After a time without requests, the oldest sample may be younger than the window. The rate is
    // still computed over the whole window, because no request came in the part of the window
    // before this sample.
    let secs = now.at.duration_since(oldest.at).as_secs_f64().max(f64::from(WINDOW_SECS));
    let count = |sample: &RateSample, wanted: &dyn Fn(AnswerKind) -> bool| -> u64 {
        AnswerKind::ALL
            .iter()
            .zip(sample.answers)
            .filter(|(kind, _)| wanted(**kind))
            .map(|(_, count)| count)
            .sum()
    };
    let rate = |wanted: &dyn Fn(AnswerKind) -> bool| {
        let fresh = count(&now, wanted).saturating_sub(count(&oldest, wanted));
        (fresh as f64 / secs * 10.0).round() / 10.0
    };
    let recent = now.latencies.since(&oldest.latencies);
    let of = |kind: AnswerKind| count(&now, &|other| other == kind);
    let refusals = AnswerKind::ALL
        .iter()
        .filter(|kind| kind.is_refusal())
        .map(|kind| (kind.as_str().to_owned(), of(*kind)));
    let stats = Stats {
        sale: name,
        server_time: api_conversion::time(app.node.now()),
        window_secs: WINDOW_SECS,
        per_second: Rates {
            requests: rate(&|_| true),
            reserved: rate(&|kind| kind == AnswerKind::Reserved),
            refused: rate(&AnswerKind::is_refusal),
        },
        latency_ms: Latency {
            p50: recent.quantile_ms(0.5),
            p99: recent.quantile_ms(0.99),
            max: recent.quantile_ms(1.0),
        },
        requests: now.total(),
        reserved: of(AnswerKind::Reserved),
        queued: of(AnswerKind::Queued),
        replayed: of(AnswerKind::Replayed),
        refusals: refusals.filter(|(_, count)| *count > 0).collect(),
        rate_limited: rate_limited(&sale.runtime.limits),
        queue_depth: queue_depth(&app, &sale.items).await,
    };
    ok(&stats)
}

fn rate_limited(limits: &SaleLimitState) -> BTreeMap<String, BTreeMap<String, u64>> {
    let by_scope = |route: Route| -> BTreeMap<String, u64> {
        let refused =
            |scope: RateLimitScope| (scope.as_str().to_owned(), limits.refused(route, scope));
        let counts = RateLimitScope::ALL.map(refused);
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    };
    let counts = Route::ALL.map(|route| (route.as_str().to_owned(), by_scope(route)));
    counts.into_iter().filter(|(_, counts)| !counts.is_empty()).collect()
}
