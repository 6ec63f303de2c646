//! `GET /v1/admin/actions`: the log of operators' changes.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use doorbuster_api::admin::console::{Action, ActionList, FieldChange};
use doorbuster_api::query::ActionQuery;
use doorbuster_core::Millis;
use doorbuster_engine::api_conversion;
use doorbuster_store as store;
use serde_json::Value;

use crate::App;
use crate::cursor::{self, List};
use crate::reply::{HandlerResult, ok};

pub(crate) async fn list(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> HandlerResult {
    let query = ActionQuery::for_operator(query.as_deref().unwrap_or_default())?;
    let position = cursor::position(List::Actions, query.page.cursor.as_deref())?;
    let wanted = store::ActionQuery {
        by: query.by,
        action: query.action,
        subject: query.subject,
        after: position.map(|(seq, _)| seq),
        oldest_first: false,
        limit: query.page.limit as usize,
    };
    let page = app.node.store().actions(wanted).await?;
    let next_cursor = page.next.map(|seq| cursor::cursor(List::Actions, seq, ""));
    let actions = page.rows.into_iter().map(action_view).collect();
    ok(&ActionList { actions, next_cursor })
}

pub(super) fn action_view(row: store::ActionRow) -> Action {
    let store::ActionRow { seq, at, action } = row;
    Action {
        id: format!("act_{seq}"),
        at: api_conversion::time(at),
        by: action.by,
        action: action.action,
        subject: action.subject,
        changes: action.changes.into_iter().map(change_view).collect(),
        address: action.address,
        request_id: action.request_id,
    }
}

fn change_view(change: store::FieldChange) -> FieldChange {
    let store::FieldChange { path, from, to } = change;
    let [from, to] = [from, to].map(|value| shown_value(&path, value));
    FieldChange { path, from, to }
}

/// Converts a changed value for the API: the store keeps times in milliseconds, and the API shows
/// them as text.
fn shown_value(path: &str, value: Value) -> Value {
    let is_time = path.ends_with("_at") || path.ends_with("/pay_by");
    match value.as_i64().filter(|_| is_time) {
        Some(millis) => serde_json::to_value(api_conversion::time(Millis(millis))).unwrap_or(value),
        None => value,
    }
}
