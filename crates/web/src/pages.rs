//! Serves the pages, which are the same for every visitor. In a demonstration, this file also
//! issues guests' tokens.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{MethodFilter, MethodRouter, on};
use doorbuster_api::header::accepts_explicitly;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_core::{Phase, TicketId};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_DISPOSITION, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Serialize;
use tokio::time::Instant;

use super::assets::AssetFile;
use super::method_router::get;
use super::path_names::PathNames;
use super::payment::checkout::request_host;
use super::reply::{HandlerError, HandlerResult, empty, json, rendered};
use super::sales::find_sale;
use super::{App, page_html, payment, push, request_body, sales, sign_in};

const INDEX_INTERVAL: Duration = Duration::from_secs(1);
const NOTHING_HERE: &str = "there is nothing at this address";

/// Returns the path, name and handler of each route outside the API.
pub(crate) fn routes(app: &App) -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    let page = |name: &'static str| {
        get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
            app.live().assets.page(name, &headers)
        })
    };
    let mut routes = vec![
        ("/", "page", get(index)),
        ("/orders", "page", get(|| async { redirect(StatusCode::FOUND, "/#orders") })),
        ("/favicon.ico", "asset", get(icon)),
        ("/console", "page", page("console.html")),
        ("/sale/{sale}", "page", get(sale)),
        ("/sale/{sale}/calendar.ics", "page", get(calendar)),
        ("/order/{order}", "page", get(order)),
        ("/assets/{name}", "asset", get(asset)),
        ("/push.js", "asset", get(push::worker)),
    ];
    if app.oidc.is_some() {
        routes.extend(sign_in::routes());
    }
    if app.payments.sandbox().is_some() {
        routes.extend(payment::sandbox::routes());
    }
    if app.guests.is_some() {
        routes.push(("/demo/guest", "guest", on(MethodFilter::POST, guest)));
    }
    routes
}

/// Serves the page with the list of sales. If the rendered page is at least a second old, renders
/// it again. The rendering reads only memory.
async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    if let Some((made_at, page)) = lock(&app).as_mut() {
        if made_at.elapsed() < INDEX_INTERVAL {
            return Ok(page.reply(&headers));
        }
        // The old page counts as new for another second. So while this request renders the new
        // page, other requests get the old page.
        *made_at = Instant::now();
    }
    let (sales, _) =
        sales::page(&app, None, page_html::LISTED_MAX, |row| row.phase != Phase::Draft)?;
    let mut listed = Vec::with_capacity(sales.len());
    for sale in &sales {
        let state = app.views.state(sale).await;
        listed.push((api_conversion::sale(&sale.row), Some(state)));
    }
    let live = app.live();
    let html = page_html::index_page(&live.assets.page_text("index.html"), &listed, live.shop());
    let mut kept = lock(&app);
    let page = match kept.take() {
        // If the HTML has not changed, the old page is kept, because it has compressed copies.
        Some((_, page)) if page.text() == html => page,
        _ => Arc::new(AssetFile::page(html)),
    };
    *kept = Some((Instant::now(), page.clone()));
    Ok(page.reply(&headers))
}

fn lock(app: &App) -> MutexGuard<'_, Option<(Instant, Arc<AssetFile>)>> {
    app.index.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn icon(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    app.live().assets.icon(&headers)
}

async fn asset(
    State(app): State<Arc<App>>,
    name: Option<Path<String>>,
    headers: HeaderMap,
) -> HandlerResult {
    match name.and_then(|Path(name)| app.live().assets.file(&name)) {
        Some(file) => Ok(file.reply(&headers)),
        None => Err(Problem::not_found("there is no such file").into()),
    }
}

/// The name in a page's path, if it can be decoded.
type PathResult = Result<PathNames<1>, HandlerError>;

async fn named_sale(app: &App, names: PathResult) -> Option<Arc<SaleState>> {
    let PathNames([name]) = names.ok()?;
    find_sale(app, &name).await.ok()
}

/// Serves the page of a sale. If this node does not know the sale, asks the store, because another
/// node may have created the sale.
async fn sale(State(app): State<Arc<App>>, names: PathResult, headers: HeaderMap) -> HandlerResult {
    let Some(sale) = named_sale(&app, names).await else {
        return missing(&app, "sale.html", &headers);
    };
    let live = app.live();
    let state = app.views.state(&sale).await;
    let page = app.views.page(&sale, (live.generation, state), || {
        let (shown, template) =
            (api_conversion::sale(&sale.row), live.assets.page_text("sale.html"));
        let present = page_html::PresentState { shown: state, version: &sale.version() };
        AssetFile::page(page_html::sale_page(&template, &shown, Some(present), live.shop()))
    });
    Ok(page.reply(&headers))
}

/// Serves the calendar entry of a sale. Links in the entry need the server's address. If the
/// settings do not contain this address, the server takes it from the request's `Host`. In this
/// case, shared caches must not keep the response, because a visitor could send a false host name.
/// Shared caches must also not keep a response that depends on `Accept-Language`, which can have
/// any number of values.
async fn calendar(
    State(app): State<Arc<App>>,
    names: PathResult,
    uri: Uri,
    headers: HeaderMap,
) -> HandlerResult {
    let Some(sale) = named_sale(&app, names).await else {
        return missing(&app, "sale.html", &headers);
    };
    let row = &sale.row;
    let shown = api_conversion::sale(row);
    let starts_at =
        shown.starts_at.ok_or_else(|| Problem::not_found("this sale has no start time yet"))?;
    let live = app.live();
    let origin = match live.shop().url {
        Some(url) => Some(url.to_owned()),
        None => request_host(&headers).map(|host| format!("http://{host}")),
    };
    let entry = page_html::CalendarEntry {
        sale: &shown,
        starts_at,
        version: row.version,
        is_cancelled: row.phase == Phase::Closed && row.opened_at.is_none(),
        now: api_conversion::time(app.node.now()),
        shop: page_html::Shop { url: origin.as_deref(), ..live.shop() },
    };
    let lang =
        uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("lang=")));
    let is_named = matches!(lang, Some("en" | "zh"));
    let accepted = headers.get(ACCEPT_LANGUAGE).filter(|_| !is_named);
    let accepted = accepted.and_then(|value| value.to_str().ok());
    let languages = page_html::languages(lang, accepted.unwrap_or_default());
    let text = entry.text(&languages);
    let mut reply = rendered(StatusCode::OK, "text/calendar; charset=utf-8", text.into());
    let headers = reply.headers_mut();
    let cache = match is_named && live.shop().url.is_some() {
        true => "public, max-age=60",
        false => "private, max-age=60",
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if !is_named {
        headers.insert(VARY, HeaderValue::from_static("accept-language"));
    }
    headers
        .insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"sale.ics\""));
    Ok(reply)
}

/// Serves the page of an order. The response is the same for every valid id, even if there is no
/// such order. Otherwise everybody could find out which orders exist.
async fn order(
    State(app): State<Arc<App>>,
    names: PathResult,
    headers: HeaderMap,
) -> HandlerResult {
    match names.ok().and_then(|PathNames([id])| TicketId::parse(&id)) {
        Some(_) => app.live().assets.page("order.html", &headers),
        None => missing(&app, "order.html", &headers),
    }
}

/// Answers a request for an address that no route serves:
/// - If the address is a page's address with a slash at the end, redirects to the page.
/// - If the address begins with `/v1/`, the client gets a problem. For any other address, a browser
///   gets a page, and all other clients get a problem.
pub(crate) async fn fallback(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> HandlerResult {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    let is_page = ["/sale/", "/order/"].iter().any(|start| trimmed.starts_with(start))
        || matches!(trimmed, "/docs" | "/console" | "/orders");
    if trimmed.len() < path.len() && is_page && !trimmed[1..].contains("//") {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return redirect(StatusCode::PERMANENT_REDIRECT, &format!("{trimmed}{query}"));
    }
    match path.starts_with("/v1/") {
        true => Err(Problem::not_found(NOTHING_HERE).into()),
        false => missing(&app, "missing.html", &headers),
    }
}

fn redirect(status: StatusCode, to: &str) -> HandlerResult {
    let to = HeaderValue::from_str(to).map_err(|_| Problem::not_found(NOTHING_HERE))?;
    let mut reply = empty(status);
    reply.headers_mut().insert(LOCATION, to);
    Ok(reply)
}

/// Returns `page` with status 404 to a client that requests HTML, such as a browser. Other clients
/// get a problem.
fn missing(app: &App, page: &str, headers: &HeaderMap) -> HandlerResult {
    if accepts_explicitly(headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes), "text/html") {
        return app.live().assets.missing_page(page, headers);
    }
    Err(Problem::not_found(NOTHING_HERE).into())
}

#[derive(Serialize)]
struct GuestToken {
    token: String,
}

/// `POST /demo/guest`. Works only in a demonstration.
async fn guest(State(app): State<Arc<App>>, request: axum::extract::Request) -> HandlerResult {
    request_body::body(request, BODY_BYTES_MAX).await?;
    let guests = app
        .guests
        .as_ref()
        .ok_or_else(|| Problem::not_found("only available with `serve --demo`"))?;
    let token = guests.token(app.node.clock().wall().0)?;
    Ok(json(StatusCode::CREATED, &GuestToken { token }))
}
