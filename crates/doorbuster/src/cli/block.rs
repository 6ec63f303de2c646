//! `block`: whom operators turn away, from a shell.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::server::ServerArgs;
use super::values;

/// Turn buyers and addresses away, and let them in again.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster block add --ip 192.0.2.0/24 --for 1h --reason 'a farm of robots'")]
pub struct BlockArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: BlockCommand,
}

/// What to do with blocks.
#[derive(Debug, Subcommand)]
pub enum BlockCommand {
    Add(AddBlockArgs),
    /// List who is turned away, until when and why.
    #[command(after_help = "Example:\n  doorbuster block list")]
    List,
    /// Let a buyer or addresses in again.
    #[command(after_help = "Example:\n  doorbuster block remove blk_0c9d8e7a65b1")]
    Remove {
        /// The block's id.
        block: String,
    },
}

/// Turn a buyer, an address or a network away, at every node within a second.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster block add --buyer robot-7")]
pub struct AddBlockArgs {
    /// This buyer.
    #[arg(long, value_parser = values::name, required_unless_present = "ip", conflicts_with = "ip")]
    pub buyer: Option<String>,
    /// This address, or this network, such as 192.0.2.0/24.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// For so long, such as 15m or 24h; for good if it is left out.
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
    pub lasts: Option<Duration>,
    /// Why, for other operators.
    #[arg(long, default_value = "")]
    pub reason: String,
}
