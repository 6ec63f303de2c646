//! `GET /v1/admin/exports/orders.csv`: oldest order first, a page at a time out of the store while the reader takes it.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use bytes::Bytes;
use doorbuster_api::admin::order::CSV_HEADER;
use doorbuster_api::order::Order;
use doorbuster_api::query::exported_sale;
use doorbuster_core::ItemId;
use doorbuster_store::{OrderQuery, StoreError};
use futures_util::stream::unfold;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};

use super::orders::items;
use super::sale;
use crate::web::limits::EXPORT_PAGE;
use crate::web::reply::{Answer, ReplyBody};
use crate::web::{App, wire};

/// How far an export has come.
enum At {
    Start,
    After(i64),
    End,
}

pub(crate) async fn orders(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer {
    let wanted = exported_sale(query.as_deref().unwrap_or_default())?;
    if let Some(name) = &wanted {
        sale(&app, name)?;
    }
    let items = items(&app, wanted.as_deref(), None);
    let body = axum::body::Body::from_stream(unfold(At::Start, move |at| {
        let (app, items) = (app.clone(), items.clone());
        async move {
            let after = match at {
                At::Start => None,
                At::After(position) => Some(position),
                At::End => return None,
            };
            let lines = page(&app, items, after).await;
            match lines {
                Ok((lines, next)) => Some((Ok(lines), next.map_or(At::End, At::After))),
                // Breaking off is the only way left to say that lines are missing.
                Err(error) => Some((Err(error), At::End)),
            }
        }
    }));
    let mut reply = Response::new(ReplyBody::Routed(body));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"orders.csv\""));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(reply)
}

/// The next lines, the header before the first, and where to go on.
async fn page(app: &App, items: Option<Vec<ItemId>>, after: Option<i64>) -> Result<(Bytes, Option<i64>), StoreError> {
    let query = OrderQuery { items, after, limit: EXPORT_PAGE, ..OrderQuery::default() };
    let page = app.engine.store().orders_oldest_first(query).await.inspect_err(|error| {
        tracing::warn!(%error, "an export broke off");
    })?;
    let mut lines = String::new();
    if after.is_none() {
        lines.push_str(CSV_HEADER);
        lines.push_str("\r\n");
    }
    let catalogue = app.engine.catalogue();
    for order in page.orders.iter().filter_map(|order| wire::order_in(&catalogue, order)) {
        line(&mut lines, &order);
    }
    Ok((lines.into(), page.next))
}

/// One order as a line. Its cells are names, numbers and times, none of which needs quotes.
fn line(lines: &mut String, order: &Order) {
    let time = |time: Option<doorbuster_api::value::Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let cells = [
        order.id.clone(),
        order.sale.clone(),
        order.item.clone(),
        order.buyer.clone(),
        order.units.to_string(),
        order.amount.amount_minor.to_string(),
        order.amount.currency.to_string(),
        order.state.as_str().to_owned(),
        order.reserved_at.to_string(),
        order.pay_by.to_string(),
        time(order.paid_at),
        time(order.ended_at),
    ];
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            lines.push(',');
        }
        // A spreadsheet would take such a cell for a formula.
        if cell.starts_with(['=', '+', '-', '@']) {
            lines.push('\'');
        }
        lines.push_str(cell);
    }
    lines.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_api::order::OrderState;
    use doorbuster_api::value::{Currency, Money, Time};

    #[test]
    fn a_cell_that_looks_like_a_formula_is_told_apart() {
        let order = Order {
            id: "ord_1".into(),
            sale: "spring".into(),
            item: "phone".into(),
            buyer: "-1".into(),
            units: 2,
            amount: Money { amount_minor: 20, currency: Currency::parse("CNY").expect("three capitals") },
            state: OrderState::Reserved,
            reserved_at: Time::from_millis(0),
            pay_by: Time::from_millis(1_000),
            paid_at: None,
            ended_at: None,
        };
        let mut lines = String::new();
        line(&mut lines, &order);
        assert_eq!(
            lines,
            "ord_1,spring,phone,'-1,2,20,CNY,reserved,1970-01-01T00:00:00.000Z,1970-01-01T00:00:01.000Z,,\r\n"
        );
        assert_eq!(lines.matches(',').count(), CSV_HEADER.matches(',').count());
    }
}
