//! `GET /v1/admin/audit`: every invariant checked now.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::audit::{Audit, AuditItem, Finding};
use http::StatusCode;

use crate::web::failure::failed;
use crate::web::reply::{Answer, json};
use crate::web::{App, wire};

pub(crate) async fn get(State(app): State<Arc<App>>) -> Answer {
    let view = app.engine.audit().await.map_err(failed)?;
    let findings: Vec<Finding> = view
        .findings
        .into_iter()
        .map(|finding| {
            let (sale, item) = finding.item.unzip();
            Finding { rule: finding.rule, sale, item, detail: finding.detail }
        })
        .collect();
    let items = view.items.iter().map(|item| {
        let row = wire::stock_row(&item.item, &item.counts);
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
        checked_at: wire::time(view.checked_at),
        repairs: view.repairs,
        findings,
        notices: Vec::new(),
        items: items.collect(),
    };
    Ok(json(StatusCode::OK, &audit))
}
