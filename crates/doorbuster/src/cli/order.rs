//! `order`: the admin API's orders from a shell.

use clap::{Args, Subcommand};
use doorbuster_api::limits::PAGE_DEFAULT;
use doorbuster_api::order::OrderState;

use super::shop::ShopArgs;
use super::values;

/// See and cancel orders on a running server.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster order list --sale spring --state reserved")]
pub struct OrderArgs {
    #[command(flatten)]
    pub shop: ShopArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: OrderCommand,
}

/// What to do with orders.
#[derive(Debug, Subcommand)]
pub enum OrderCommand {
    List(OrderQuery),
    /// Show an order with its history.
    #[command(after_help = "Example:\n  doorbuster order show ord_…")]
    Show {
        /// The order's id.
        order: String,
    },
    /// Cancel an unpaid order: its units go back on sale, exactly once.
    #[command(after_help = "Example:\n  doorbuster order cancel ord_…")]
    Cancel {
        /// The order's id.
        order: String,
    },
}

/// List orders, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster order list --buyer alice")]
pub struct OrderQuery {
    /// Only of this sale.
    #[arg(long, value_parser = values::name)]
    pub sale: Option<String>,
    /// Only of this item (of the sale given).
    #[arg(long, value_parser = values::name)]
    pub item: Option<String>,
    /// Only of this buyer.
    #[arg(long, value_parser = values::name)]
    pub buyer: Option<String>,
    /// Only those in this state: reserved, paid, cancelled, expired or refunded.
    #[arg(long, value_parser = values::order_state)]
    pub state: Option<OrderState>,
    /// At most this many, 1 to 200.
    #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT, value_parser = values::page())]
    pub limit: u32,
    /// Read on where the last list ended.
    #[arg(long)]
    pub cursor: Option<String>,
}
