//! Serves sales as buyers see them. Reads the store only for a sale that this node does not know.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use bytes::{BufMut, BytesMut};
use doorbuster_api::header::if_none_match;
use doorbuster_api::problem::Problem;
use doorbuster_api::query::SaleQuery;
use doorbuster_api::value::Text;
use doorbuster_core::Phase;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::page_document;
use doorbuster_store::SaleRow;
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::App;
use super::cursor::{List, cursor, position};
use super::path_names::PathNames;
use super::rendered::Rendered;
use super::reply::{HandlerResult, Reply, empty, rendered};

/// A sale changes rarely, so caches may keep it for a minute.
const SALE_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=60");
/// Caches may keep a status, or the list of sales, for one second.
const STATUS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// `GET /v1/sales`
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> HandlerResult {
    let query = SaleQuery::for_buyer(query.as_deref().unwrap_or_default())?;
    let limit = query.page.limit as usize;
    let is_wanted = |row: &SaleRow| {
        row.phase != Phase::Draft && query.search.as_deref().is_none_or(|text| has_text(row, text))
    };
    let (sales, next) = page(&app, query.page.cursor.as_deref(), limit, is_wanted)?;
    let mut body = BytesMut::from(&br#"{"sales":["#[..]);
    for (index, sale) in sales.iter().enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        // Each entry is the JSON object of a sale, with one more member: the sale's status.
        let shown = app.views.sale(sale).await.bytes;
        body.extend_from_slice(&shown[..shown.len() - 1]);
        body.extend_from_slice(br#","status":"#);
        body.extend_from_slice(&app.views.status(sale).await.bytes);
        body.put_u8(b'}');
    }
    let next = serde_json::to_string(&next).expect("a text or null serialises");
    body.extend_from_slice(format!(r#"],"next_cursor":{next}}}"#).as_bytes());
    Ok(cached(&headers, &Rendered::from_bytes(body.freeze()), STATUS_CACHE))
}

/// Returns whether a title of the sale or of one of its items contains the text. Searches all
/// languages, and ignores case.
fn has_text(row: &SaleRow, text: &str) -> bool {
    let wanted = text.to_lowercase();
    let has = |title: Text| {
        title.in_languages().iter().any(|(_, title)| title.to_lowercase().contains(&wanted))
    };
    has(page_document::sale_title(row))
        || row.items.iter().any(|item| has(page_document::item_texts(item).title))
}

/// `GET /v1/sales/{sale}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathNames([sale]): PathNames<1>,
    headers: HeaderMap,
) -> HandlerResult {
    let sale = find_sale(&app, &sale).await?;
    Ok(cached(&headers, &app.views.sale(&sale).await, SALE_CACHE))
}

/// `GET /v1/sales/{sale}/status`
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    PathNames([sale]): PathNames<1>,
    headers: HeaderMap,
) -> HandlerResult {
    let sale = find_sale(&app, &sale).await?;
    Ok(cached(&headers, &app.views.status(&sale).await, STATUS_CACHE))
}

/// Returns the sale with this name. If this node does not know the sale, refreshes the catalogue,
/// because another node may have just created or opened the sale.
pub(crate) async fn find_sale(app: &App, name: &str) -> Result<Arc<SaleState>, Problem> {
    match shown(app, name) {
        Ok(sale) => Ok(sale),
        Err(_) => {
            app.catalogue_reader.refresh_paced().await;
            shown(app, name)
        }
    }
}

/// Returns the sale if buyers may see it.
pub(crate) fn shown(app: &App, name: &str) -> Result<Arc<SaleState>, Problem> {
    let catalogue = app.node.catalogue();
    let sale = catalogue.sale(name).filter(|sale| sale.row.phase != Phase::Draft);
    sale.cloned().ok_or_else(|| Problem::not_found("there is no such sale"))
}

/// Returns one page of the list of sales, newest first, and the cursor of the next page.
pub(crate) fn page(
    app: &App,
    after: Option<&str>,
    limit: usize,
    is_wanted: impl Fn(&SaleRow) -> bool,
) -> Result<(Vec<Arc<SaleState>>, Option<String>), Problem> {
    let after = position(List::Sales, after)?;
    let place = |sale: &SaleState| (std::cmp::Reverse(sale.row.created_at.0), sale.row.id.clone());
    let after = after.map(|(created_at, name)| (std::cmp::Reverse(created_at), name));
    let catalogue = app.node.catalogue();
    let mut sales: Vec<_> = catalogue
        .sales()
        .filter(|sale| {
            is_wanted(&sale.row) && after.as_ref().is_none_or(|after| place(sale) > *after)
        })
        .cloned()
        .collect();
    sales.sort_by_cached_key(|sale| place(sale));
    let more = sales.len() > limit;
    sales.truncate(limit);
    let last = sales.last().filter(|_| more);
    let next = last.map(|sale| cursor(List::Sales, sale.row.created_at.0, &sale.row.id));
    Ok((sales, next))
}

/// Returns JSON that caches may keep, or `304` if the client has it already.
pub(crate) fn cached(headers: &HeaderMap, it: &Rendered, cache: HeaderValue) -> Reply {
    let etag = it.etag.to_str().expect("an ETag is ASCII");
    let known =
        if_none_match(headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes), etag);
    let mut reply = match known {
        true => empty(StatusCode::NOT_MODIFIED),
        false => rendered(StatusCode::OK, "application/json", it.bytes.clone()),
    };
    reply.headers_mut().insert(ETAG, it.etag.clone());
    reply.headers_mut().insert(CACHE_CONTROL, cache);
    reply
}
