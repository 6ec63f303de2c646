//! `GET /v1/admin/exports/…`: sends lists as CSV, oldest row first. The server reads the next page
//! from the store only after the client has received the previous page.

mod csv;
mod ledger;
#[cfg(test)]
mod pages;
pub(crate) mod reconciliation;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use bytes::Bytes;
use doorbuster_api::admin::console::Action;
use doorbuster_api::admin::export::Export;
use doorbuster_api::admin::payments::{Payment, Refund};
use doorbuster_api::order::Order;
use doorbuster_api::query::{ActionQuery, parse_exported_sale};
use doorbuster_core::ItemId;
use doorbuster_engine::api_conversion;
use doorbuster_engine::error::EngineError;
use doorbuster_store::{self as store, MoneyQuery, OrderQuery};
use futures_util::stream::unfold;

use self::csv::CsvLines;
use self::ledger::LedgerExport;
use super::actions::action_view;
use super::orders::item_ids;
use super::sale;
use crate::App;
use crate::limits::EXPORT_PAGE;
use crate::orders::order_views;
use crate::reply::{HandlerError, HandlerResult, Reply, csv_reply};

/// `GET /v1/admin/exports/orders.csv`, `payments.csv`, `refunds.csv`, `ledger.csv`
pub(crate) async fn list(
    export: Export,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let wanted = parse_exported_sale(query.as_deref().unwrap_or_default())?;
    let sale = existing_sale(&app, wanted).await?;
    let source = match export {
        Export::Ledger => ExportSource::Ledger(Box::new(LedgerExport::for_sale(sale))),
        _ => ExportSource::List { items: item_ids(&app, sale.as_deref(), None), after: Some(0) },
    };
    Ok(export_reply(app, export, source))
}

/// `GET /v1/admin/exports/actions.csv`
pub(crate) async fn actions(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let ActionQuery { by, action, subject, page: _ } =
        ActionQuery::for_export(query.as_deref().unwrap_or_default())?;
    let query = store::ActionQuery {
        by,
        action,
        subject,
        oldest_first: true,
        limit: EXPORT_PAGE,
        ..store::ActionQuery::default()
    };
    let source = ExportSource::Actions { query, after: Some(0) };
    Ok(export_reply(app, Export::Actions, source))
}

/// Refreshes the catalogue, because another node may have created the sale. Then checks that the
/// named sale exists.
async fn existing_sale(app: &App, wanted: Option<String>) -> Result<Option<String>, HandlerError> {
    app.catalogue_reader.refresh().await?;
    if let Some(name) = &wanted {
        sale(app, name)?;
    }
    Ok(wanted)
}

fn export_reply(app: Arc<App>, export: Export, source: ExportSource) -> Reply {
    let body = axum::body::Body::from_stream(unfold(
        Some(ExportWriter { app, export, source, begun: false }),
        write,
    ));
    csv_reply(export.as_str(), body)
}

struct ExportWriter {
    app: Arc<App>,
    export: Export,
    source: ExportSource,
    begun: bool,
}

/// The source of an export's lines. `after` is the position of the last row that was read. `after`
/// is `None` once all rows have been read.
enum ExportSource {
    /// The rows of a list in the store, for some items or for all items.
    List {
        items: Option<Vec<ItemId>>,
        after: Option<i64>,
    },
    Ledger(Box<LedgerExport>),
    /// The operators' actions that match the query.
    Actions {
        query: store::ActionQuery,
        after: Option<i64>,
    },
}

async fn write(
    writer: Option<ExportWriter>,
) -> Option<(Result<Bytes, EngineError>, Option<ExportWriter>)> {
    let mut writer = writer?;
    let mut lines = CsvLines::default();
    if !std::mem::replace(&mut writer.begun, true) {
        lines.header(writer.export.header());
    }
    match writer.read(&mut lines).await {
        Ok(_) if !lines.is_empty() => Some((Ok(lines.into_text().into()), Some(writer))),
        Ok(true) => Some((Ok(Bytes::new()), Some(writer))),
        Ok(false) => None,
        // The status is already sent, so the server cannot answer with an error. The server breaks
        // the connection to show the client that lines are missing.
        Err(error) => {
            tracing::warn!(
                %error,
                export = writer.export.as_str(),
                event = "server.export_failed",
                "failed to finish an export"
            );
            Some((Err(error), None))
        }
    }
}

impl ExportWriter {
    /// Reads the next rows, and writes them to `lines`. Returns `false` if the export is complete.
    async fn read(&mut self, lines: &mut CsvLines) -> Result<bool, EngineError> {
        match &mut self.source {
            ExportSource::Ledger(ledger) => return ledger.next(&self.app, lines).await,
            ExportSource::List { after: None, .. } | ExportSource::Actions { after: None, .. } => {
                return Ok(false);
            }
            ExportSource::List { items, after } => {
                *after = write_page(&self.app, self.export, items.clone(), *after, lines).await?;
            }
            ExportSource::Actions { query, after } => {
                *after = write_actions(&self.app, query, *after, lines).await?;
            }
        }
        Ok(true)
    }
}

/// Writes one page of actions. Returns the next page's position, or `None` after the last page.
async fn write_actions(
    app: &App,
    query: &store::ActionQuery,
    after: Option<i64>,
    lines: &mut CsvLines,
) -> Result<Option<i64>, EngineError> {
    let query = store::ActionQuery { after, ..query.clone() };
    let page = app.node.store().actions(query).await?;
    page.rows.into_iter().for_each(|row| write_action(lines, &action_view(row)));
    Ok(page.next)
}

/// Writes one page of a list. Returns the next page's position, or `None` after the last page.
async fn write_page(
    app: &App,
    export: Export,
    items: Option<Vec<ItemId>>,
    after: Option<i64>,
    lines: &mut CsvLines,
) -> Result<Option<i64>, EngineError> {
    let store = app.node.store();
    let (limit, oldest_first) = (EXPORT_PAGE, true);
    let money = |items| MoneyQuery { items, after, limit, oldest_first, ..MoneyQuery::default() };
    match export {
        Export::Payments => {
            let page = store.payments(money(items)).await?;
            page.rows.iter().for_each(|row| write_payment(lines, &api_conversion::payment(row)));
            Ok(page.next)
        }
        Export::Refunds => {
            let page = store.refunds(money(items)).await?;
            page.rows.iter().for_each(|row| write_refund(lines, &api_conversion::refund(row)));
            Ok(page.next)
        }
        // The ledger and the actions have an `ExportSource` of their own, so this code runs only
        // for orders.
        Export::Orders | Export::Ledger | Export::Actions => {
            let query = OrderQuery { items, after, limit, oldest_first, ..OrderQuery::default() };
            let page = store.orders(query).await?;
            order_views(app, &page.rows).await?.iter().for_each(|row| write_order(lines, row));
            Ok(page.next)
        }
    }
}

fn write_order(lines: &mut CsvLines, row: &Order) {
    lines.value(&row.id).text(&row.sale).text(&row.item).text(&row.buyer).value(row.units);
    lines.value(row.amount.amount_minor).value(row.amount.currency).value(row.state.as_str());
    lines
        .value(row.reserved_at)
        .value(row.pay_by)
        .optional(row.paid_at)
        .optional(row.ended_at)
        .end_line();
}

fn write_action(lines: &mut CsvLines, row: &Action) {
    let changes = serde_json::to_string(&row.changes).unwrap_or_default();
    lines.value(&row.id).value(row.at).text(&row.by).text(&row.action).text(&row.subject);
    lines
        .text(&changes)
        .text(row.address.as_deref().unwrap_or_default())
        .text(row.request_id.as_deref().unwrap_or_default())
        .end_line();
}

fn write_payment(lines: &mut CsvLines, row: &Payment) {
    lines
        .text(&row.payment)
        .text(&row.order)
        .value(row.amount.amount_minor)
        .value(row.amount.currency);
    lines.value(row.state.as_str()).text(&row.provider).value(row.at).end_line();
}

fn write_refund(lines: &mut CsvLines, row: &Refund) {
    lines.value(&row.refund).text(&row.payment).text(&row.order).value(row.amount.amount_minor);
    lines
        .value(row.amount.currency)
        .value(row.state.as_str())
        .value(row.cause.as_str())
        .text(&row.provider);
    lines
        .value(row.tries)
        .text(row.error.as_deref().unwrap_or_default())
        .value(row.at)
        .optional(row.settled_at)
        .end_line();
}

#[cfg(test)]
mod tests {
    use doorbuster_api::admin::console::FieldChange;
    use doorbuster_api::admin::payments::{PaymentState, RefundCause, RefundState};
    use doorbuster_api::order::OrderState;
    use doorbuster_api::value::{Currency, Money, Time};

    use super::*;

    fn money(amount_minor: i64) -> Money {
        Money { amount_minor, currency: Currency::parse("CNY").expect("three capitals") }
    }

    fn check(export: Export, write: impl FnOnce(&mut CsvLines), expected: &str) {
        let mut lines = CsvLines::default();
        write(&mut lines);
        assert_eq!(lines.into_text(), format!("{expected}\r\n"));
        assert_eq!(
            expected.matches(',').count(),
            export.header().matches(',').count(),
            "{}",
            export.as_str()
        );
    }

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let at = Time::from_millis(0);
        let order_row = Order {
            id: "ord_1".into(),
            sale: "spring".into(),
            item: "phone".into(),
            buyer: "-1".into(),
            units: 2,
            amount: money(20),
            state: OrderState::Reserved,
            reserved_at: at,
            pay_by: Time::from_millis(1_000),
            paid_at: None,
            ended_at: None,
        };
        let expected = "ord_1,spring,phone,'-1,2,20,CNY,reserved,1970-01-01T00:00:00.000Z,1970-01-01T00:00:01.000Z,,";
        check(Export::Orders, |lines| write_order(lines, &order_row), expected);
        let row = Action {
            id: "act_1".into(),
            at,
            by: "=key".into(),
            action: "sale.changed".into(),
            subject: "sale:spring".into(),
            changes: vec![FieldChange { path: "/title".into(), from: "=1".into(), to: "b".into() }],
            address: None,
            request_id: Some("req_1".into()),
        };
        let mut lines = CsvLines::default();
        write_action(&mut lines, &row);
        let expected = "act_1,1970-01-01T00:00:00.000Z,'=key,sale.changed,sale:spring,\
            \"[{\"\"path\"\":\"\"/title\"\",\"\"from\"\":\"\"=1\"\",\"\"to\"\":\"\"b\"\"}]\",,req_1\r\n";
        assert_eq!(lines.into_text(), expected);
        let row = Payment {
            payment: "pay_1".into(),
            order: "\"none\"".into(),
            amount: money(7),
            state: PaymentState::Refunded,
            provider: "sandbox".into(),
            at,
        };
        let expected = "pay_1,\"\"\"none\"\"\",7,CNY,refunded,sandbox,1970-01-01T00:00:00.000Z";
        check(Export::Payments, |lines| write_payment(lines, &row), expected);
        let row = Refund {
            refund: "ref_1".into(),
            payment: "=1".into(),
            order: "ord_1".into(),
            amount: money(7),
            state: RefundState::Failed,
            cause: RefundCause::Late,
            provider: "sandbox".into(),
            tries: 3,
            error: Some("a \"bad\" card".into()),
            at,
            settled_at: None,
        };
        let expected = "ref_1,'=1,ord_1,7,CNY,failed,late,sandbox,3,\"a \"\"bad\"\" card\",1970-01-01T00:00:00.000Z,";
        check(Export::Refunds, |lines| write_refund(lines, &row), expected);
    }
}
