//! Arguments of `reconcile`.

use clap::Args;

use super::server::ServerArgs;
use super::{complete, values};

/// Compare the sold units with the payments and refunds, and list every difference.
///
/// Exits with 1 if there is a difference.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster reconcile --sale spring")]
pub struct ReconcileArgs {
    /// Compare only the units and the money of this sale.
    #[arg(long, value_parser = values::name, add = complete::sales())]
    pub sale: Option<String>,
    /// Continue after the report that printed this cursor. Each report lists at most 1,000
    /// differences of each kind.
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}
