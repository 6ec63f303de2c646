//! Records an operator's action in the transaction that makes the change.
//!
//! The caller passes to [`recorded`] an action and a call of a store's method. If the method's
//! transaction changes anything, the same transaction writes the action's row, with the changed
//! fields. So an action is recorded if and only if its change is committed.
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::task_local;

use doorbuster_core::order::ChangeOutcome;
use doorbuster_core::{Order, Spread, Stock};

use crate::contract::{
    AdminKey, Block, Endpoint, Erased, FieldChange, ItemRow, NewAction, SaleRow,
};

task_local! {
    /// The action of the operator who made the current call of a store's method. [`recorded`] sets
    /// this value.
    static CURRENT: Arc<NewAction>;
}

/// Runs `call`, which calls a method of a store. If the method changes anything, its transaction
/// records `action` with the changed fields.
pub async fn recorded<F: Future>(action: NewAction, call: F) -> F::Output {
    CURRENT.scope(Arc::new(action), call).await
}

pub(crate) fn current() -> Option<Arc<NewAction>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Returns a JSON list: first the changes that the transaction found (`changed`), and then the
/// changes that the caller added (`action.changes`).
pub(crate) fn changes_to_json(changed: &[FieldChange], action: &NewAction) -> String {
    let row =
        |change: &FieldChange| json!({"path": change.path, "from": change.from, "to": change.to});
    Value::Array(changed.iter().chain(&action.changes).map(row).collect()).to_string()
}

pub(crate) fn changes_from_json(text: &str) -> Option<Vec<FieldChange>> {
    let rows: Vec<Value> = serde_json::from_str(text).ok()?;
    let change = |mut row: Value| {
        Some(FieldChange {
            path: row.get("path")?.as_str()?.to_owned(),
            from: row.get_mut("from").map(Value::take)?,
            to: row.get_mut("to").map(Value::take)?,
        })
    };
    rows.into_iter().map(change).collect()
}

/// Returns the fields of a sale that an action changed. `before` is `None` for a new sale, and
/// `after` is `None` for a deleted sale.
pub(crate) fn changed_sale(before: Option<&SaleRow>, after: Option<&SaleRow>) -> Vec<FieldChange> {
    differences(before, after, sale_view)
}

/// Describes the change of an item's stock. `from` is `None` for a new sale, and `to` is `None` for
/// a deleted sale.
pub(crate) fn changed_stock(item: &str, from: Option<Stock>, to: Option<Stock>) -> FieldChange {
    let view = |stock: Option<Stock>| match stock {
        Some(Stock::Counted(units)) => Value::from(units),
        Some(Stock::Unlimited) => Value::from("unlimited"),
        None => Value::Null,
    };
    FieldChange { path: format!("/items/{item}/stock"), from: view(from), to: view(to) }
}

/// Returns the changed fields of an order, or `None` if the transaction did not change the order.
pub(crate) fn changed_order(
    before: Option<&Order>,
    changed: &ChangeOutcome,
) -> Option<Vec<FieldChange>> {
    let ChangeOutcome::Done(after) = changed else { return None };
    let view = |order: &Order| json!({"state": order.state.as_str(), "pay_by": order.pay_by.0});
    Some(differences(before, Some(after), view))
}

/// Returns the fields that an action records for an adjustment of stock. `total` is the item's
/// total after the adjustment.
pub(crate) fn adjusted(units: i64, total: u64, reason: &str) -> Vec<FieldChange> {
    let before = total.cast_signed() - units;
    vec![
        FieldChange { path: "/total".to_owned(), from: before.into(), to: total.into() },
        FieldChange::set("/reason", reason),
    ]
}

pub(crate) fn erased(rows: &Erased) -> Vec<FieldChange> {
    vec![FieldChange::set("/orders", rows.orders), FieldChange::set("/other", rows.other)]
}

/// Returns the changed fields of a block. Leaves out the blocked value, because this value may be a
/// buyer's id. An erasure must remove a buyer's id from the store, but an erasure does not change
/// the rows of actions.
pub(crate) fn changed_block(before: Option<&Block>, after: Option<&Block>) -> Vec<FieldChange> {
    differences(before, after, |block| {
        json!({
            "kind": block.kind.as_str(),
            "reason": block.reason,
            "expires_at": block.until.map(|until| until.0),
        })
    })
}

/// Returns the changed fields of an operator's key. The key itself is a secret, so it is not
/// recorded.
pub(crate) fn changed_key(before: Option<&AdminKey>, after: Option<&AdminKey>) -> Vec<FieldChange> {
    differences(before, after, |key| json!({"name": key.name, "role": key.role.as_str()}))
}

/// Returns the changed fields of an endpoint. An address may contain a secret, so only its host and
/// port are recorded.
pub(crate) fn changed_endpoint(
    before: Option<&Endpoint>,
    after: Option<&Endpoint>,
) -> Vec<FieldChange> {
    differences(before, after, |endpoint| {
        json!({
            "host": host(&endpoint.url),
            "types": endpoint.wanted.words(),
            "enabled": endpoint.enabled,
            "secrets": endpoint.secrets.len(),
        })
    })
}

/// Returns the host and the port of an address, without the user, the password and the path.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Returns the differences between the views of two rows. The view of a missing row is `null`.
fn differences<T>(
    before: Option<&T>,
    after: Option<&T>,
    view: impl Fn(&T) -> Value,
) -> Vec<FieldChange> {
    let (before, after) = (before.map_or(Value::Null, &view), after.map_or(Value::Null, &view));
    let mut changes = Vec::new();
    compare("", &before, &after, &mut changes);
    changes
}

fn compare(path: &str, from: &Value, to: &Value, changes: &mut Vec<FieldChange>) {
    let (old, new) = match (from, to) {
        _ if from == to => return,
        (Value::Object(old), Value::Object(new)) => (old.clone(), new.clone()),
        (Value::Object(old), Value::Null) => (old.clone(), Map::new()),
        (Value::Null, Value::Object(new)) => (Map::new(), new.clone()),
        (from, to) => {
            changes.push(FieldChange { path: path.to_owned(), from: from.clone(), to: to.clone() });
            return;
        }
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let value = |fields: &Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
        compare(&format!("{path}/{name}"), &value(&old), &value(&new), changes);
    }
}

/// Returns the fields of a sale that operators can set, under their names in the API. Times are in
/// milliseconds since the Unix epoch.
fn sale_view(sale: &SaleRow) -> Value {
    let items: Map<String, Value> =
        sale.items.iter().map(|item| (item.name.clone(), item_view(item))).collect();
    let view = json!({
        "title": sale.title,
        "phase": sale.phase.as_str(),
        "starts_at": sale.starts_at.map(|at| at.0),
        "ends_at": sale.ends_at.map(|at| at.0),
        "front_door": door_view(&sale.front_door),
        "items": items,
    });
    with_page(view, &sale.page)
}

/// Adds the fields of the JSON document `page` to the view of a sale or of an item. A field of the
/// document may have one text for each language. Such a field replaces the column's text in the
/// view. Exception: if the field has the column's text in no language, an older program changed
/// only the column, so the column's text stays.
fn with_page(mut view: Value, page: &str) -> Value {
    let page: Map<String, Value> = serde_json::from_str(page).unwrap_or_default();
    for (name, value) in page {
        let column = &view[&name];
        let is_current =
            value.as_object().is_none_or(|texts| texts.values().any(|text| text == column));
        if is_current {
            view[name] = value;
        }
    }
    view
}

/// Returns the stored front-door settings. If a limit is switched off, its `null` becomes the text
/// `none`, because `null` in an action's changes means that a field is absent.
fn door_view(stored: &str) -> Value {
    let mut door: Value = serde_json::from_str(stored).unwrap_or_default();
    if let Some(limits) = door.get_mut("limits").and_then(Value::as_object_mut) {
        for limit in limits.values_mut().filter(|limit| limit.is_null()) {
            *limit = "none".into();
        }
    }
    door
}

fn item_view(item: &ItemRow) -> Value {
    let money = |minor: i64| json!({"amount_minor": minor, "currency": item.currency});
    let view = json!({
        "title": item.title,
        "description": item.description,
        "image": item.image,
        "price": money(item.price_minor),
        "list_price": item.list_price_minor.map(money),
        "limit_per_buyer": item.limit,
        "hold_secs": item.hold_ms / 1_000,
        "spread": spread_view(&item.spread),
    });
    with_page(view, &item.page)
}

fn spread_view(spread: &Spread) -> Value {
    json!({
        "partitions": if spread.auto { json!("auto") } else { json!(spread.partitions) },
        "choose": spread.choose.as_str(),
        "initial": spread.initial,
        "threshold": spread.threshold,
        "refill": spread.refill,
    })
}

#[cfg(test)]
mod tests;
