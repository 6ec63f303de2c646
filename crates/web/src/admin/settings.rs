//! `GET /v1/admin/settings`: the settings of this node, without secrets.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::admin::console::SettingList;
use http::StatusCode;

use crate::App;
use crate::reply::{HandlerResult, json};

pub(crate) async fn list(State(app): State<Arc<App>>) -> HandlerResult {
    let settings = app.settings.clone();
    Ok(json(StatusCode::OK, &SettingList { node: app.node.id().to_string(), settings }))
}
