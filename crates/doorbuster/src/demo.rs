//! `demo`: a whole flash sale on this machine, from a scratch directory to an audited verdict.
//!
//! Several processes, as in real life: the server (or the servers of a whole installation), the crowd, and this one, which
//! runs the sale and then judges it.

mod crowd;
mod house;
mod scratch;
mod shop;
mod sum;
mod told;

use std::io::IsTerminal;

use anyhow::Context;
use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::admin::new_sale::{NewItem, NewSale};
use doorbuster_api::admin::stock::{StockList, StockRow};
use doorbuster_api::limits::HOLD_SECS_DEFAULT;
use doorbuster_api::value::{Currency, Money, Stock};
use doorbuster_lab::audit;
use doorbuster_lab::storm::StormReport;

use crate::cli::DemoArgs;
use crate::client::{self, Path};
use crate::exit::{Failure, Outcome, Verdict};
use crate::print;
use crate::signals::Stop;
use crate::storm::progress::Bar;
use crate::storm::raise_handles;
use scratch::Scratch;
use shop::Shop;
use sum::Sum;

/// The sale of the demo.
const SALE: &str = "demo";
/// What is sold in it.
const ITEM: &str = "phone";

/// Runs `demo`.
pub fn run(args: &DemoArgs) -> Outcome {
    // The children inherit it.
    raise_handles();
    client::block_on(async {
        let mut stop = Stop::listen()?;
        let scratch = Scratch::make(args.keep, args.shape.of_several().is_some())?;
        let sum = hold(args, &scratch, &mut stop).await?;
        let (report, faults) = (sum.report(), sum.faults());
        if args.json {
            print::json(&report)?;
            for fault in &faults {
                eprintln!("doorbuster: it does not add up: {fault}");
            }
        } else {
            print::text(&told::report(&sum, &report, &faults))?;
        }
        Ok(Verdict::of(report.ok))
    })
}

/// Opens the house, holds the sale, closes the house, audits.
async fn hold(args: &DemoArgs, scratch: &Scratch, stop: &mut Stop) -> Result<Sum, Failure> {
    let bar = Bar::new(args.buyers, !args.json && std::io::stderr().is_terminal());
    bar.say("starting a server");
    let mut shop = Shop::build(args.shape.of_several(), scratch)?;
    let sold = tokio::select! {
        sold = sell(args, &mut shop, scratch, &bar) => Some(sold),
        () = stop.asked() => None,
    };
    bar.say("stopping the server");
    let stopped = shop.stop().await;
    let sold = sold.ok_or_else(|| Failure::Refused("stopped before the end".into()))?;
    let (storm, row, reached_store) = sold.map_err(|failure| shop.explain(failure, &stopped))?;
    bar.say("auditing");
    let audit = audit::run(&shop.store()?, Some(&scratch.answers()))
        .context("the audit did not take place")?;
    drop(bar);
    Ok(Sum {
        buyers: args.buyers,
        units: args.units,
        stock: args.stock,
        storm,
        row,
        audit,
        reached_store,
        stopped,
    })
}

/// Makes the sale, opens it, sends the crowd, and asks the server how it went.
async fn sell(
    args: &DemoArgs,
    shop: &mut Shop,
    scratch: &Scratch,
    bar: &Bar,
) -> Result<(StormReport, StockRow, u64), Failure> {
    let client = shop.open().await?;
    client.post_json(Path::of(&["v1", "admin", "sales"]), &sale(args)).await?;
    client.post(Path::of(&["v1", "admin", "sales", SALE, "open"])).await?;
    bar.say("signing the buyers in");
    let storm = crowd::send(args, shop, scratch, bar).await?;
    let stock: StockList =
        client.get(Path::of(&["v1", "admin", "sales", SALE, "stock"])).await?.read()?;
    let row = stock.items.into_iter().next().context("the sale has lost its item")?;
    let reached_store = shop.tickets_settled(&client).await?;
    Ok((storm, row, reached_store))
}

fn sale(args: &DemoArgs) -> NewSale {
    let currency = Currency::parse("CNY").expect("three capital letters");
    let item = NewItem {
        id: ITEM.into(),
        title: "Phone".into(),
        price: Money { amount_minor: 10, currency },
        stock: Stock::Counted(args.stock),
        limit_per_buyer: args.units,
        hold_secs: HOLD_SECS_DEFAULT,
        description: String::new(),
        image: None,
        list_price: None,
    };
    NewSale {
        id: SALE.into(),
        title: "Demo".into(),
        starts_at: None,
        ends_at: None,
        items: vec![item],
        front_door: FrontDoor::default(),
    }
}
