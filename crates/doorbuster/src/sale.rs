//! `sale`: creates, shows and runs sales over the admin API.

mod commands;
mod edit;
mod show;

pub use edit::print_code_counts;

use std::io::Read;
use std::path::Path as FilePath;

use anyhow::Context;
use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_api::admin::new_sale::NewSale;
use doorbuster_api::admin::sale::AdminSale;
use doorbuster_api::admin::stock::{Adjustment, StockRow};
use doorbuster_api::limits::ADMIN_BODY_BYTES_MAX;
use doorbuster_api::sale::Phase;
use serde_json::value::{RawValue, to_raw_value};

use crate::cli::{AdjustArgs, CreateArgs, SaleArgs, SaleCommand, values};
use crate::client::{self, Client, Path, may_have_been_done};
use crate::confirm::confirm;
use crate::exit::{Failure, Outcome};
use crate::{print, table};

/// Runs `sale`.
pub fn run(args: SaleArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    client::block_on(async {
        match args.command {
            SaleCommand::Create(args) => create(&client, args).await,
            SaleCommand::List { phase, limit, cursor } => {
                list(&client, phase, limit, cursor.as_deref()).await
            }
            SaleCommand::Show { sale, slots: false } => show(&client, &sale).await,
            SaleCommand::Show { sale, slots: true } => {
                let result = client.get(Path::admin(&["sales", &sale, "slots"])).await;
                client.print_result(result, show::slots)
            }
            SaleCommand::Stats(of) => commands::stats(&client, &of.sale).await,
            SaleCommand::Series(args) => commands::series(&client, &args).await,
            SaleCommand::Spread(of) => commands::spread(&client, &of).await,
            SaleCommand::Check(of) => commands::check(&client, &of.sale).await,
            SaleCommand::Unschedule(to) => change_phase(&client, &to.sale, "unschedule").await,
            SaleCommand::Delete(to) => {
                confirm(to.yes, &format!("the draft {} will be deleted", to.sale))?;
                commands::delete(&client, &to.sale).await
            }
            SaleCommand::Set(args) => commands::set(&client, &args).await,
            SaleCommand::Schedule(to) => change_phase(&client, &to.sale, "schedule").await,
            SaleCommand::Open(to) => change_phase(&client, &to.sale, "open").await,
            SaleCommand::Pause(to) => change_phase(&client, &to.sale, "pause").await,
            SaleCommand::Resume(to) => change_phase(&client, &to.sale, "resume").await,
            SaleCommand::Close(to) => {
                confirm(to.yes, &format!("{} will close and cannot be opened again", to.sale))?;
                change_phase(&client, &to.sale, "close").await
            }
            SaleCommand::Adjust(args) => adjust(&client, &args).await,
            SaleCommand::Admit(args) => {
                let visitors = table::counted(args.visitors.into(), "visitor");
                let question = format!("{visitors} will be admitted and may buy immediately");
                confirm(args.yes, &question)?;
                commands::admit(&client, &args).await
            }
            SaleCommand::Edit(args) => edit::edit(&client, &args).await,
            SaleCommand::Codes(args) => edit::codes(&client, &args).await,
        }
    })
}

async fn create(client: &Client, args: CreateArgs) -> Outcome {
    let body = match &args.file {
        Some(file) => read(file)?,
        None => to_raw_value(&new_sale(args)?).context("cannot write JSON")?,
    };
    let result = client.post_json(Path::admin(&["sales"]), &body).await;
    client.print_result(result, |sale: &AdminSale| {
        // If the sale has a start time, the text suggests `schedule`, because `open` opens the sale
        // at once.
        let (what, step) =
            if sale.starts_at.is_some() { ("Schedule", "schedule") } else { ("Open", "open") };
        let prices =
            sale.items.iter().map(|item| format!("{} costs {}", item.id, commands::price(item)));
        format!(
            "{} is created, as a {}. {what} it with: doorbuster sale {step} {}\n{}.\n",
            sale.id,
            sale.phase.as_str(),
            sale.id,
            prices.collect::<Vec<_>>().join(", ")
        )
    })
}

/// The argument parser requires an id, a title and an item, so none of them is missing here.
fn new_sale(args: CreateArgs) -> Result<NewSale, Failure> {
    let minor_of = args.currency.filter(|_| args.minor);
    let item = |text: &String| {
        let text = match args.currency.filter(|_| !args.minor) {
            Some(currency) => values::with_currency(text, currency),
            None => text.clone(),
        };
        values::item(&text, minor_of)
    };
    let items = args.item.iter().map(item).collect::<Result<_, _>>().map_err(Failure::Settings)?;
    Ok(NewSale {
        id: args.sale.unwrap_or_default(),
        title: args.title.unwrap_or_default().into(),
        starts_at: args.starts_at,
        ends_at: args.ends_at,
        items,
        front_door: FrontDoor::default(),
    })
}

/// Reads a sale from a file or standard input. Only the server checks the sale's content.
fn read(file: &FilePath) -> Result<Box<RawValue>, Failure> {
    let mut text = String::new();
    let bytes_max = ADMIN_BODY_BYTES_MAX as u64 + 1;
    let read = if file == FilePath::new("-") {
        std::io::stdin().lock().take(bytes_max).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(bytes_max).read_to_string(&mut text))
    };
    let wrong = |why: String| {
        Failure::Settings(format!("the sale in {} cannot be read: {why}", file.display()))
    };
    read.map_err(|error| wrong(error.to_string()))?;
    if text.len() > ADMIN_BODY_BYTES_MAX {
        return Err(wrong(format!("it is larger than {} KiB", ADMIN_BODY_BYTES_MAX / 1024)));
    }
    RawValue::from_string(text).map_err(|error| wrong(error.to_string()))
}

async fn list(client: &Client, phase: Option<Phase>, limit: u32, cursor: Option<&str>) -> Outcome {
    let path = Path::admin(&["sales"])
        .with("limit", Some(limit))
        .with("phase", phase.map(|phase| phase.as_str()))
        .with("cursor", cursor);
    client.print_result(client.get(path).await, show::list)
}

async fn show(client: &Client, sale: &str) -> Outcome {
    let result = client.get(Path::admin(&["sales", sale])).await;
    if client.wants_json() || result.is_err() {
        return client.print_result(result, |_: &AdminSale| String::new());
    }
    let stock = client.get(Path::admin(&["sales", sale, "stock"])).await?.read()?;
    client.print_result(result, |sale| show::sale_detail(sale, &stock))
}

async fn change_phase(client: &Client, sale: &str, step: &str) -> Outcome {
    let result = client.post(Path::admin(&["sales", sale, step])).await;
    client
        .print_result(result, |sale: &AdminSale| format!("{} is {}.\n", sale.id, show::phase(sale)))
}

async fn adjust(client: &Client, args: &AdjustArgs) -> Outcome {
    let key = args
        .idempotency_key
        .clone()
        .unwrap_or_else(|| format!("cli-{:032x}", rand::random::<u128>()));
    let path = ["sales", &args.sale, "items", &args.item, "adjustments"];
    let body = Adjustment { units: args.units, reason: args.reason.clone() };
    let result = client.post_with_key(Path::admin(&path), &key, &body).await;
    if may_have_been_done(&result) {
        print::note(&format!("To repeat the same adjustment safely, add: --idempotency-key {key}"));
    }
    client.print_result(result, |row: &StockRow| {
        let total = table::grouped_or_dash(row.total);
        let free = table::grouped_or_dash(show::free(row));
        format!("{} of {} has {total} units now; {free} of them are free.\n", row.item, args.sale)
    })
}
