//! Which addresses an answer is for caches under. What everybody may be shown may be kept under the
//! addresses that pages use, and under no other way of writing them: else anybody could have each
//! answer made again, and fill a cache with copies, by an address that nobody asked for before.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, Uri};

use super::App;

/// What a status is asked with in the moments after an opening, behind the version from before it.
const AT_OPENING: &str = "-open";

/// Says `no-store` of an answer that was asked for under any other address than pages ask under.
pub(crate) fn forbid_shared_caching(app: &App, uri: &Uri, headers: &mut HeaderMap) {
    let is_public =
        headers.get(CACHE_CONTROL).is_some_and(|said| said.as_bytes().starts_with(b"public"));
    if is_public && !(is_plain(uri.path()) && is_known(app, uri)) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Whether nothing in a path is written in another way than need be. Browsers write the colon,
/// which names may have, in this one.
fn is_plain(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.starts_with("3A"))
}

fn is_known(app: &App, uri: &Uri) -> bool {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return true };
    if !uri.path().starts_with("/v1/") {
        return matches!(query, "lang=en" | "lang=zh");
    }
    let sale = uri.path().strip_prefix("/v1/sales/").and_then(|rest| rest.strip_suffix("/status"));
    let (Some(sale), Some(version)) = (sale, query.strip_prefix("v=")) else { return false };
    let version = version.strip_suffix(AT_OPENING).unwrap_or(version);
    let catalogue = app.engine.catalogue();
    let sale = catalogue.sale(&sale.replace("%3A", ":"));
    // A page that knows no version yet says so.
    version.is_empty() || sale.is_some_and(|sale| sale.had_version(version, app.engine.id_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_written_in_one_way() {
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
