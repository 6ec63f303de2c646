//! Forbids shared caches to keep a response if the request's address is not one that the pages use.
//! Otherwise anyone could add random queries to an address. Each query would fill caches with a
//! further copy, which the server would have to render.

use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Uri};

use super::App;
use super::reply::Reply;

/// After the opening, a page's first request for the status contains a version followed by this
/// suffix. The version is the last one that the page read before the opening. With the suffix, the
/// request has a new address, so caches do not answer with the old status.
const AT_OPENING: &str = "-open";

const INDEX_PAGE: &str = "limit=48";

pub(crate) fn forbid_shared_caching(app: &App, uri: &Uri, headers: &mut HeaderMap) {
    let is_public =
        headers.get(CACHE_CONTROL).is_some_and(|value| value.as_bytes().starts_with(b"public"));
    if is_public && !(is_plain(uri.path()) && is_known(app, uri)) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Forbids caches to keep a failure, because the same request may soon succeed. Also forbids caches
/// to keep a response to an authenticated request, because this response is for one caller.
pub(crate) fn forbid_caching(request_headers: &HeaderMap, reply: &mut Reply) {
    let is_failure = reply.status().is_client_error() || reply.status().is_server_error();
    if is_failure || request_headers.contains_key(AUTHORIZATION) {
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Returns whether `%3A` (the colon) is the path's only percent-encoding. In the names of sales,
/// the pages encode only colons.
fn is_plain(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.starts_with("3A"))
}

fn is_known(app: &App, uri: &Uri) -> bool {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return true };
    if uri.path() == "/v1/sales" {
        return query == INDEX_PAGE;
    }
    if !uri.path().starts_with("/v1/") {
        return matches!(query, "lang=en" | "lang=zh");
    }
    let sale = uri.path().strip_prefix("/v1/sales/").and_then(|rest| rest.strip_suffix("/status"));
    let (Some(sale), Some(version)) = (sale, query.strip_prefix("v=")) else { return false };
    let version = version.strip_suffix(AT_OPENING).unwrap_or(version);
    let catalogue = app.node.catalogue();
    let sale = catalogue.sale(&sale.replace("%3A", ":"));
    // A page that has not read a version yet sends an empty version.
    version.is_empty() || sale.is_some_and(|sale| sale.had_version(version, app.node.id_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_unneeded_percent_encoding_is_not_plain() {
        let check = |path: &str, plain: bool| assert_eq!(is_plain(path), plain, "{path}");
        check("/v1/sales/spring/status", true);
        check("/v1/sales/a:b", true);
        check("/v1/sales/a%3Ab%3Ac", true);
        check("/v1/sales/a%3ab", false);
        check("/v1/sales/spr%69ng", false);
        check("/v1/sales/a%3Ab%69", false);
        check("/v1/sales/a%", false);
    }
}
