//! `order`: lists, shows and changes orders over the admin API, and lists what was paid.

mod erase;
mod show;

use doorbuster_api::admin::order::AnyOrderDetail;
use doorbuster_api::admin::payments::{Extension, Reason};
use doorbuster_api::order::Order;
use doorbuster_api::value::Time;
use serde::Serialize;

use crate::cli::{MoneyQuery, OrderArgs, OrderCommand, OrderQuery, Until};
use crate::client::{self, Asked, Client, Path, may_be_done};
use crate::exit::Outcome;
use crate::table;

/// Runs `order`.
pub fn run(args: OrderArgs) -> Outcome {
    let client = Client::new(&args.shop)?;
    client::block_on(async {
        match args.command {
            OrderCommand::List(query) => list(&client, &query).await,
            OrderCommand::Show { order } => {
                let asked = client.get(Path::of(&["v1", "admin", "orders", &order])).await;
                client.tell(asked, show::one)
            }
            OrderCommand::Cancel { order, reason } => {
                change(&client, &order, "cancel", &Reason { reason }).await
            }
            OrderCommand::Refund { order, reason } => {
                change(&client, &order, "refund", &Reason { reason }).await
            }
            OrderCommand::Extend { order, until, reason } => {
                extend(&client, &order, until, reason).await
            }
            OrderCommand::Erase(args) => erase::run(&client, &args).await,
            OrderCommand::Payments(query) => {
                client.tell(money(&client, "payments", &query).await, show::payments)
            }
            OrderCommand::Refunds(query) => {
                client.tell(money(&client, "refunds", &query).await, show::refunds)
            }
        }
    })
}

/// Changes an order, and says what it is then.
async fn change(client: &Client, order: &str, how: &str, body: &impl Serialize) -> Outcome {
    let asked = client.post_json(Path::of(&["v1", "admin", "orders", order, how]), body).await;
    client.tell(asked, |order: &Order| format!("{}.\n", now(order)))
}

/// Gives an order more time. What is sent names the instant, so that sending it again gives no more.
async fn extend(
    client: &Client,
    order: &str,
    Until { secs, pay_by }: Until,
    reason: Option<String>,
) -> Outcome {
    let mut extension = Extension { secs, pay_by, reason };
    if let Some(secs) = secs {
        let answer = match client.get(Path::of(&["v1", "admin", "orders", order])).await {
            Ok(answer) => answer,
            refused => return client.tell(refused, |_: &AnyOrderDetail| String::new()),
        };
        // What is no order has no end that could be moved: the server says so.
        if let AnyOrderDetail::Order(detail) = answer.read()? {
            let end = detail.order.pay_by.millis() + i64::from(secs) * 1_000;
            extension = Extension { secs: None, pay_by: Some(Time::from_millis(end)), ..extension };
        }
    }
    let asked =
        client.post_json(Path::of(&["v1", "admin", "orders", order, "extend"]), &extension).await;
    if secs.is_some()
        && let Some(end) = extension.pay_by
        && may_be_done(&asked)
    {
        eprintln!(
            "To send the same again and have it done once, say --pay-by {end} in place of --secs"
        );
    }
    client.tell(asked, |order: &Order| format!("{}, until {}.\n", now(order), order.pay_by))
}

/// What an order is now.
fn now(order: &Order) -> String {
    let (units, state) = (table::units(order.units.into()), order.state.as_str());
    format!("{} of {} for {units} of {} is {state}", order.id, order.buyer, order.item)
}

async fn money(client: &Client, list: &str, query: &MoneyQuery) -> Asked {
    let limit = query.limit.to_string();
    let mut pairs = vec![("limit", limit.as_str())];
    pairs.extend(query.order.as_deref().or(query.of.as_deref()).map(|order| ("order", order)));
    pairs.extend(query.cursor.as_deref().map(|cursor| ("cursor", cursor)));
    client.get(Path(&["v1", "admin", list], &pairs)).await
}

async fn list(client: &Client, query: &OrderQuery) -> Outcome {
    let limit = query.limit.to_string();
    let mut pairs = vec![("limit", limit.as_str())];
    let texts = [
        ("sale", &query.sale),
        ("item", &query.item),
        ("buyer", &query.buyer),
        ("cursor", &query.cursor),
    ];
    pairs.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))));
    pairs.extend(query.state.map(|state| ("state", state.as_str())));
    let asked = client.get(Path(&["v1", "admin", "orders"], &pairs)).await;
    client.tell(asked, show::list)
}
