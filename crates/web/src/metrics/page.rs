//! The names, types and help texts of all metrics. The names must equal the table in the operating
//! guide.

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_core::{Phase, Stock, gate::RateLimitScope};
use doorbuster_engine::meter::{BATCH_BOUNDS, EngineMeter};
use doorbuster_engine::sale_limits::Route;
use doorbuster_engine::scheduler::Work;
use doorbuster_gate::{AnswerOutcome, ChallengeKind, LimitSharing};
use doorbuster_payments::RefundStep;
use doorbuster_store::BlockKind;
use doorbuster_telemetry::answer_counts::AnswerKind;
use doorbuster_telemetry::metrics::{Counter, MetricKind, MetricsText};

use super::store_numbers::{self, StoreNumbers};
use crate::App;
use crate::queue_depth::queue_depth;

pub(super) async fn text(app: &App) -> String {
    let items = app.node.items_with_open_slots();
    let (numbers, depth) = tokio::join!(store_numbers::read(app), queue_depth(app, &items));
    let mut text = MetricsText::default();
    http(app, &mut text);
    purchases(app, &mut text);
    limits(app, &mut text);
    passes(app, &mut text);
    challenges(app, &mut text);
    stock(app, &mut text);
    waitlists(app, &mut text);
    super::sales::phases(app, &mut text);
    super::sales::rooms(app, &mut text);
    super::sales::public_keys(app, &mut text);
    money(app, &numbers, &mut text);
    super::outbox::show(app, &numbers, &mut text);
    super::push::show(app, &mut text);
    engine(app, &numbers, depth, &mut text);
    super::database::show(app, &mut text);
    super::backup::show(app, &mut text);
    super::edge::show(app, &mut text);
    super::slots::show(app, &mut text);
    super::log::show(app, &mut text);
    super::process::show(&mut text);
    text.finish()
}

fn http(app: &App, text: &mut MetricsText) {
    let metrics = &app.metrics;
    text.metric(
        "doorbuster_http_requests_total",
        MetricKind::Counter,
        "Answered requests, by route and status.",
    );
    for (route, status, count) in metrics.requests.read() {
        let status = if status == 0 { "other".to_owned() } else { status.to_string() };
        text.sample(&[("route", route), ("status", &status)], count);
    }
    text.gauge("doorbuster_http_connections", "Open connections.", metrics.connections.get());
    text.counter(
        "doorbuster_http_connections_accepted_total",
        "Accepted connections.",
        metrics.accepted.get(),
    );
    text.counter(
        "doorbuster_http_connections_turned_away_total",
        "Connections refused because the maximum number of connections was open.",
        metrics.turned_away.get(),
    );
    text.counter("doorbuster_auth_denied_total", "Invalid tokens and keys.", metrics.denied.get());
    text.gauge(
        "doorbuster_events_sse",
        "Open streams of server-sent events.",
        metrics.streams.get(),
    );
    text.gauge("doorbuster_events_websockets", "Open WebSockets.", metrics.sockets.get());
    text.gauge(
        "doorbuster_events_websockets_idle",
        "WebSockets that are open and have no task of their own.",
        metrics.idle_sockets.get(),
    );
    text.counter(
        "doorbuster_events_dropped_total",
        "Event streams closed because the client read too slowly.",
        app.node.hub().dropped(),
    );
}

fn purchases(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_purchases_total",
        MetricKind::Counter,
        "Purchase requests that named an item, by answer.",
    );
    let catalogue = app.node.catalogue();
    for answer in AnswerKind::ALL {
        text.sample(&[("answer", answer.as_str())], catalogue.answers(*answer));
    }
    text.metric(
        "doorbuster_purchase_duration_seconds",
        MetricKind::Histogram,
        "Time from a purchase's head to its answer.",
    )
    .histogram(&app.metrics.purchases.read());
    text.gauge(
        "doorbuster_purchases_in_progress",
        "Purchases in progress, without those that the node refuses from memory.",
        app.running_purchases.len(),
    );
    let parked = app.purchases.parked();
    text.gauge(
        "doorbuster_purchases_parked",
        "Purchases that wait for a refill, a recall or a commit.",
        parked,
    );
}

fn limits(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_rate_limited_total",
        MetricKind::Counter,
        "Requests over a limit, by route and scope.",
    );
    let catalogue = app.node.catalogue();
    for route in Route::ALL {
        for scope in RateLimitScope::ALL {
            let count = catalogue.refused(route, scope);
            text.sample(&[("route", route.as_str()), ("scope", scope.as_str())], count);
        }
    }
    text.metric(
        "doorbuster_blocked_total",
        MetricKind::Counter,
        "Requests of blocked buyers and addresses.",
    );
    for kind in BlockKind::ALL {
        text.sample(&[("kind", kind.as_str())], app.gate.blocks.blocked_count(kind));
    }
    let limits = &app.gate.limits;
    text.counter(
        "doorbuster_limits_lost_total",
        "Limit counters discarded early because the table of counters was full.",
        limits.evicted(),
    );
    // If the nodes do not share limits, the counts are zero.
    let counts = limits.sharing().map(LimitSharing::counts).unwrap_or_default();
    text.metric(
        "doorbuster_limits_shared_total",
        MetricKind::Counter,
        "Calls that take shares of limits, and report counted requests to the shared storage.",
    )
    .sample(&[("outcome", "succeeded")], counts.batches)
    .sample(&[("outcome", "failed")], counts.failures);
    text.counter(
        "doorbuster_limits_kept_total",
        "Requests that found this node's queue of calls full. The node decided each request by its \
         own part of the limit, or reported the request later.",
        counts.queue_full,
    );
    text.gauge(
        "doorbuster_limits_unavailable",
        "1 while nodes cannot share limits. Each node then applies its own part of the limits.",
        u8::from(limits.sharing().is_some_and(LimitSharing::is_unreachable)),
    );
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
    text.metric("doorbuster_challenges_total", MetricKind::Counter, "Issued challenges.");
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
        "Answers to challenges, by outcome.",
    );
    for outcome in AnswerOutcome::ALL {
        text.sample(&[("outcome", outcome.as_str())], challenges.outcome_count(outcome));
    }
}

fn stock(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_item_units",
        MetricKind::Gauge,
        "Units of each item by location. Items of unlimited stock have no value.",
    );
    let catalogue = app.node.catalogue();
    let mut sales: Vec<_> = catalogue.sales().filter(|sale| sale.has_open_slots()).collect();
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

fn waitlists(app: &App, text: &mut MetricsText) {
    let catalogue = app.node.catalogue();
    let mut sales: Vec<_> = catalogue
        .sales()
        .filter(|sale| sale.has_open_slots() || sale.row.phase == Phase::Paused)
        .collect();
    sales.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    let items = || sales.iter().flat_map(|sale| &sale.items);
    text.metric(
        "doorbuster_waitlist_entries",
        MetricKind::Gauge,
        "Buyers on the waitlist of an item.",
    );
    for item in items() {
        text.sample(&[("sale", &item.sale), ("item", &item.row.name)], item.gauge.counts().waiting);
    }
    text.metric(
        "doorbuster_waitlist_kept_units",
        MetricKind::Gauge,
        "Units of an item's pool that are kept for the waitlist.",
    );
    for item in items() {
        text.sample(&[("sale", &item.sale), ("item", &item.row.name)], item.gauge.counts().kept);
    }
    let meter = app.node.meter();
    text.metric(
        "doorbuster_waitlist_ended_total",
        MetricKind::Counter,
        "Waitlist entries that this node ended, by outcome.",
    )
    .sample(&[("outcome", "served")], meter.waitlist_served.get())
    .sample(&[("outcome", "passed_over")], meter.waitlist_passed_over.get())
    .sample(&[("outcome", "closed")], meter.waitlist_closed.get());
}

fn money(app: &App, numbers: &StoreNumbers, text: &mut MetricsText) {
    let meter = app.payments.meter();
    text.metric(
        "doorbuster_payment_messages_total",
        MetricKind::Counter,
        "Messages of payment providers, by outcome.",
    );
    for outcome in PaymentEventOutcome::ALL {
        text.sample(&[("outcome", outcome.as_str())], meter.messages[outcome as usize].get());
    }
    text.sample(&[("outcome", "refused")], meter.refused.get());
    text.metric(
        "doorbuster_refunds_total",
        MetricKind::Counter,
        "Queries to a provider about a refund, by answer.",
    );
    for answer in RefundStep::ALL {
        text.sample(&[("answer", answer.as_str())], meter.refunds[answer as usize].get());
    }
    text.metric(
        "doorbuster_checkouts_asked_total",
        MetricKind::Counter,
        "Queries to a provider about a checkout.",
    )
    .sample(&[("outcome", "answered")], meter.answered.get())
    .sample(&[("outcome", "failed")], meter.unanswered.get());
    text.gauge(
        "doorbuster_checkouts_lag_seconds",
        "Longest time that units have waited for their checkout to close.",
        if app.node.control().leads() { meter.lag_secs() } else { 0.0 },
    );
    // The page lacks this metric if the store is unavailable.
    if let Some(refunds) = numbers.refunds_pending {
        text.gauge("doorbuster_refunds_pending", "Refunds that have not arrived.", refunds);
    }
}

fn counters(meter: &EngineMeter) -> [(&'static str, &'static str, &Counter); 13] {
    [
        (
            "doorbuster_tickets_settled_total",
            "Tickets settled: requests that reached a transaction of the store.",
            &meter.tickets,
        ),
        ("doorbuster_refills_total", "Refills from pools to slots.", &meter.refills),
        (
            "doorbuster_refilled_units_total",
            "Units that refills moved from pools to slots.",
            &meter.refilled_units,
        ),
        ("doorbuster_orders_expired_total", "Orders whose hold ended unpaid.", &meter.expired),
        ("doorbuster_recalls_total", "Recalls of units from slots.", &meter.recalls),
        (
            "doorbuster_leader_changes_total",
            "Times that this node became or stopped being the leader.",
            &meter.leads,
        ),
        (
            "doorbuster_lease_lapses_total",
            "Times that this node did not renew its lease in time.",
            &meter.lapses,
        ),
        (
            "doorbuster_requests_retried_total",
            "Requests that the node sent to a slot again because the slot's grant was closed.",
            &meter.retried,
        ),
        (
            "doorbuster_sales_reread_total",
            "Sales read again because another node changed them.",
            &meter.reloads,
        ),
        (
            "doorbuster_catalogue_reads_total",
            "Checks for changes that other nodes made to the catalogue.",
            &meter.catalogue_checks,
        ),
        (
            "doorbuster_catalogue_reloads_total",
            "Times that this node read all sales from the store.",
            &meter.read_all,
        ),
        (
            "doorbuster_status_renders_total",
            "Times that a sale's status snapshot, which all readers share, was rebuilt.",
            &meter.view_renders,
        ),
        (
            "doorbuster_audit_findings_total",
            "Findings of the continuous audit; any finding is an alarm.",
            &meter.findings,
        ),
    ]
}

fn engine(app: &App, numbers: &StoreNumbers, depth: u64, text: &mut MetricsText) {
    let meter = app.node.meter();
    text.gauge("doorbuster_settle_queue_tickets", "Tickets issued and not settled.", depth);
    text.metric(
        "doorbuster_settle_batch_tickets",
        MetricKind::Histogram,
        "Tickets settled in one commit.",
    )
    .buckets(&BATCH_BOUNDS, &meter.batches.each_ref().map(Counter::get), meter.tickets.get());
    for (name, help, counter) in counters(meter) {
        text.counter(name, help, counter.get());
    }
    text.gauge(
        "doorbuster_is_leader",
        "1 while this node is the leader.",
        u8::from(app.node.control().leads()),
    );
    text.metric(
        "doorbuster_delayed_work_late_seconds",
        MetricKind::Gauge,
        "On the leader: seconds since the planned start of the current run, or 0 between two runs.",
    );
    for work in Work::ALL {
        if let Some(late) = app.node.control().scheduler().delay_secs(work) {
            text.sample(&[("work", work.as_str())], late);
        }
    }
    text.gauge(
        "doorbuster_nodes",
        "Live nodes, including this node.",
        app.node.live_nodes().count().now(),
    );
    let alarm = u8::from(app.node.clock_stepped());
    text.gauge("doorbuster_clock_alarm", "1 while the wall clock is not trusted.", alarm);
    // The page lacks this metric if the store is unavailable.
    if let Some(closings) = &numbers.closings {
        text.metric(
            "doorbuster_grants_closed_total",
            MetricKind::Counter,
            "Grants closed since the store was created, by cause.",
        );
        for (cause, grants) in closings {
            text.sample(&[("cause", cause.as_str())], grants);
        }
        let repairs: u64 =
            closings.iter().filter(|(cause, _)| cause.is_fault()).map(|(_, grants)| grants).sum();
        text.counter("doorbuster_repairs_total", "Grants closed because a slot failed.", repairs);
    }
}
