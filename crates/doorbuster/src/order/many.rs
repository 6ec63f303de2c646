//! `order cancel`, `order refund` and `order extend`: change one order or many orders.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path as FilePath;

use doorbuster_api::admin::order::AnyOrderDetail;
use doorbuster_api::admin::payments::Reason;
use doorbuster_api::order::{Order, OrderList, OrderState};
use serde_json::{Value, json};

use super::order_text;
use crate::cli::{OrderSelection, PayByArgs};
use crate::client::{ApiResult, Client, ClientError, Path, may_have_been_done};
use crate::confirm::confirm;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::print;

/// The largest file with ids that the command accepts, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(super) enum Change {
    Cancel,
    Refund,
    Extend(PayByArgs),
}

impl Change {
    /// Returns the name of the change in the API's path.
    fn name(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::Extend(_) => "extend",
        }
    }

    /// Returns the state that an order must have for this change.
    fn state(&self) -> OrderState {
        match self {
            Self::Cancel | Self::Extend(_) => OrderState::Reserved,
            Self::Refund => OrderState::Paid,
        }
    }
}

/// Changes one order or many orders. Asks for confirmation first, unless the change extends a
/// single order. Returns `Findings` if at least one of several orders could not be changed. With
/// `--dry-run`, does not ask for confirmation and changes nothing. In this case, returns `Findings`
/// if at least one of the named orders does not allow the change.
pub(super) async fn change(
    client: &Client,
    which: &OrderSelection,
    change: Change,
    reason: Option<String>,
) -> Outcome {
    if let (Some(order), false) = (&which.order, which.dry_run) {
        if !matches!(change, Change::Extend(_)) {
            confirm(which.yes, &format!("{} {order}", change.name()))?;
        }
        let result = request(client, order, &change, reason).await?;
        return client.print_result(result, order_text);
    }
    let mut orders = selected(client, which, &change).await?;
    let name = change.name();
    let mut result = CommandResult::Success;
    if which.dry_run && which.sale.is_none() {
        let found = orders.len();
        orders = changeable(client, orders, &change).await?;
        result = CommandResult::new(orders.len() == found);
    }
    if client.wants_json() && which.dry_run {
        print::json(&json!({ "orders": orders }))?;
        return Ok(result);
    }
    if orders.is_empty() && !client.wants_json() {
        print::line(&format!("There are no orders to {name}."))?;
        return Ok(result);
    }
    if which.dry_run {
        print::text(&format!("{}\n", orders.join("\n")))?;
        return Ok(result);
    }
    if !orders.is_empty() {
        confirm(which.yes, &format!("{name} {} orders", orders.len()))?;
    }
    change_each(client, &orders, &change, reason).await
}

/// Changes these orders one after another. Continues if the server refuses to change an order, and
/// stops if the server cannot be reached. If the server may have changed an order, the output lists
/// the order as unknown.
async fn change_each(
    client: &Client,
    orders: &[String],
    change: &Change,
    reason: Option<String>,
) -> Outcome {
    let (mut changed, mut refused, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = orders.iter();
    for order in rest.by_ref() {
        let result = request(client, order, change, reason.clone()).await?;
        let is_unknown = may_have_been_done(&result);
        match result {
            Ok(answer) if client.wants_json() => changed.push(answer.read::<Value>()?),
            Ok(answer) => print::text(&order_text(&answer.read()?)).map(drop)?,
            Err(why) => {
                let (code, detail) = (why.code().map(str::to_owned), why.detail());
                let warning = match is_unknown {
                    true => "; it is possible that the order was changed",
                    false => "",
                };
                print::note(&format!("{order}: {detail}{warning}"));
                let list = if is_unknown { &mut unknown } else { &mut refused };
                list.push(json!({ "order": order, "code": code, "detail": detail }));
                if matches!(why, ClientError::Transport(_) | ClientError::NotSent(_)) {
                    break;
                }
            }
        }
    }
    let not_tried = rest.as_slice();
    if !not_tried.is_empty() {
        print::note(&format!("Number of orders that were not tried: {}", not_tried.len()));
    }
    let is_complete = refused.is_empty() && unknown.is_empty() && not_tried.is_empty();
    if client.wants_json() {
        print::json(&json!({
            "changed": changed, "refused": refused, "unknown": unknown, "not_tried": not_tried,
        }))?;
    }
    Ok(CommandResult::new(is_complete))
}

/// Returns the ids of the orders whose state allows the change. Prints a note for every other id.
async fn changeable(
    client: &Client,
    ids: Vec<String>,
    change: &Change,
) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for id in ids {
        let why = match client.get(Path::admin(&["orders", &id])).await {
            Ok(answer) => match answer.read()? {
                AnyOrderDetail::Order(detail) if detail.order.state == change.state() => {
                    found.push(id);
                    continue;
                }
                AnyOrderDetail::Order(detail) => {
                    let (state, able) = (detail.order.state.as_str(), change.state().as_str());
                    format!("the order is {state}, but this change is only for {able} orders")
                }
                _ => "there is no order with this id".to_owned(),
            },
            Err(why) => why.detail(),
        };
        print::note(&format!("{id}: {why}"));
    }
    Ok(found)
}

async fn request(
    client: &Client,
    order: &str,
    change: &Change,
    reason: Option<String>,
) -> Result<ApiResult, Failure> {
    match change {
        Change::Cancel | Change::Refund => {
            let path = ["orders", order, change.name()];
            Ok(client.post_json(Path::admin(&path), &Reason { reason }).await)
        }
        Change::Extend(until) => super::extend(client, order, until, reason).await,
    }
}

async fn selected(
    client: &Client,
    which: &OrderSelection,
    change: &Change,
) -> Result<Vec<String>, Failure> {
    if let Some(order) = &which.order {
        return Ok(vec![order.clone()]);
    }
    if let Some(file) = &which.file {
        return ids_in(file);
    }
    let state = which.state.unwrap_or(change.state());
    if state != change.state() {
        let (name, able) = (change.name(), change.state().as_str());
        return Err(Failure::Settings(format!(
            "only {able} orders can be changed with {name}; omit --state"
        )));
    }
    super::expect_sale(client, which.sale.as_deref()).await?;
    let (mut ids, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let path = Path::admin(&["orders"])
            .with("limit", Some(200))
            .with("state", Some(state.as_str()))
            .with("sale", which.sale.as_deref())
            .with("cursor", cursor);
        let page: OrderList = client.get(path).await?.read()?;
        ids.extend(page.orders.iter().map(|order: &Order| order.id.clone()));
        let Some(next) = page.next_cursor else { return Ok(ids) };
        cursor = Some(next);
    }
}

/// Returns the ids in a file, each only once, so that no order is extended twice.
fn ids_in(file: &FilePath) -> Result<Vec<String>, Failure> {
    let mut text = String::new();
    let read = if file == FilePath::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::Settings(format!("the orders in {} cannot be read: {why}", file.display()))
    };
    read.map_err(|error| unreadable(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(&"the file has more than 16 MiB; divide it into several files"));
    }
    let mut seen = HashSet::new();
    let ids = text.lines().map(str::trim).filter(|id| !id.is_empty() && seen.insert(*id));
    Ok(ids.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_repeated_in_a_file_is_used_once() {
        let dir = doorbuster_testkit::TempDir::new();
        let file = dir.path().join("orders");
        std::fs::write(&file, "ord_b\nord_a\n\n ord_b\r\nord_b").expect("a file");
        assert_eq!(ids_in(&file).ok(), Some(vec!["ord_b".to_owned(), "ord_a".to_owned()]));
    }

    #[test]
    fn a_file_with_too_many_ids_is_refused_as_a_whole() {
        let dir = doorbuster_testkit::TempDir::new();
        let file = dir.path().join("orders");
        let line = "an order's id\n";
        std::fs::write(&file, line).expect("a file");
        assert_eq!(ids_in(&file).ok(), Some(vec!["an order's id".to_owned()]));
        std::fs::write(&file, line.repeat(FILE_BYTES_MAX as usize / line.len() + 1))
            .expect("a file");
        let Err(Failure::Settings(why)) = ids_in(&file) else { panic!("the file was accepted") };
        assert!(why.contains("more than 16 MiB"), "{why}");
    }
}
