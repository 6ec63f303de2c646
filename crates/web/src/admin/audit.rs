//! `GET /v1/admin/audit`: checks every invariant of the store now.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::audit::{Audit, AuditItem, Finding, Notice};
use doorbuster_core::money::{RefundCause, ReversalKind};
use doorbuster_engine::api_conversion;
use doorbuster_engine::control::audit;
use doorbuster_store as store;

use crate::App;
use crate::reply::{HandlerResult, ok};

pub(crate) async fn get(State(app): State<Arc<App>>) -> HandlerResult {
    let view = audit(&app.node).await?;
    let lost = view.lost.iter().map(lost_orders);
    let findings: Vec<Finding> = view
        .findings
        .into_iter()
        .map(|finding| {
            let (sale, item) = finding.item.unzip();
            Finding { rule: finding.rule, sale, item, detail: finding.detail }
        })
        .chain(lost)
        .collect();
    let items = view.items.iter().map(|item| {
        let row = api_conversion::stock_row(&item.item, &item.counts);
        AuditItem {
            sale: item.sale.clone(),
            item: row.item,
            total: row.total,
            pool: row.pool,
            in_slots: row.in_slots,
            held: row.held,
            paid: row.paid,
        }
    });
    let audit = Audit {
        ok: findings.is_empty(),
        checked_at: api_conversion::time(view.checked_at),
        repairs: view.repairs,
        findings,
        notices: view
            .reversals
            .iter()
            .map(reversed)
            .chain(view.notices.iter().map(notice))
            .chain(view.history.iter().filter_map(restored))
            .chain(view.history.iter().filter_map(database_changed))
            .collect(),
        items: items.collect(),
    };
    ok(&audit)
}

/// Returns the notice of a payment that was reversed without a request by this server. Either
/// someone refunded the payment in the provider's dashboard, or the buyer's bank disputed the
/// payment.
fn reversed(found: &store::ReversedPayment) -> Notice {
    let said = match found.kind {
        ReversalKind::Returned => "was refunded in the provider's own dashboard",
        ReversalKind::Disputed => "is disputed by the buyer's bank",
    };
    let money = &found.money;
    let (payment, minor, currency) = (&found.payment.0, money.minor, &money.currency);
    Notice {
        kind: found.kind.as_str().to_owned(),
        order: Some(found.order.clone()),
        detail: format!(
            "payment {payment}: {minor} {currency} in minor units {said}; its order did not \
             change, and you decide what happens to the order"
        ),
    }
}

fn notice(found: &store::RefundNotice) -> Notice {
    let said = match found.what {
        RefundCause::Mismatch => "does not have its order's amount",
        RefundCause::Second => "came for an order that was already paid",
        RefundCause::UnknownOrder => "named an order that does not exist",
        RefundCause::Late | RefundCause::Operator => "is refunded",
    };
    let money = &found.money;
    Notice {
        kind: found.what.as_str().to_owned(),
        order: Some(found.order.clone()),
        detail: format!(
            "payment {}, {} {} in minor units, {said}",
            found.payment.0, money.minor, money.currency
        ),
    }
}

/// Returns the finding about orders that a failover lost: a node acknowledged these orders to its
/// clients, but the new primary lacks them or has them in an earlier state.
fn lost_orders(found: &store::LostOrders) -> Finding {
    let store::LostOrders { node, fence, at, acknowledged, lost, sample } = found;
    Finding {
        rule: "lost_orders".to_owned(),
        sale: None,
        item: None,
        detail: format!(
            "at {}, node {node} compared its {acknowledged} newest orders with the database \
             (fence {fence}): of these orders, {lost} are missing or in an earlier state, \
             among them {}",
            api_conversion::time(*at),
            sample.join(" ")
        ),
    }
}

/// Returns the notice of a failover, or of a move to another database. The row stays in the store,
/// so every later audit repeats this notice.
fn database_changed(row: &store::StoreHistoryRow) -> Option<Notice> {
    let change = match row.cause {
        store::HistoryCause::Promoted => {
            "a standby became the primary, or a recovery to a point in time ended"
        }
        store::HistoryCause::Moved => "the rows were moved to another database",
        store::HistoryCause::Created | store::HistoryCause::Restored => return None,
    };
    let at = api_conversion::time(row.at);
    let (fence, sales) = (row.fence, paused_sales(row));
    Some(Notice {
        kind: "database_changed".to_owned(),
        order: None,
        detail: format!(
            "{change} at {at} (fence {fence}); this change paused these sales (phase before \
             the pause in brackets): {sales}"
        ),
    })
}

fn paused_sales(row: &store::StoreHistoryRow) -> String {
    let sale = |paused: &store::PausedSale| format!("{} ({})", paused.sale, paused.was.as_str());
    let sales: Vec<String> = row.paused.iter().map(sale).collect();
    if sales.is_empty() { "none".to_owned() } else { sales.join(", ") }
}

/// Returns the notice of a restored backup. The row stays in the store, so every later audit
/// repeats this notice.
fn restored(row: &store::StoreHistoryRow) -> Option<Notice> {
    let backup_at = row.backup_at?;
    let sales = paused_sales(row);
    Some(Notice {
        kind: "store_restored".to_owned(),
        order: None,
        detail: format!(
            "the store was restored at {} from a backup of {}; after the restore, these sales \
             were paused (phase before the restore in brackets): {sales}; the store lacks all \
             orders, payments and events after the backup",
            api_conversion::time(row.at),
            api_conversion::time(backup_at)
        ),
    })
}
