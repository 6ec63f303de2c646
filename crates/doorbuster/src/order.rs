//! `order`: lists, shows and cancels orders over the admin API.

mod show;

use doorbuster_api::order::Order;

use crate::cli::{OrderArgs, OrderCommand, OrderQuery};
use crate::client::{self, Client, Path};
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
            OrderCommand::Cancel { order } => {
                let asked = client.post(Path::of(&["v1", "admin", "orders", &order, "cancel"])).await;
                client.tell(asked, |order: &Order| {
                    let (units, state) = (table::units(order.units.into()), order.state.as_str());
                    format!("{} of {} for {units} of {} is {state}.\n", order.id, order.buyer, order.item)
                })
            }
        }
    })
}

async fn list(client: &Client, query: &OrderQuery) -> Outcome {
    let limit = query.limit.to_string();
    let mut pairs = vec![("limit", limit.as_str())];
    let texts = [("sale", &query.sale), ("item", &query.item), ("buyer", &query.buyer), ("cursor", &query.cursor)];
    pairs.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?))));
    pairs.extend(query.state.map(|state| ("state", state.as_str())));
    let asked = client.get(Path(&["v1", "admin", "orders"], &pairs)).await;
    client.tell(asked, show::list)
}
