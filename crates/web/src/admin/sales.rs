//! Creates, lists, reads, changes and deletes sales.

mod change;

pub(crate) use change::change;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::new_sale::{NewItem, NewSale};
use doorbuster_api::admin::sale::AdminSaleList;
use doorbuster_api::header::if_match;
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::problem::{Fault, Problem};
use doorbuster_api::query::SaleQuery;
use doorbuster_core::{Millis, Spread, Stock};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::page_document::{self, ItemTexts};
use doorbuster_store as store;
use doorbuster_store::{DeleteOutcome, recorded};
use http::header::{IF_MATCH, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{etag, no_sale, sale, sale_reply};
use crate::App;
use crate::identity::OperatorIdentity;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, empty, ok};
use crate::request_body::JsonBody;
use crate::sales::page;

/// `POST /v1/admin/sales`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    JsonBody(body): JsonBody<ADMIN_BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewSale::from_json(&body)?;
    check_currencies(&app, &wanted)?;
    let id = wanted.id.clone();
    let created = app.sales.create_sale(stored_sale(&app, wanted));
    let created = recorded(by.action("sale.created", "sale", &id), created).await?;
    let row =
        created.ok_or_else(|| Problem::already_exists("a sale with this id already exists"))?;
    let mut reply = sale_reply(&app, StatusCode::CREATED, &row);
    let location =
        HeaderValue::from_str(&format!("/v1/admin/sales/{id}")).expect("a name is ASCII");
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

/// Checks that each item has one currency for all its prices, because the store keeps only one.
/// Also checks that the payment provider accepts this currency.
fn check_currencies(app: &App, wanted: &NewSale) -> Result<(), Problem> {
    let differs =
        |item: &NewItem| item.list_price.is_some_and(|list| list.currency != item.price.currency);
    let items = || wanted.items.iter().enumerate();
    let mut faults: Vec<Fault> =
        items().filter(|(_, item)| differs(item)).map(|(index, _)| other_currency(index)).collect();
    let unpayable = |(index, item): (usize, &NewItem)| {
        unpayable(app, index, item.price.amount_minor, item.price.currency.as_str())
    };
    faults.extend(items().filter_map(unpayable));
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid_request(faults)) }
}

pub(super) fn unpayable(app: &App, index: usize, minor: i64, currency: &str) -> Option<Fault> {
    let no = app.payments.refuses_price(minor, currency)?;
    Some(Fault::body(format!("/items/{index}/price/{}", no.member), no.why))
}

fn other_currency(index: usize) -> Fault {
    let pointer = format!("/items/{index}/list_price/currency");
    Fault::body(pointer, "must be the currency of the price")
}

fn stored_sale(app: &App, wanted: NewSale) -> store::NewSale {
    let spread = app.sales.first_spread(wanted.items.len());
    let millis = |time: Option<doorbuster_api::value::Time>| time.map(|time| Millis(time.millis()));
    let (title, page) = page_document::sale_columns(wanted.title);
    store::NewSale {
        id: wanted.id,
        title,
        page,
        starts_at: millis(wanted.starts_at),
        ends_at: millis(wanted.ends_at),
        front_door: wanted.front_door.to_json(),
        items: wanted.items.into_iter().map(|item| stored_item(item, spread)).collect(),
    }
}

fn stored_item(item: NewItem, spread: Spread) -> store::NewItem {
    let texts = ItemTexts {
        title: item.title,
        description: item.description,
        gallery: item.gallery,
        facts: item.facts,
    };
    let (title, description, page) = page_document::item_columns(texts);
    store::NewItem {
        name: item.id,
        title,
        description,
        page,
        image: item.image,
        price_minor: item.price.amount_minor,
        currency: item.price.currency.to_string(),
        list_price_minor: item.list_price.map(|price| price.amount_minor),
        limit: item.limit_per_buyer,
        hold_ms: i64::from(item.hold_secs) * 1_000,
        stock: item.stock.count().map_or(Stock::Unlimited, |units| Stock::Counted(units.into())),
        spread,
    }
}

/// `GET /v1/admin/sales`
pub(crate) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> HandlerResult {
    let query = SaleQuery::for_operator(query.as_deref().unwrap_or_default())?;
    let limit = query.page.limit as usize;
    let is_wanted = |row: &store::SaleRow| query.phase.is_none_or(|phase| phase == row.phase);
    let (sales, next_cursor) = page(&app, query.page.cursor.as_deref(), limit, is_wanted)?;
    let sales =
        sales.iter().map(|sale| api_conversion::admin_sale(&sale.row, Some(sale))).collect();
    ok(&AdminSaleList { sales, next_cursor })
}

/// `GET /v1/admin/sales/{sale}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
) -> HandlerResult {
    let sale = sale(&app, &name)?;
    Ok(sale_reply(&app, StatusCode::OK, &sale.row))
}

/// `DELETE /v1/admin/sales/{sale}`
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    OperatorIdentity(by): OperatorIdentity,
    PathNames([name]): PathNames<1>,
    headers: HeaderMap,
) -> HandlerResult {
    let if_version = requested_version(&headers, &*sale(&app, &name)?)?;
    let deleted = app.sales.delete_sale(&name, if_version);
    match recorded(by.action("sale.deleted", "sale", &name), deleted).await? {
        DeleteOutcome::Done => {}
        DeleteOutcome::NotFound => return Err(no_sale().into()),
        DeleteOutcome::VersionMismatch(_) => return Err(Problem::precondition_failed().into()),
        DeleteOutcome::WrongState(phase) => {
            return Err(Problem::wrong_state(phase.as_str(), "only a draft can be deleted").into());
        }
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Checks `If-Match` against the version in this node's memory. Returns this version, which the
/// store must compare with the version in the store. Returns `None` if the request has no
/// `If-Match`.
fn requested_version(headers: &HeaderMap, sale: &SaleState) -> Result<Option<u64>, Problem> {
    let values = || headers.get_all(IF_MATCH).iter().map(HeaderValue::as_bytes);
    if !if_match(values(), &etag(sale.row.version)) {
        return Err(Problem::precondition_failed());
    }
    Ok(values().next().map(|_| sale.row.version))
}
