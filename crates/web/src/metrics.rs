//! `GET /metrics`: the page of metrics, in the text format of Prometheus.

use std::sync::Arc;

use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};

use super::App;
use super::reply::{HandlerResult, ReplyBody, no_store};

mod backup;
mod database;
mod edge;
mod log;
mod outbox;
mod page;
mod process;
mod push;
mod sales;
mod slots;
mod store_numbers;

/// Returns the text of the page.
pub(crate) async fn text(app: &App) -> String {
    page::text(app).await
}

/// Handles `GET /metrics`.
pub(crate) async fn show(State(app): State<Arc<App>>) -> HandlerResult {
    let mut reply = Response::new(ReplyBody::Bytes(Some(text(&app).await.into())));
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, media);
    Ok(no_store(reply))
}
