//! Lists payments and refunds, including those of orders that the store does not have.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::payments::{Payment, PaymentList, RefundList};
use doorbuster_api::problem::Problem;
use doorbuster_api::query::MoneyQuery as Query;
use doorbuster_core::TicketId;
use doorbuster_engine::api_conversion;
use doorbuster_store::MoneyQuery;

use crate::App;
use crate::cursor::{List, cursor, position};
use crate::reply::{HandlerError, HandlerResult, ok};

/// The maximum number of payments in the response about one order. `GET /v1/admin/payments` lists
/// all payments, page by page.
const ORDER_PAYMENTS_MAX: usize = 200;

/// `GET /v1/admin/payments`
pub(crate) async fn payments(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let query = money_query(List::Payments, query.as_deref())?;
    let page = app.node.store().payments(query).await?;
    let next_cursor = page.next.map(|next| cursor(List::Payments, next, ""));
    ok(&PaymentList {
        payments: page.rows.iter().map(api_conversion::payment).collect(),
        next_cursor,
    })
}

/// `GET /v1/admin/refunds`
pub(crate) async fn refunds(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let query = money_query(List::Refunds, query.as_deref())?;
    let page = app.node.store().refunds(query).await?;
    let next_cursor = page.next.map(|next| cursor(List::Refunds, next, ""));
    ok(&RefundList { refunds: page.rows.iter().map(api_conversion::refund).collect(), next_cursor })
}

pub(super) async fn payments_of_order(
    app: &App,
    order: TicketId,
) -> Result<Vec<Payment>, HandlerError> {
    let query = MoneyQuery {
        order: Some(order.to_string()),
        oldest_first: true,
        limit: ORDER_PAYMENTS_MAX,
        ..MoneyQuery::default()
    };
    let page = app.node.store().payments(query).await?;
    Ok(page.rows.iter().map(api_conversion::payment).collect())
}

fn money_query(list: List, query: Option<&str>) -> Result<MoneyQuery, Problem> {
    let Query { order, page } = Query::parse(query.unwrap_or_default())?;
    let after = position(list, page.cursor.as_deref())?.map(|(after, _)| after);
    Ok(MoneyQuery { order, after, limit: page.limit as usize, ..MoneyQuery::default() })
}
