//! Serves the API's contract: the OpenAPI document, and the page that shows it.

use std::sync::{Arc, LazyLock};

use axum::extract::State;
use doorbuster_api::openapi::openapi as document;
use http::{HeaderMap, HeaderValue};

use super::App;
use super::rendered::Rendered;
use super::reply::HandlerResult;
use super::sales::cached;

static DOCUMENT: LazyLock<Rendered> = LazyLock::new(|| {
    let json = document(env!("CARGO_PKG_VERSION"))
        .to_json()
        .expect("a test checks that the document serialises");
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
