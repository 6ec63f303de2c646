//! `GET /v1/admin/sales/{sale}/items/{item}/waitlist`: the waitlist entries of one item.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::console::WaitlistList;
use doorbuster_api::problem::Problem;
use doorbuster_api::query::parse_page;
use doorbuster_core::TicketN;
use doorbuster_engine::api_conversion;

use super::sale;
use crate::App;
use crate::cursor::{self, List, unknown_cursor};
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, ok};

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    PathNames([name, item]): PathNames<2>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let page = parse_page(query.as_deref().unwrap_or_default())?;
    let sale = sale(&app, &name)?;
    let item = sale.item(&item).ok_or_else(|| Problem::not_found("the sale has no such item"))?;
    // The cursor contains two numbers: the number of the previous page's last entry, and the count
    // of all entries up to this entry.
    let (after, before) = match cursor::position(List::Waitlist, page.cursor.as_deref())? {
        Some((after, count)) => (after, count.parse::<u64>().map_err(|_| unknown_cursor())?),
        None => (0, 0),
    };
    let (after, limit) = (TicketN(after.unsigned_abs()), page.limit as usize);
    let found = app.node.store().waitlist(item.row.id, after, limit).await?;
    let shown = before + found.rows.len() as u64;
    let next_cursor = found.next.map(|n| cursor::cursor(List::Waitlist, n, &shown.to_string()));
    let entries = (before..)
        .zip(&found.rows)
        .map(|(ahead, entry)| api_conversion::waiting(item, entry, ahead));
    ok(&WaitlistList { entries: entries.collect(), next_cursor })
}
