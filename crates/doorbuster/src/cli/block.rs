//! Arguments of `block`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::server::ServerArgs;
use super::values;

/// Block buyers and addresses, and remove blocks.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster block add --ip 192.0.2.0/24 --for 1h --reason 'a bot farm'")]
pub struct BlockArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: BlockCommand,
}

/// An operation on blocks.
#[derive(Debug, Subcommand)]
pub enum BlockCommand {
    Add(AddBlockArgs),
    /// List the blocks, with the end and the reason of each block.
    #[command(after_help = "Example:\n  doorbuster block list")]
    List,
    /// Remove a block.
    #[command(after_help = "Example:\n  doorbuster block remove blk_0c9d8e7a65b1")]
    Remove {
        /// The block's id.
        block: String,
    },
}

/// Block a buyer, an address or a network. After at most a second, every node applies the block.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster block add --buyer robot-7")]
pub struct AddBlockArgs {
    /// Block this buyer.
    #[arg(long, value_parser = values::name, required_unless_present = "ip", conflicts_with = "ip")]
    pub buyer: Option<String>,
    /// Block this address or network, such as 192.0.2.0/24.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// The duration of the block, such as 15m or 24h [default: until the block is removed].
    #[arg(long = "for", value_name = "TIME", value_parser = values::duration)]
    pub lasts: Option<Duration>,
    /// The reason, for other operators.
    #[arg(long, default_value = "")]
    pub reason: String,
}
