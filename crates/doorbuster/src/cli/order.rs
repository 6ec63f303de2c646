//! Arguments of `order`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use doorbuster_api::limits::{EXTEND_SECS_MAX, PAGE_DEFAULT};
use doorbuster_api::order::OrderState;
use doorbuster_api::value::Time;

use super::server::ServerArgs;
use super::{complete, values};

/// Show, cancel, refund and extend orders, and list payments and refunds.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster order list --sale spring --state reserved")]
pub struct OrderArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: OrderCommand,
}

/// An operation on orders.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    List(OrderQuery),
    /// Show an order with its history.
    #[command(after_help = "Example:\n  doorbuster order show ord_…")]
    Show {
        /// The order's id.
        order: String,
    },
    /// Cancel unpaid orders. Their units go back on sale.
    #[command(after_help = "Examples:
  doorbuster order cancel ord_… --yes
  doorbuster order cancel --sale spring --dry-run")]
    Cancel {
        #[command(flatten)]
        which: OrderSelection,
        /// The reason, for the order's history.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Refund paid orders. Their units go back on sale at once, and the payment provider gets
    /// requests to give the money back.
    #[command(after_help = "Examples:
  doorbuster order refund ord_… --reason 'broken in transit' --yes
  doorbuster order refund --file orders.txt --yes")]
    Refund {
        #[command(flatten)]
        which: OrderSelection,
        /// The reason, for the order's history.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Give unpaid orders more time to be paid.
    #[command(after_help = "Examples:
  doorbuster order extend ord_… --secs 600
  doorbuster order extend --sale spring --pay-by 2026-11-20T11:00:00Z --yes")]
    Extend {
        #[command(flatten)]
        which: OrderSelection,
        #[command(flatten)]
        until: PayByArgs,
        /// The reason, for the order's history.
        #[arg(long)]
        reason: Option<String>,
    },
    Erase(EraseArgs),
    /// List the payments of one order or of all orders, newest first.
    #[command(after_help = "Example:\n  doorbuster order payments ord_…")]
    Payments(MoneyQuery),
    /// List the refunds of one order or of all orders, newest first.
    #[command(after_help = "Example:\n  doorbuster order refunds ord_…")]
    Refunds(MoneyQuery),
}

/// The orders to change: one order, the orders of a sale, or the orders in a file.
#[derive(Debug, Args)]
pub struct OrderSelection {
    /// The order's id.
    #[arg(required_unless_present_any = ["sale", "file"], conflicts_with_all = ["sale", "file"])]
    pub order: Option<String>,
    /// All orders of this sale whose state allows the change.
    #[arg(long, value_parser = values::name, add = complete::sales())]
    pub sale: Option<String>,
    /// Change only orders in this state, for example reserved.
    #[arg(long, value_parser = values::order_state, requires = "sale")]
    pub state: Option<OrderState>,
    /// The orders whose ids are in this file, one id on each line; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "sale")]
    pub file: Option<PathBuf>,
    /// List the orders, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation. Without a terminal, this flag is required. Extending a single
    /// order needs no confirmation.
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
}

/// Erase a buyer: replace the buyer's id with a keyed hash in every closed sale.
///
/// The command skips orders in sales that are not closed, and orders with a pending payment or
/// refund. If there are such orders, the command lists them and exits with 1. In this case, repeat
/// the command later. If the buyer is blocked, the command reports the block. The block stays until
/// you remove it with `block remove`. A block does not change the exit status.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster order erase --buyer alice --dry-run")]
pub struct EraseArgs {
    /// The buyer's id.
    #[arg(long, value_parser = values::name)]
    pub buyer: String,
    /// List the rows that would be erased and the rows that would stay, and erase nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation. Without a terminal, this flag is required.
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
}

/// The new end of an order's payment window.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct PayByArgs {
    /// Seconds to add to the present end of the payment window, or to the present time if the
    /// window has ended. If the server's answer is lost, the command prints the end that it
    /// requested. Then repeat the command with --pay-by and this end, and without --secs, so that
    /// the seconds are not added twice.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(EXTEND_SECS_MAX)))]
    pub secs: Option<u32>,
    /// The new end, like 2026-11-20T10:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub pay_by: Option<Time>,
}

/// Which payments or refunds to list.
#[derive(Debug, Args)]
pub struct MoneyQuery {
    /// List only the payments or refunds of this order.
    pub order: Option<String>,
    /// The order's id. This flag has the same effect as the positional argument.
    #[arg(long = "order", value_name = "ORDER", conflicts_with = "order", hide = true)]
    pub of: Option<String>,
    /// Maximum number of entries, 1 to 200.
    #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT, value_parser = values::page())]
    pub limit: u32,
    /// Continue after the page that printed this cursor.
    #[arg(long)]
    pub cursor: Option<String>,
}

/// List orders, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster order list --buyer alice")]
pub struct OrderQuery {
    /// List only orders of this sale.
    #[arg(long, value_parser = values::name, add = complete::sales())]
    pub sale: Option<String>,
    /// List only orders for this item of the given sale.
    #[arg(long, value_parser = values::name, add = complete::items())]
    pub item: Option<String>,
    /// List only orders of this buyer.
    #[arg(long, value_parser = values::name)]
    pub buyer: Option<String>,
    /// List only orders in this state: reserved, paid, cancelled, expired or refunded.
    #[arg(long, value_parser = values::order_state)]
    pub state: Option<OrderState>,
    /// Maximum number of entries, 1 to 200.
    #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT, value_parser = values::page())]
    pub limit: u32,
    /// Continue after the page that printed this cursor.
    #[arg(long)]
    pub cursor: Option<String>,
}
