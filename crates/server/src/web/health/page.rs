//! The metrics' names, kinds and help, in one place. The operating guide's table is held to it by a
//! test.

use doorbuster_core::{Phase, Stock};
use doorbuster_store::BlockKind;

use crate::answer_counts::Answer;
use crate::gate::waiting_room::WaitingRoomCounts;
use crate::gate::{AnswerOutcome, ChallengeKind, LimitSharing, Route, SCOPES};
use crate::meter::{BATCH_BOUNDS, MeterReading};
use crate::metrics::{MetricKind, MetricsText};
use crate::web::App;

/// The page of metrics.
pub(super) async fn text(app: &App) -> String {
    let mut text = MetricsText::default();
    http(app, &mut text);
    purchases(app, &mut text);
    limits(app, &mut text);
    passes(app, &mut text);
    challenges(app, &mut text);
    stock(app, &mut text);
    waitlists(app, &mut text);
    rooms(app, &mut text);
    money(app, &mut text).await;
    super::outbox::show(app, &mut text).await;
    engine(app, &mut text).await;
    text.finish()
}

fn http(app: &App, text: &mut MetricsText) {
    let metrics = &app.metrics;
    text.metric(
        "doorbuster_http_requests_total",
        MetricKind::Counter,
        "Requests answered, by route and status.",
    );
    for (route, status, count) in metrics.requests.read() {
        let status = if status == 0 { "other".to_owned() } else { status.to_string() };
        text.sample(&[("route", route), ("status", &status)], count);
    }
    let numbers = [
        (
            "doorbuster_http_connections",
            MetricKind::Gauge,
            "Connections open now.",
            metrics.connections.get(),
        ),
        (
            "doorbuster_http_connections_accepted_total",
            MetricKind::Counter,
            "Connections accepted.",
            metrics.accepted.get(),
        ),
        (
            "doorbuster_http_connections_turned_away_total",
            MetricKind::Counter,
            "Connections over the cap, which heard 503 or nothing.",
            metrics.turned_away.get(),
        ),
        (
            "doorbuster_auth_denied_total",
            MetricKind::Counter,
            "Tokens and keys that did not hold.",
            metrics.denied.get(),
        ),
        (
            "doorbuster_events_sse",
            MetricKind::Gauge,
            "Streams of server-sent events open now.",
            metrics.streams.get(),
        ),
        (
            "doorbuster_events_websockets",
            MetricKind::Gauge,
            "WebSockets open now.",
            metrics.sockets.get(),
        ),
        (
            "doorbuster_events_websockets_idle",
            MetricKind::Gauge,
            "WebSockets open now to which nothing happens and of which little is kept.",
            metrics.idle_sockets.get(),
        ),
        (
            "doorbuster_events_dropped_total",
            MetricKind::Counter,
            "Readers of events dropped because they were too slow.",
            metrics.dropped.get(),
        ),
    ];
    for (name, kind, help, number) in numbers {
        text.metric(name, kind, help).sample(&[], number);
    }
}

fn purchases(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_purchases_total",
        MetricKind::Counter,
        "Purchase requests that named an item, by answer.",
    );
    let catalogue = app.engine.catalogue();
    for answer in Answer::ALL {
        let count: u64 = catalogue.sales().map(|sale| sale.flags.answer_counts.get(*answer)).sum();
        text.sample(&[("answer", answer.as_str())], count);
    }
    text.metric(
        "doorbuster_purchase_duration_seconds",
        MetricKind::Histogram,
        "From a purchase's head to its answer.",
    )
    .histogram(&app.metrics.purchases.read());
    text.metric(
        "doorbuster_purchases_in_progress",
        MetricKind::Gauge,
        "Purchases past the look from memory, not answered.",
    )
    .sample(&[], app.running_purchases.len());
    let parked = app.engine.parked().load(std::sync::atomic::Ordering::Relaxed);
    text.metric(
        "doorbuster_purchases_parked",
        MetricKind::Gauge,
        "Purchases waiting for a refill, a recall or a commit.",
    )
    .sample(&[], parked);
}

fn limits(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_rate_limited_total",
        MetricKind::Counter,
        "Requests that were too many, by route and measure.",
    );
    let catalogue = app.engine.catalogue();
    for route in Route::ALL {
        for scope in SCOPES {
            let count: u64 =
                catalogue.sales().map(|sale| sale.flags.limits.refused(route, scope)).sum();
            text.sample(&[("route", route.as_str()), ("scope", scope.as_str())], count);
        }
    }
    text.metric(
        "doorbuster_blocked_total",
        MetricKind::Counter,
        "Requests of buyers and addresses that operators turn away.",
    );
    for kind in BlockKind::ALL {
        text.sample(&[("kind", kind.as_str())], app.gate.blocks.blocked_count(kind));
    }
    let limits = &app.gate.limits;
    text.metric(
        "doorbuster_limits_lost_total",
        MetricKind::Counter,
        "States of limits forgotten early for want of room.",
    )
    .sample(&[], limits.evicted());
    // Zero where nodes share nothing.
    let counts = limits.sharing().map(LimitSharing::counts).unwrap_or_default();
    text.metric(
        "doorbuster_limits_shared_total",
        MetricKind::Counter,
        "Round trips that tell other nodes what was let in.",
    )
    .sample(&[("outcome", "told")], counts.batches)
    .sample(&[("outcome", "failed")], counts.failures);
    text.metric(
        "doorbuster_limits_kept_total",
        MetricKind::Counter,
        "Keys that waited to be told of because too many did.",
    )
    .sample(&[], counts.kept);
    text.metric(
        "doorbuster_limits_unavailable",
        MetricKind::Gauge,
        "1 while limits cannot be shared and each node holds to its share.",
    )
    .sample(&[], u8::from(limits.sharing().is_some_and(LimitSharing::is_unreachable)));
}

fn passes(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_passes_total",
        MetricKind::Counter,
        "Requests for a purchase pass, by answer.",
    );
    for (answer, count) in app.gate.passes.counts() {
        text.sample(&[("answer", answer)], count);
    }
}

fn challenges(app: &App, text: &mut MetricsText) {
    let challenges = &app.gate.challenges;
    text.metric("doorbuster_challenges_total", MetricKind::Counter, "Challenges given out.");
    for kind in ChallengeKind::ALL {
        text.sample(&[("kind", kind.as_str())], challenges.issued_and_ready(kind).0);
    }
    text.metric("doorbuster_challenges_ready", MetricKind::Gauge, "Challenges drawn in advance.");
    for kind in ChallengeKind::ALL {
        text.sample(&[("kind", kind.as_str())], challenges.issued_and_ready(kind).1);
    }
    text.metric(
        "doorbuster_challenge_answers_total",
        MetricKind::Counter,
        "Answers to challenges, by what came of them.",
    );
    for outcome in AnswerOutcome::ALL {
        text.sample(&[("outcome", outcome.as_str())], challenges.outcome_count(outcome));
    }
}

fn stock(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_item_units",
        MetricKind::Gauge,
        "Units of each item by where they are; counted stock only.",
    );
    let catalogue = app.engine.catalogue();
    let mut sales: Vec<_> = catalogue.sales().filter(|sale| sale.is_warm()).collect();
    sales.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    for item in sales.iter().flat_map(|sale| &sale.items) {
        let counts = item.gauge.counts();
        let Stock::Counted(_) = counts.total else { continue };
        let places = [
            ("pool", counts.pool),
            ("in_slots", counts.in_slots),
            ("held", counts.held),
            ("paid", counts.paid),
        ];
        for (place, units) in places {
            text.sample(&[("sale", &item.sale), ("item", &item.row.name), ("place", place)], units);
        }
    }
}

/// Who waits for units that come back.
fn waitlists(app: &App, text: &mut MetricsText) {
    let catalogue = app.engine.catalogue();
    let mut sales: Vec<_> = catalogue
        .sales()
        .filter(|sale| sale.is_warm() || sale.row.phase == Phase::Paused)
        .collect();
    sales.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    let items = || sales.iter().flat_map(|sale| &sale.items);
    text.metric(
        "doorbuster_waitlist_entries",
        MetricKind::Gauge,
        "Buyers in line for a unit of an item that comes back.",
    );
    for item in items() {
        text.sample(&[("sale", &item.sale), ("item", &item.row.name)], item.gauge.counts().waiting);
    }
    text.metric(
        "doorbuster_waitlist_kept_units",
        MetricKind::Gauge,
        "Units of an item's pool that are kept for those in line.",
    );
    for item in items() {
        text.sample(&[("sale", &item.sale), ("item", &item.row.name)], item.gauge.counts().kept);
    }
    let reading = app.engine.meter().read();
    text.metric(
        "doorbuster_waitlist_ended_total",
        MetricKind::Counter,
        "Places in line that this node ended, by what became of them.",
    )
    .sample(&[("outcome", "served")], reading.waitlist_served)
    .sample(&[("outcome", "passed_over")], reading.waitlist_passed_over)
    .sample(&[("outcome", "closed")], reading.waitlist_closed);
}

fn rooms(app: &App, text: &mut MetricsText) {
    let counts = app.gate.room.counts();
    let mut show =
        |name: &'static str, kind, help: &'static str, number: fn(&WaitingRoomCounts) -> u64| {
            text.metric(name, kind, help);
            for room in &counts {
                text.sample(&[("sale", &room.sale)], number(room));
            }
        };
    show(
        "doorbuster_waiting_room_waiting",
        MetricKind::Gauge,
        "Places that were not called in yet.",
        |room| room.waiting,
    );
    let called = "Places that were called in, by whichever node.";
    show("doorbuster_waiting_room_admitted_total", MetricKind::Counter, called, |room| room.called);
    show(
        "doorbuster_waiting_room_positions",
        MetricKind::Gauge,
        "Places in this node's memory.",
        |room| room.in_memory,
    );
    let looks = "Places that were looked for in the store because memory did not say enough.";
    text.metric("doorbuster_waiting_room_polls_total", MetricKind::Counter, looks)
        .sample(&[], app.gate.room.store_lookups());
}

async fn money(app: &App, text: &mut MetricsText) {
    let meter = app.payments.meter();
    text.metric(
        "doorbuster_payment_messages_total",
        MetricKind::Counter,
        "Providers' messages, by what they came to.",
    );
    for (outcome, count) in meter.messages() {
        text.sample(&[("outcome", outcome)], count);
    }
    text.sample(&[("outcome", "refused")], meter.refused());
    text.metric(
        "doorbuster_refunds_total",
        MetricKind::Counter,
        "Questions to a provider about a refund, by its answer.",
    );
    for (answer, count) in meter.refunds() {
        text.sample(&[("answer", answer)], count);
    }
    let (outcome_count, in_vain) = meter.checks();
    text.metric(
        "doorbuster_checkouts_asked_total",
        MetricKind::Counter,
        "Questions to a provider about a checkout.",
    )
    .sample(&[("outcome", "answered")], outcome_count)
    .sample(&[("outcome", "failed")], in_vain);
    text.metric(
        "doorbuster_checkouts_lag_seconds",
        MetricKind::Gauge,
        "How long units have waited for a checkout to be closed, of those that wait longest.",
    )
    .sample(&[], meter.lag_secs());
    // The store may be away: then it is missing rather than wrong.
    if let Ok(refunds) = app.engine.store().refunds_pending().await {
        text.metric(
            "doorbuster_refunds_pending",
            MetricKind::Gauge,
            "Refunds that did not arrive yet.",
        )
        .sample(&[], refunds);
    }
}

fn counters(reading: &MeterReading) -> [(&'static str, &'static str, u64); 13] {
    [
        (
            "doorbuster_tickets_settled_total",
            "Tickets settled: requests that came as far as the store.",
            reading.tickets,
        ),
        ("doorbuster_refills_total", "Refills from pools to slots.", reading.refills),
        ("doorbuster_refilled_units_total", "Units in these refills.", reading.refilled_units),
        ("doorbuster_orders_expired_total", "Orders whose hold ended unpaid.", reading.expired),
        ("doorbuster_recalls_total", "Recalls of units from slots.", reading.recalls),
        (
            "doorbuster_leader_changes_total",
            "Times that this node took or lost the lead.",
            reading.leads,
        ),
        (
            "doorbuster_lease_lapses_total",
            "Times that this node was away for longer than its lease.",
            reading.lapses,
        ),
        (
            "doorbuster_requests_retried_total",
            "Requests put again because their ticket's grant was closed.",
            reading.retried,
        ),
        (
            "doorbuster_sales_reread_total",
            "Sales read again because another node changed them.",
            reading.reloads,
        ),
        (
            "doorbuster_catalogue_reads_total",
            "Looks at the truth for others' changes of the catalogue.",
            reading.catalogue_checks,
        ),
        (
            "doorbuster_catalogue_reloads_total",
            "Times that this node read all sales from the store, for itself and for others.",
            reading.read_all,
        ),
        (
            "doorbuster_status_renders_total",
            "Times that a sale's status snapshot, which all readers share, was rebuilt.",
            reading.view_renders,
        ),
        (
            "doorbuster_audit_findings_total",
            "Findings of the continuous audit; any is an alarm.",
            reading.findings,
        ),
    ]
}

async fn engine(app: &App, text: &mut MetricsText) {
    let reading = app.engine.meter().read();
    let depth = queue_depth(app).await;
    text.metric(
        "doorbuster_settle_queue_tickets",
        MetricKind::Gauge,
        "Tickets cut and not settled.",
    )
    .sample(&[], depth);
    text.metric(
        "doorbuster_settle_batch_tickets",
        MetricKind::Histogram,
        "Tickets settled in one commit.",
    )
    .buckets(&BATCH_BOUNDS, &reading.batches, reading.tickets);
    for (name, help, number) in counters(&reading) {
        text.metric(name, MetricKind::Counter, help).sample(&[], number);
    }
    text.metric(
        "doorbuster_is_leader",
        MetricKind::Gauge,
        "1 while this node does the work of one for all.",
    )
    .sample(&[], u8::from(app.engine.control().leads()));
    text.metric("doorbuster_nodes", MetricKind::Gauge, "Nodes alive, this one included.")
        .sample(&[], app.engine.nodes());
    let alarm = u8::from(app.engine.clock_stepped());
    text.metric(
        "doorbuster_clock_alarm",
        MetricKind::Gauge,
        "1 while the wall clock is not believed and nothing expires.",
    )
    .sample(&[], alarm);
    // The store may be away: then these are missing rather than wrong.
    if let Ok(closings) = app.engine.store().closings().await {
        text.metric(
            "doorbuster_grants_closed_total",
            MetricKind::Counter,
            "Grants closed since the store was made, by cause.",
        );
        for (cause, grants) in &closings {
            text.sample(&[("cause", cause.as_str())], grants);
        }
        let repairs: u64 =
            closings.iter().filter(|(cause, _)| cause.is_fault()).map(|(_, grants)| grants).sum();
        text.metric(
            "doorbuster_repairs_total",
            MetricKind::Counter,
            "Grants closed because a slot failed.",
        )
        .sample(&[], repairs);
    }
}

/// Tickets that wait for their verdicts.
async fn queue_depth(app: &App) -> u64 {
    let mut depth = 0;
    for item in app.engine.warm_items() {
        depth += app.engine.queued(&item).await;
    }
    depth
}
