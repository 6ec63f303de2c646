//! Arguments of `csv`.

use std::path::PathBuf;

use clap::Args;
use doorbuster_api::admin::export::Export;

use super::server::ServerArgs;
use super::{complete, values};

/// Write one list as CSV: orders, payments, refunds, the ledger of units, or operators' actions.
///
/// The oldest row is first. The ledger has one row for each movement of an item's units. Each row
/// also has the item's counts of units after the movement. The output is always CSV, so the command
/// refuses --json.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster csv orders --sale spring > orders.csv
  doorbuster csv ledger --sale spring --output ledger.csv
  doorbuster csv actions --subject sale:spring > actions.csv")]
pub struct CsvArgs {
    /// The list: orders, payments, refunds, ledger or actions.
    #[arg(value_name = "LIST", value_parser = values::export)]
    pub list: Export,
    /// Write only the rows of this sale. The list `actions` ignores this option.
    #[arg(long, value_parser = values::name, add = complete::sales())]
    pub sale: Option<String>,
    /// Write only the actions of the operators' key with this id. The options --by, --action and
    /// --subject need the list `actions`.
    #[arg(long, value_name = "KEY", conflicts_with = "sale")]
    pub by: Option<String>,
    /// Write only the actions with this name, such as sale.opened.
    #[arg(long, conflicts_with = "sale")]
    pub action: Option<String>,
    /// Write only the actions on this subject, such as sale:spring.
    #[arg(long, conflicts_with = "sale")]
    pub subject: Option<String>,
    /// Write to this file. The file appears only when it is complete. If the file is new, only its
    /// owner can read it [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub server: ServerArgs,
}
