//! `GET /v1/admin/exports/reconciliation`: units and money held against each other, now.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::export::{Difference, MoneySums, ReconciledItem, Reconciliation};
use doorbuster_core::Stock;
use doorbuster_store as store;
use http::StatusCode;

use super::wanted;
use crate::web::failure::failed;
use crate::web::reply::{Answer, json};
use crate::web::{App, wire};

pub(crate) async fn get(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer {
    let sale = wanted(&app, query.as_deref()).await?;
    let store = app.engine.store();
    let checked_at = wire::time(store.now());
    let books = store.books(sale).await.map_err(failed)?;
    let name = |found: &store::Difference| {
        let item = books.items.iter().find(|item| Some(item.item) == found.item);
        item.map(|item| (item.sale.clone(), item.name.clone())).unzip()
    };
    let differences: Vec<Difference> = books
        .differences
        .iter()
        .map(|found| {
            let (sale, item) = name(found);
            let (order, payment) = (found.order.clone(), found.payment.clone());
            Difference {
                kind: found.kind.as_str().to_owned(),
                sale,
                item,
                order,
                payment,
                detail: found.detail.clone(),
            }
        })
        .collect();
    let report = Reconciliation {
        ok: differences.is_empty(),
        checked_at,
        items: books.items.iter().map(item).collect(),
        elsewhere: books.elsewhere.iter().map(sums).collect(),
        differences,
        complete: books.complete,
    };
    Ok(json(StatusCode::OK, &report))
}

fn item(books: &store::ItemBooks) -> ReconciledItem {
    let total = match books.total {
        Stock::Counted(units) => Some(units),
        Stock::Unlimited => None,
    };
    let counted = |units: u64| total.map(|_| units);
    // Both factors are bounded so that this fits; a store that broke its bounds has differences.
    let due = books.price_minor.saturating_mul(i64::try_from(books.paid).unwrap_or(i64::MAX));
    ReconciledItem {
        sale: books.sale.clone(),
        item: books.name.clone(),
        total,
        pool: counted(books.pool),
        in_slots: counted(books.in_slots),
        held: books.held,
        paid: books.paid,
        ended: books.ended,
        price: wire::amount(books.price_minor, &books.currency),
        due: wire::amount(due, &books.currency),
        money: books.money.iter().map(sums).collect(),
    }
}

fn sums(sums: &store::MoneySums) -> MoneySums {
    MoneySums {
        currency: wire::amount(0, &sums.currency).currency,
        captured: sums.captured,
        standing: sums.standing,
        refunded: sums.refunded,
        pending: sums.pending,
        failed: sums.failed,
    }
}
