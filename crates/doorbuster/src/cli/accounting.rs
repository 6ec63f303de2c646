//! Arguments of `csv` and `reconcile`.

use std::path::PathBuf;

use clap::Args;
use doorbuster_api::admin::export::Export;

use super::server::ServerArgs;
use super::values;

/// Write orders, payments, refunds or the ledger of units as CSV.
///
/// The oldest row is first. The ledger has one line for each movement of an item's units, with the
/// item's counts after it. The command refuses --json.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster csv orders --sale spring > orders.csv
  doorbuster csv ledger --sale spring --output ledger.csv")]
pub struct CsvArgs {
    /// The list: orders, payments, refunds or ledger.
    #[arg(value_name = "LIST", value_parser = values::export)]
    pub list: Export,
    /// Only this sale.
    #[arg(long, value_parser = values::name)]
    pub sale: Option<String>,
    /// Write to this file, which appears when it is complete [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Compare the units with the money, and list every difference.
///
/// Exits with 1 if there is a difference.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster reconcile --sale spring")]
pub struct ReconcileArgs {
    /// Only this sale.
    #[arg(long, value_parser = values::name)]
    pub sale: Option<String>,
    /// The cursor of the last report, which lists at most 1,000 differences of a kind.
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}
