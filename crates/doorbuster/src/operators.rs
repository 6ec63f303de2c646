//! `key`, `actions`, `nodes`, `status`, `buyer`, `waitlist` and `code`, over the admin API.

use std::time::Duration;

use comfy_table::Cell;
use doorbuster_api::admin::console::{
    Action, ActionList, BuyerHistory, NodeList, RevokedCodes, WaitlistList,
};
use doorbuster_api::admin::keys::{CreatedKey, KeyList, NewKey};
use doorbuster_api::admin::sale::{AdminSale, AdminSaleList};
use doorbuster_api::health::ReadinessFacts;
use serde_json::{Value, json};

use crate::cli::{
    ActionsArgs, BuyerHistoryArgs, CodeArgs, CodeCommand, KeyArgs, KeyCommand, NodesArgs,
    StatusArgs, WaitlistArgs, WaitlistCommand,
};
use crate::client::{self, Client, ClientError, Path};
use crate::confirm::confirm;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{print, sale, table};

const READY_WAIT: Duration = Duration::from_secs(60);
const NOT_READY_WAIT: Duration = Duration::from_secs(3);
/// One request reads at most this number of sales, because each sale may have long descriptions.
const SALES_PAGE: &str = "50";
/// The table shows at most this many characters of a value. Without this limit, one long
/// description would make each line of the table very long.
const VALUE_CHARS_MAX: usize = 60;

/// Runs `key`.
pub fn key(args: KeyArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let path = Path::admin(&["keys"]);
    client::block_on(async {
        match args.command {
            KeyCommand::Create { name, role } => {
                let made = client.post_json(path, &NewKey { name, role }).await;
                client.print_result(made, |made: &CreatedKey| {
                    let (role, id) = (made.role.as_str(), &made.id);
                    format!(
                        "{}\nThis key has the role {role} and the id {id}. The server shows the key only now.\n",
                        made.key
                    )
                })
            }
            KeyCommand::List => client.print_result(client.get(path).await, keys),
            KeyCommand::Delete { id, yes } => {
                confirm(yes, &format!("{id} will stop working at once"))?;
                client.delete(Path::admin(&["keys", &id])).await?;
                client.print_done(&format!("{id} is deleted."))
            }
        }
    })
}

fn keys(list: &KeyList) -> String {
    let header = ["key", "name", "role", "created"];
    let rows = list.keys.iter().map(|key| {
        let created = key.created_at.to_string();
        [&key.id, &key.name, key.role.as_str(), &created].map(Cell::new)
    });
    table::list("There are no keys except the configured key.\n", &header, rows, None)
}

/// Runs `actions`.
pub fn actions(args: &ActionsArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let path = Path::admin(&["actions"])
        .with("limit", Some(args.limit))
        .with("by", args.by.as_deref())
        .with("action", args.action.as_deref())
        .with("subject", args.subject.as_deref())
        .with("cursor", args.cursor.as_deref());
    client::block_on(async { client.print_result(client.get(path).await, action_table) })
}

fn action_table(list: &ActionList) -> String {
    let header = ["at", "by", "from", "action", "subject", "changes"];
    let rows = list.actions.iter().map(|action| {
        let (at, changes) = (action.at.to_string(), change_text(action));
        let from = table::or_dash(action.address.as_deref());
        let cells = [&at, &action.by, &from, &action.action, &action.subject, &changes];
        cells.map(Cell::new)
    });
    table::list("There are no actions.\n", &header, rows, list.next_cursor.as_deref())
}

fn change_text(action: &Action) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => table::shortened(text, VALUE_CHARS_MAX),
        other => table::shortened(&other.to_string(), VALUE_CHARS_MAX),
    };
    let changes = action.changes.iter();
    let lines = changes.map(|c| format!("{}: {} → {}", c.path, text(&c.from), text(&c.to)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs `nodes`.
pub fn nodes(args: &NodesArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        client.print_result(client.get(Path::admin(&["nodes"])).await, node_tables)
    })
}

fn node_tables(list: &NodeList) -> String {
    let mut rows = table::with_header(&[
        "node",
        "roles",
        "leader",
        "lag",
        "version",
        "started",
        "connections",
    ]);
    for node in &list.nodes {
        rows.add_row([
            Cell::new(&node.node),
            Cell::new(node.roles.join(",")),
            Cell::new(if node.leader { "yes" } else { "no" }),
            table::number(format!("{} ms", table::grouped(node.lag_ms))),
            Cell::new(table::or_dash(node.version.as_ref())),
            Cell::new(table::or_dash(node.started_at)),
            table::number(table::grouped(node.connections)),
        ]);
    }
    let mut servers = table::with_header(&["slot server", "up", "role"]);
    for slot in &list.slots {
        let up = if slot.up { "yes" } else { "no" };
        servers.add_row([slot.server.as_str(), up, &slot.role].map(Cell::new));
    }
    let store = &list.store;
    let standbys = match store.synchronous_standbys {
        Some(count) => format!(", synchronous standbys: {count}"),
        None => String::new(),
    };
    format!("{rows}\n\nstore: {} {}{standbys}\n\n{servers}\n", store.kind, store.server_version)
}

/// Runs `status`. If the server cannot report one part, the command still shows the other parts.
pub fn status(args: &StatusArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        // If the server is not ready, `readyz` answers with an error that contains the reasons.
        let (reason, warnings) = match client.get(Path::new(&["readyz"])).await {
            Ok(answer) => (None, answer.read::<ReadinessFacts>()?.warnings),
            Err(ClientError::Problem(problem)) => {
                let not_ready = problem.not_ready();
                (Some(not_ready.reason), not_ready.warnings)
            }
            Err(refused) => return Err(refused.into()),
        };
        // A server that cannot reach its store is not ready and answers most requests late, so the
        // command waits for only a short time.
        let limit = if reason.is_none() { READY_WAIT } else { NOT_READY_WAIT };
        let (nodes, sales) = tokio::join!(
            within(limit, current_nodes(&client)),
            within(limit, current_sales(&client))
        );
        let (nodes, sales) = (nodes?, sales?);
        let is_whole = nodes.is_ok() && sales.is_ok();
        let ready = reason.is_none();
        if client.wants_json() {
            let errors: Vec<&String> =
                nodes.as_ref().err().into_iter().chain(sales.as_ref().err()).collect();
            let list = nodes.as_ref().ok();
            print::json(&json!({
                "ready": ready, "reason": reason, "warnings": warnings,
                "nodes": list.map(|list| &list.nodes), "store": list.map(|list| &list.store),
                "slots": list.map(|list| &list.slots), "sales": sales.as_ref().ok(),
                "errors": errors,
            }))?;
            return Ok(CommandResult::new(ready && is_whole));
        }
        let mut ready_text = match reason {
            Some(reason) => format!("NOT READY: {reason}"),
            None => "ready".to_owned(),
        };
        warnings.iter().for_each(|warning| ready_text += &format!("\nwarning: {warning}"));
        let nodes = match &nodes {
            Ok(list) => node_tables(list),
            Err(why) => format!("nodes, store and slots: unknown ({why})\n"),
        };
        let sales = match &sales {
            Ok(sales) => sale_table(sales),
            Err(why) => format!("sales: unknown ({why})"),
        };
        print::text(&format!("{ready_text}\n\n{nodes}\n{sales}\n"))?;
        Ok(CommandResult::new(ready && is_whole))
    })
}

/// A part of the status, or the reason why the server cannot report it.
type Part<T> = Result<T, String>;

async fn within<T>(
    limit: Duration,
    part: impl Future<Output = Result<Part<T>, Failure>>,
) -> Result<Part<T>, Failure> {
    let part = tokio::time::timeout(limit, part).await;
    part.unwrap_or_else(|_| Ok(Err(format!("no answer within {} s", limit.as_secs()))))
}

async fn current_nodes(client: &Client) -> Result<Part<NodeList>, Failure> {
    match client.get(Path::admin(&["nodes"])).await {
        Ok(answer) => Ok(Ok(answer.read()?)),
        Err(refused) => Ok(Err(refused.detail())),
    }
}

async fn current_sales(client: &Client) -> Result<Part<Vec<AdminSale>>, Failure> {
    let mut sales = Vec::new();
    for phase in ["open", "paused", "scheduled"] {
        let mut cursor = None::<String>;
        loop {
            let path = Path::admin(&["sales"])
                .with("phase", Some(phase))
                .with("limit", Some(SALES_PAGE))
                .with("cursor", cursor);
            let page: AdminSaleList = match client.get(path).await {
                Ok(answer) => answer.read()?,
                Err(refused) => return Ok(Err(refused.detail())),
            };
            sales.extend(page.sales);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(Ok(sales))
}

fn sale_table(sales: &[AdminSale]) -> String {
    if sales.is_empty() {
        return "no sale is open, paused or scheduled".to_owned();
    }
    let mut rows = table::with_header(&["sale", "phase", "title", "opens", "closes"]);
    for sale in sales {
        rows.add_row([
            Cell::new(&sale.id),
            Cell::new(sale.phase.as_str()),
            Cell::new(&sale.title),
            Cell::new(table::or_dash(sale.starts_at)),
            Cell::new(table::or_dash(sale.ends_at)),
        ]);
    }
    rows.to_string()
}

/// Runs `code`.
pub fn code(args: CodeArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        match args.command {
            CodeCommand::List { sale } => sale::print_code_counts(&client, &sale).await,
            CodeCommand::Revoke { sale, prefix, yes } => {
                confirm(
                    yes,
                    &format!("no more buyers will be able to use the codes {prefix}… of {sale}"),
                )?;
                let path = ["sales", &sale, "access-codes", &prefix];
                let result = client.delete(Path::admin(&path)).await;
                client.print_result(result, |done: &RevokedCodes| {
                    format!("Revoked {}.\n", table::counted(done.revoked, "code"))
                })
            }
        }
    })
}

/// Runs `buyer`.
pub fn buyer(args: &BuyerHistoryArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        let path = ["sales", &args.sale, "buyers", &args.buyer];
        client.print_result(client.get(Path::admin(&path)).await, buyer_tables)
    })
}

fn buyer_tables(history: &BuyerHistory) -> String {
    let mut text = String::new();
    if history.blocked {
        text += "An operator blocks this buyer.\n";
    }
    if history.orders.is_empty() && history.waitlist.is_empty() && history.refusals.is_empty() {
        text += "This buyer has no orders, no waitlist entries and no recent refusals.\n";
    }
    let mut orders = table::with_header(&["order", "item", "units", "state"]);
    for order in &history.orders {
        let units = table::grouped(order.units.into());
        orders.add_row([&order.id, &order.item, &units, order.state.as_str()].map(Cell::new));
    }
    let mut waitlist = table::with_header(&["waitlist entry", "item", "ahead", "joined"]);
    for entry in &history.waitlist {
        let (ahead, joined) = (table::grouped(entry.ahead), entry.joined_at.to_string());
        waitlist.add_row([&entry.id, &entry.item, &ahead, &joined].map(Cell::new));
    }
    let mut refusals = table::with_header(&["refused at", "item", "code", "node"]);
    for refusal in &history.refusals {
        let at = refusal.at.to_string();
        refusals.add_row([&at, &refusal.item, &refusal.code, &refusal.node].map(Cell::new));
    }
    let tables = [
        (orders, history.orders.is_empty()),
        (waitlist, history.waitlist.is_empty()),
        (refusals, history.refusals.is_empty()),
    ];
    for (rows, _) in tables.iter().filter(|(_, is_empty)| !is_empty) {
        text += &format!("{rows}\n");
    }
    if !history.refusals_complete {
        text += "Refusals may be missing, for example those of an edge, or of a node that did not \
                 answer.\n";
    }
    text
}

/// Runs `waitlist`.
pub fn waitlist(args: WaitlistArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let WaitlistCommand::List { sale, item, limit, cursor } = args.command;
    let parts = ["sales", &sale, "items", &item, "waitlist"];
    let path = Path::admin(&parts).with("limit", Some(limit)).with("cursor", cursor);
    client::block_on(async {
        client.print_result(client.get(path).await, |list: &WaitlistList| {
            let header = ["ahead", "buyer", "joined", "entry"];
            let rows = list.entries.iter().map(|entry| {
                [
                    table::number(table::grouped(entry.ahead)),
                    Cell::new(&entry.buyer),
                    Cell::new(entry.joined_at),
                    Cell::new(&entry.id),
                ]
            });
            table::list("No buyer waits.\n", &header, rows, list.next_cursor.as_deref())
        })
    })
}

#[cfg(test)]
mod tests;
