//! `demo`: runs a complete flash sale on this machine and audits the result.
//!
//! The servers and the load generator are separate processes. This process starts them, opens the
//! sale, and checks the result.

mod installation;
mod load;
mod outcome;
mod server;
mod summary;
mod work_dir;

use std::io::IsTerminal;

use anyhow::Context;
use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::admin::new_sale::{NewItem, NewSale};
use doorbuster_api::admin::stock::{StockList, StockRow};
use doorbuster_api::limits::HOLD_SECS_DEFAULT;
use doorbuster_api::value::{Currency, Money, Stock, Text};
use doorbuster_harness::audit;
use doorbuster_harness::load::LoadReport;

use crate::cli::DemoArgs;
use crate::client::{self, Path};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::print;
use crate::signals::StopSignals;
use crate::storm::progress::LiveProgress;
use crate::storm::raise_open_files_limit;
use installation::Installation;
use outcome::DemoOutcome;
use server::ServerMetrics;
use work_dir::WorkDir;

const SALE: &str = "demo";
const ITEM: &str = "phone";

/// Runs `demo`.
pub fn run(args: &DemoArgs) -> Outcome {
    // The child processes inherit the raised limit of open files.
    raise_open_files_limit();
    client::block_on(async {
        let mut stop = StopSignals::listen()?;
        let work_dir = WorkDir::create(args.keep, args.shape.cluster_shape().is_some())?;
        let outcome = run_demo(args, &work_dir, &mut stop).await?;
        let (report, mismatches) = (outcome.report(), outcome.mismatches());
        if args.json {
            print::json(&report)?;
            for fault in &mismatches {
                print::note(&format!("doorbuster: mismatch: {fault}"));
            }
        } else {
            print::text(&summary::render(&outcome, &report, &mismatches))?;
        }
        Ok(CommandResult::new(report.ok))
    })
}

async fn run_demo(
    args: &DemoArgs,
    work_dir: &WorkDir,
    stop: &mut StopSignals,
) -> Result<DemoOutcome, Failure> {
    let bar = LiveProgress::new(args.buyers, !args.json && std::io::stderr().is_terminal());
    bar.set_message("starting a server");
    let mut installation = Installation::start(args.shape.cluster_shape(), work_dir)?;
    let sold = tokio::select! {
        sold = run_sale(args, &mut installation, work_dir, &bar) => Some(sold),
        () = stop.wait() => None,
    };
    bar.set_message("stopping the server");
    let stopped = installation.stop().await;
    let sold = sold
        .ok_or_else(|| Failure::Refused("the demo was interrupted before the sale ended".into()))?;
    let (storm, row, used) = sold.map_err(|failure| installation.explain(failure, &stopped))?;
    bar.set_message("auditing");
    let audit = audit::run(&installation.store()?, Some(&work_dir.answers()))
        .context("failed to run the audit")?;
    drop(bar);
    Ok(DemoOutcome {
        buyers: args.buyers,
        units: args.units,
        stock: args.stock,
        storm,
        row,
        audit,
        used,
        stopped,
    })
}

/// Runs the sale. Returns three values: the load generator's report; the item's row in the stock
/// list; and how much the servers' metrics grew during the load.
async fn run_sale(
    args: &DemoArgs,
    installation: &mut Installation,
    work_dir: &WorkDir,
    bar: &LiveProgress,
) -> Result<(LoadReport, StockRow, ServerMetrics), Failure> {
    let client = installation.wait_ready().await?;
    client.post_json(Path::admin(&["sales"]), &new_sale(args)).await?;
    client.post(Path::admin(&["sales", SALE, "open"])).await?;
    let before = installation.read_metrics(&client).await?;
    bar.set_message("starting the load generator");
    let storm = load::send_load(args, installation, work_dir, bar).await?;
    let stock: StockList = client.get(Path::admin(&["sales", SALE, "stock"])).await?.read()?;
    let row = stock.items.into_iter().next().context("the server's stock list has no item")?;
    let after = installation.read_metrics(&client).await?;
    let used = ServerMetrics {
        tickets_settled: after.tickets_settled.saturating_sub(before.tickets_settled),
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
    };
    Ok((storm, row, used))
}

fn new_sale(args: &DemoArgs) -> NewSale {
    let currency = Currency::parse("CNY").expect("three capital letters");
    let item = NewItem {
        id: ITEM.into(),
        title: "Phone".into(),
        price: Money { amount_minor: 10, currency },
        stock: Stock::Counted(args.stock),
        limit_per_buyer: args.units,
        hold_secs: HOLD_SECS_DEFAULT,
        description: Text::default(),
        image: None,
        gallery: Vec::new(),
        facts: Vec::new(),
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
