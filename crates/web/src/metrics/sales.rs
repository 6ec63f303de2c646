//! The metrics of sales, of their waiting rooms, and of the public keys that verify buyers' tokens.

use doorbuster_core::Phase;
use doorbuster_gate::waiting_room::WaitingRoomCounts;
use doorbuster_telemetry::metrics::{MetricKind, MetricsText};

use crate::App;

/// Writes the phases of sales, and how many seconds of statistics were dropped because the store
/// did not accept them in time.
pub(super) fn phases(app: &App, text: &mut MetricsText) {
    text.metric(
        "doorbuster_sale_phase",
        MetricKind::Gauge,
        "1 for the current phase of a sale: scheduled, open or paused.",
    );
    let catalogue = app.node.catalogue();
    let is_shown = |phase: Phase| !matches!(phase, Phase::Draft | Phase::Closed);
    let mut sales: Vec<_> = catalogue.sales().filter(|sale| is_shown(sale.row.phase)).collect();
    sales.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    for sale in sales {
        text.sample(&[("sale", &sale.row.id), ("phase", sale.row.phase.as_str())], 1);
    }
    text.counter(
        "doorbuster_series_points_dropped_total",
        "Number of seconds whose statistics of a sale the store did not accept in time.",
        app.series.dropped(),
    );
}

pub(super) fn rooms(app: &App, text: &mut MetricsText) {
    let counts = app.gate.room.counts();
    let mut show =
        |name: &'static str, kind, help: &'static str, number: fn(&WaitingRoomCounts) -> u64| {
            text.metric(name, kind, help);
            for room in &counts {
                let item = room.item.as_deref().map(|item| ("item", item));
                let labels: Vec<_> = [("sale", &*room.sale)].into_iter().chain(item).collect();
                text.sample(&labels, number(room));
            }
        };
    show(
        "doorbuster_waiting_room_waiting",
        MetricKind::Gauge,
        "Positions that are not admitted yet.",
        |room| room.waiting,
    );
    let admitted = "Positions admitted by any node.";
    show("doorbuster_waiting_room_admitted_total", MetricKind::Counter, admitted, |room| {
        room.admitted
    });
    show(
        "doorbuster_waiting_room_positions",
        MetricKind::Gauge,
        "Positions in this node's memory.",
        |room| room.in_memory,
    );
    let help = "Positions read from the store because this node's memory had no answer.";
    text.counter("doorbuster_waiting_room_polls_total", help, app.gate.room.store_lookups());
}

/// Writes the number of public keys. There is no value if tokens are signed with a secret.
pub(super) fn public_keys(app: &App, text: &mut MetricsText) {
    text.gauge_if(
        "doorbuster_auth_public_keys",
        "Public keys with which the server verifies buyers' tokens; with 0 no buyer can sign in.",
        app.buyers.public_keys(),
    );
}
