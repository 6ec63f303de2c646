//! Arguments of `sale`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use doorbuster_api::admin::spread::{PartitionChoice, Partitions};
use doorbuster_api::limits::{ADMISSIONS_MAX, PAGE_DEFAULT};
use doorbuster_api::sale::Phase;
use doorbuster_api::value::{Currency, Time};

use super::sale_edit::{CodesArgs, EditArgs};
use super::server::ServerArgs;
use super::{complete, values};

/// Create and run sales on a running server.
///
/// A sale begins as a draft, which buyers do not see. After `schedule`, the sale opens at its
/// `starts_at`. `open` opens the sale at once. An open sale can be paused and resumed. A closed
/// sale cannot be opened again.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster sale create spring --title 'Spring drop' --item id=phone,stock=100,price=10.00CNY,limit=10
  doorbuster sale open spring
  doorbuster sale show spring")]
pub struct SaleArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: SaleCommand,
}

/// An operation on a sale.
#[derive(Debug, Subcommand)]
pub enum SaleCommand {
    Create(CreateArgs),
    /// List sales, newest first.
    #[command(after_help = "Example:\n  doorbuster sale list --phase open")]
    List {
        /// List only sales in this phase: draft, scheduled, open, paused or closed.
        #[arg(long, value_parser = values::phase)]
        phase: Option<Phase>,
        /// Maximum number of entries, 1 to 200.
        #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT, value_parser = values::page())]
        limit: u32,
        /// Continue after the page that printed this cursor.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show a sale, its items, and where the units of each item are.
    #[command(
        after_help = "Examples:\n  doorbuster sale show spring\n  doorbuster sale show spring --slots"
    )]
    Show {
        /// The sale's id.
        #[arg(value_parser = values::name, add = complete::sales())]
        sale: String,
        /// Show the sale's slots instead of its items: the partition, the granted and sold units,
        /// and the active sub-domain of each slot.
        #[arg(long)]
        slots: bool,
    },
    /// Show the rates, latencies and refusals of the last seconds.
    #[command(after_help = "Example:\n  doorbuster sale stats spring")]
    Stats(PhaseArgs),
    /// Show requests, orders, refusals and latencies of all nodes over time.
    #[command(after_help = "Example:\n  doorbuster sale series spring --step 10")]
    Series(SeriesArgs),
    /// Show or change how an item's stock is spread over its slots, also while the sale runs.
    #[command(after_help = "Examples:\n  doorbuster sale spread spring phone\n  \
                            doorbuster sale spread spring phone --partitions 8")]
    Spread(SpreadArgs),
    /// Check whether a sale is ready for its opening; exits with 1 if the sale is not ready.
    #[command(after_help = "Example:\n  doorbuster sale check spring")]
    Check(PhaseArgs),
    /// Make a scheduled sale a draft again.
    #[command(after_help = "Example:\n  doorbuster sale unschedule spring")]
    Unschedule(PhaseArgs),
    /// Delete a draft.
    #[command(after_help = "Example:\n  doorbuster sale delete spring --yes")]
    Delete(CloseArgs),
    /// Change a sale or its items.
    #[command(
        after_help = "Example:\n  doorbuster sale set spring --title 'Spring' --item phone.price=10.00CNY"
    )]
    Set(SetArgs),
    /// Schedule a draft to open at its `starts_at`.
    #[command(after_help = "Example:\n  doorbuster sale schedule spring")]
    Schedule(PhaseArgs),
    /// Open a draft or a scheduled sale at once.
    #[command(after_help = "Example:\n  doorbuster sale open spring")]
    Open(PhaseArgs),
    /// Pause an open sale. The command waits until issued tickets are settled, but only for some
    /// seconds.
    #[command(after_help = "Example:\n  doorbuster sale pause spring")]
    Pause(PhaseArgs),
    /// Resume a paused sale.
    #[command(after_help = "Example:\n  doorbuster sale resume spring")]
    Resume(PhaseArgs),
    /// Close a sale. A closed sale cannot be opened again. Unpaid orders stay until their payment
    /// windows end.
    #[command(after_help = "Example:\n  doorbuster sale close spring --yes")]
    Close(CloseArgs),
    Adjust(AdjustArgs),
    Admit(AdmitArgs),
    Edit(EditArgs),
    Codes(CodesArgs),
}

/// The sale that a command shows, checks or moves to another phase. If the sale is already in the
/// requested phase, the command changes nothing.
#[derive(Debug, Args)]
pub struct PhaseArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
}

/// The sale and the period to show.
#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The length of one step of the series, in seconds: 1, 10 or 60.
    #[arg(long, default_value = "1", value_parser = values::series_step)]
    pub step: u32,
    /// The start of the first step [default: an hour before the end].
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub from: Option<Time>,
    /// The end of the last step [default: now].
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub to: Option<Time>,
}

/// The item whose spread is shown or changed. If an option is omitted, its setting stays unchanged.
#[derive(Debug, Args)]
pub struct SpreadArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The item's id.
    #[arg(value_parser = values::name, add = complete::items())]
    pub item: String,
    /// The number of slots that share the stock; with `auto`, the server chooses this number.
    #[arg(long, value_name = "N|auto", value_parser = values::partitions)]
    pub partitions: Option<Partitions>,
    /// How the server chooses the slot of a request: buyer, random or round_robin.
    #[arg(long, value_name = "HOW", value_parser = values::choose)]
    pub choose: Option<PartitionChoice>,
    /// Units that each new slot gets at its start; 0 divides all units among the slots.
    #[arg(long, value_name = "UNITS")]
    pub initial: Option<u64>,
    /// A slot gets a refill when one of its sub-domains has fewer units than this number.
    #[arg(long, value_name = "UNITS")]
    pub threshold: Option<u64>,
    /// The number of units of one refill.
    #[arg(long, value_name = "UNITS")]
    pub refill: Option<u64>,
}

/// The fields to change.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The title.
    #[arg(long, required_unless_present_any = ["starts_at", "ends_at", "item"])]
    pub title: Option<String>,
    /// The time at which a scheduled sale opens by itself.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub starts_at: Option<Time>,
    /// When the sale closes by itself.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub ends_at: Option<Time>,
    /// A field of an item: title, description, image, price, list_price, limit or hold. The option
    /// can be repeated.
    #[arg(long, value_name = "ITEM.FIELD=VALUE")]
    pub item: Vec<String>,
    /// The currency of the prices; requires --minor.
    #[arg(long, value_parser = values::currency, requires = "minor")]
    pub currency: Option<Currency>,
    /// Read prices as whole numbers of minor units: with --currency CNY, price=1000 is ten yuan.
    #[arg(long, requires = "currency")]
    pub minor: bool,
}

/// A new value of one field of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemField {
    /// The item's id.
    pub item: String,
    /// The name of the field in the API.
    pub member: &'static str,
    /// The value.
    pub value: serde_json::Value,
}

/// The sale to close, or the draft to delete.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}

/// Create a sale, as a draft.
///
/// Give a title and at least one item, or give a JSON file in the format of the admin API.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster sale create spring --title 'Spring drop' --starts-at 2026-11-20T10:00:00Z \\
      --item id=phone,title=Phone,stock=100,price=10.00CNY,limit=10,hold=15m
  doorbuster sale create --file spring.json")]
pub struct CreateArgs {
    /// The sale's id: 1 to 64 characters of A-Z a-z 0-9 _ . : -
    #[arg(value_parser = values::name, required_unless_present = "file", requires = "title", requires = "item")]
    pub sale: Option<String>,
    /// The title on the sale page.
    #[arg(long, conflicts_with = "file")]
    pub title: Option<String>,
    /// The time at which a scheduled sale opens by itself.
    #[arg(long, value_name = "TIME", value_parser = values::time, conflicts_with = "file")]
    pub starts_at: Option<Time>,
    /// When the sale closes by itself.
    #[arg(long, value_name = "TIME", value_parser = values::time, conflicts_with = "file")]
    pub ends_at: Option<Time>,
    /// An item, such as id=phone,stock=100,price=10.00CNY. These three parts are required. The
    /// stock is a number or unlimited. The price 10.00CNY is ten yuan; with --minor, the price is a
    /// number of minor units. Three parts are optional: title= [default: the id]; limit=, the
    /// maximum number of units for each buyer [default: 1]; hold=, the time to pay [default: 15m].
    /// The option can be repeated.
    #[arg(long, value_name = "NAME=VALUE,…", conflicts_with = "file")]
    pub item: Vec<String>,
    /// The currency of prices that name no currency.
    #[arg(long, value_parser = values::currency)]
    pub currency: Option<Currency>,
    /// Read prices as whole numbers of minor units: with --currency CNY, price=1000 is ten yuan.
    #[arg(long, requires = "currency")]
    pub minor: bool,
    /// Read the sale as JSON from this file; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "sale")]
    pub file: Option<PathBuf>,
}

/// Raise or lower an item's stock, also while the sale runs.
///
/// A negative number removes units. The command can remove free units and units that are kept for
/// the waitlist. It never removes held or sold units.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster sale adjust spring phone +50 --reason recount
  doorbuster sale adjust spring phone -20 --reason damaged")]
pub struct AdjustArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The item's id.
    #[arg(value_parser = values::name, add = complete::items())]
    pub item: String,
    /// The number of units to add; a negative number removes units.
    #[arg(allow_hyphen_values = true, value_parser = values::units_change)]
    pub units: i64,
    /// The reason, for the ledger.
    #[arg(long)]
    pub reason: String,
    /// The request key of this change of the stock. If the command is repeated with the same key,
    /// the stock changes only once [default: a new key each time].
    #[arg(long, value_name = "KEY", value_parser = values::idempotency_key)]
    pub idempotency_key: Option<String>,
}

/// Admit the next visitors of a waiting room now, even if few units remain.
///
/// The admitted visitors may buy at once. If the units run out, some of these visitors get no unit.
/// An admission cannot be undone. Each call of this command admits more visitors.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster sale admit spring 100 --reason 'the shop has room' --yes"
)]
pub struct AdmitArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The number of visitors, 1 to 5,000.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(ADMISSIONS_MAX)))]
    pub visitors: u32,
    /// The item whose visitors are admitted, if each item of the sale has its own waiting room.
    #[arg(long, value_parser = values::name, add = complete::items())]
    pub item: Option<String>,
    /// The reason, for the record of the action.
    #[arg(long)]
    pub reason: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
}
