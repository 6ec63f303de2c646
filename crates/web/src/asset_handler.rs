//! Serves the files of the pages.

use std::sync::Arc;

use axum::extract::{Path, State};
use doorbuster_api::problem::Problem;
use http::HeaderMap;

use crate::app::App;
use crate::reply::HandlerResult;

/// `GET /assets/{name}`
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    name: Option<Path<String>>,
    headers: HeaderMap,
) -> HandlerResult {
    let file = name.and_then(|Path(name)| app.live().assets.file(&name));
    match file {
        Some(file) => Ok(file.reply(&headers)),
        None => Err(Problem::not_found("there is no such file").into()),
    }
}
