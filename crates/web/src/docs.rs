//! Serves the API's contract: the OpenAPI document, and the page that shows it.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use doorbuster_api::openapi::openapi as document;
use doorbuster_api::problem::Code;
use http::{HeaderMap, HeaderValue};

use super::App;
use super::rendered::Rendered;
use super::reply::HandlerResult;
use super::sales::cached;

/// The table of problem codes replaces this mark in the page.
const CODES_MARK: &str = "<!-- codes -->";

static DOCUMENT: LazyLock<Rendered> = LazyLock::new(|| {
    let json = document(env!("CARGO_PKG_VERSION"))
        .to_json()
        .expect("the document serialises, as a test checks");
    Rendered::from_bytes(json.into())
});

/// `GET /openapi.json`
pub(crate) async fn openapi(headers: HeaderMap) -> HandlerResult {
    Ok(cached(&headers, &DOCUMENT, HeaderValue::from_static("public, max-age=60")))
}

/// `GET /docs`
pub(crate) async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    app.live().assets.page("docs.html", &headers)
}

/// Adds every problem code to the page. The `type` of a problem links to its code on this page. In
/// a demonstration, a form without a token uses a new guest.
pub(crate) fn complete(page: &str, has_guests: bool) -> String {
    let mut rows = String::new();
    for code in Code::ALL {
        let (word, status, title) = (code.as_str(), code.status(), code.title());
        let again = if code.retryable() { "yes" } else { "no" };
        writeln!(
            rows,
            "<tr \
             id=\"{word}\"><td><code>{word}</code></td><td>{status}</td><td>{title}</td><td>{again}</td></tr>"
        )
        .expect("writing to a string cannot fail");
    }
    let page = page.replace(CODES_MARK, &rows);
    match has_guests {
        true => page.replacen("<body", "<body data-guests", 1),
        false => page,
    }
}
