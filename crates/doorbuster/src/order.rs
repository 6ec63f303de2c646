//! `order`: lists, shows and changes orders over the admin API, and lists payments and refunds.

mod erase;
mod many;
mod show;

use doorbuster_api::admin::order::AnyOrderDetail;
use doorbuster_api::admin::payments::Extension;
use doorbuster_api::order::{Order, OrderState};
use doorbuster_api::value::Time;

use crate::cli::{MoneyQuery, OrderArgs, OrderCommand, OrderQuery, PayByArgs};
use crate::client::{self, ApiResult, Client, Path, may_have_been_done};
use crate::exit::{Failure, Outcome};
use crate::{print, table};
use many::Change;

/// Runs `order`.
pub fn run(args: OrderArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        match args.command {
            OrderCommand::List(query) => list(&client, &query).await,
            OrderCommand::Show { order } => {
                let result = client.get(Path::admin(&["orders", &order])).await;
                client.print_result(result, show::order_detail)
            }
            OrderCommand::Cancel { which, reason } => {
                many::change(&client, &which, Change::Cancel, reason).await
            }
            OrderCommand::Refund { which, reason } => {
                many::change(&client, &which, Change::Refund, reason).await
            }
            OrderCommand::Extend { which, until, reason } => {
                many::change(&client, &which, Change::Extend(until), reason).await
            }
            OrderCommand::Erase(args) => erase::run(&client, &args).await,
            OrderCommand::Payments(query) => {
                client.print_result(list_money(&client, "payments", &query).await, show::payments)
            }
            OrderCommand::Refunds(query) => {
                client.print_result(list_money(&client, "refunds", &query).await, show::refunds)
            }
        }
    })
}

/// Extends the payment window of an order. The request contains the new end of the window instead
/// of the added seconds, so a repeated request extends the window only once.
async fn extend(
    client: &Client,
    order: &str,
    PayByArgs { secs, pay_by }: &PayByArgs,
    reason: Option<String>,
) -> Result<ApiResult, Failure> {
    let (secs, pay_by) = (*secs, *pay_by);
    let mut extension = Extension { secs, pay_by, reason };
    if let Some(secs) = secs {
        let answer = match client.get(Path::admin(&["orders", order])).await {
            Ok(answer) => answer,
            refused => return Ok(refused),
        };
        // The id may belong to a queued ticket or a waitlist entry, which has no payment window. In
        // this case, the request still contains `secs`, and the server refuses the request.
        if let AnyOrderDetail::Order(detail) = answer.read()? {
            let now = jiff::Timestamp::now().as_millisecond();
            let end = detail.order.pay_by.millis().max(now) + i64::from(secs) * 1_000;
            extension = Extension { secs: None, pay_by: Some(Time::from_millis(end)), ..extension };
        }
    }
    let result = client.post_json(Path::admin(&["orders", order, "extend"]), &extension).await;
    if secs.is_some()
        && let Some(end) = extension.pay_by
        && may_have_been_done(&result)
    {
        print::note(&format!(
            "To repeat the same request safely, give --pay-by {end} instead of --secs"
        ));
    }
    Ok(result)
}

fn order_text(order: &Order) -> String {
    let (units, state) = (table::units(order.units.into()), order.state.as_str());
    let until = match order.state {
        OrderState::Reserved => format!(", until {}", order.pay_by),
        _ => String::new(),
    };
    format!("{} of {} for {units} of {} is {state}{until}.\n", order.id, order.buyer, order.item)
}

async fn list_money(client: &Client, list: &str, query: &MoneyQuery) -> ApiResult {
    let parts = [list];
    let path = Path::admin(&parts)
        .with("limit", Some(query.limit))
        .with("order", query.order.as_deref().or(query.of.as_deref()))
        .with("cursor", query.cursor.as_deref());
    client.get(path).await
}

/// Fails if the sale does not exist. The server's list of orders is empty for an unknown sale, so a
/// misspelt name would look like a sale without orders.
async fn expect_sale(client: &Client, sale: Option<&str>) -> Result<(), Failure> {
    if let Some(sale) = sale {
        client.get(Path::admin(&["sales", sale])).await?;
    }
    Ok(())
}

async fn list(client: &Client, query: &OrderQuery) -> Outcome {
    expect_sale(client, query.sale.as_deref()).await?;
    let path = Path::admin(&["orders"])
        .with("limit", Some(query.limit))
        .with("sale", query.sale.as_deref())
        .with("item", query.item.as_deref())
        .with("buyer", query.buyer.as_deref())
        .with("cursor", query.cursor.as_deref())
        .with("state", query.state.map(|state| state.as_str()));
    client.print_result(client.get(path).await, show::list)
}
