//! Arguments of `key`, `actions`, `nodes`, `status`, `buyer`, `waitlist` and `code`.

use clap::{Args, Subcommand};
use doorbuster_api::admin::keys::Role;
use doorbuster_api::limits::PAGE_DEFAULT;

use super::server::ServerArgs;
use super::{complete, values};

/// Create, list and delete operators' keys.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster key create 'night shift' --role operator")]
pub struct KeyArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// An operation on keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key, and print the key. The server cannot show the key again.
    #[command(after_help = "Example:\n  doorbuster key create 'night shift' --role operator")]
    Create {
        /// The owner or the purpose of the key.
        name: String,
        /// What the key allows: viewer, operator or admin.
        #[arg(long, value_parser = values::role)]
        role: Role,
    },
    /// List the keys that operators created.
    #[command(after_help = "Example:\n  doorbuster key list")]
    List,
    /// Delete a key. The server rejects the key at once, and ends all sessions that were started
    /// with it.
    #[command(after_help = "Example:\n  doorbuster key delete key_8Qm2Zr --yes")]
    Delete {
        /// The key's id.
        id: String,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

/// List the changes by operators, newest first.
///
/// The table shows only the start of a long value. `--json` and `doorbuster csv actions` show the
/// whole value.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster actions --subject sale:spring
  doorbuster actions --action order.refunded --limit 200")]
pub struct ActionsArgs {
    /// List only changes by the key with this id; `configured` stands for the key in the settings.
    #[arg(long, value_name = "KEY")]
    pub by: Option<String>,
    /// List only changes with this action, such as sale.opened.
    #[arg(long)]
    pub action: Option<String>,
    /// List only changes of this subject, for example sale:spring.
    #[arg(long)]
    pub subject: Option<String>,
    /// Maximum number of entries, 1 to 200.
    #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT, value_parser = values::page())]
    pub limit: u32,
    /// Continue after the page that printed this cursor.
    #[arg(long)]
    pub cursor: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// List the nodes, the store, and the Redis servers that hold slots.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster nodes")]
pub struct NodesArgs {
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Show the installation on one screen: readiness, nodes, store, slots, open sales.
///
/// Exits with 1 if the server is not ready.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster status")]
pub struct StatusArgs {
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Show the buyers who wait for a unit of an item.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster waitlist list spring phone")]
pub struct WaitlistArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: WaitlistCommand,
}

/// An operation on a waitlist.
#[derive(Debug, Subcommand)]
pub enum WaitlistCommand {
    /// List the waitlist entries that wait for a unit. The first entry gets the next unit.
    #[command(after_help = "Example:\n  doorbuster waitlist list spring phone")]
    List {
        /// The sale's id.
        #[arg(value_parser = values::name, add = complete::sales())]
        sale: String,
        /// The item's id.
        #[arg(value_parser = values::name, add = complete::items())]
        item: String,
        /// Maximum number of entries, 1 to 200.
        #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT, value_parser = values::page())]
        limit: u32,
        /// Continue after the page that printed this cursor.
        #[arg(long)]
        cursor: Option<String>,
    },
}

/// Show what happened to a buyer in a sale: orders, waitlist entries, and recent refusals with
/// their reasons.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster buyer spring alice")]
pub struct BuyerHistoryArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The buyer's id.
    #[arg(value_parser = values::name)]
    pub buyer: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Count and revoke a sale's access codes. The command `sale codes` creates codes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster code revoke spring 7K2M --yes")]
pub struct CodeArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: CodeCommand,
}

/// An operation on access codes.
#[derive(Debug, Subcommand)]
pub enum CodeCommand {
    /// Show how many codes a sale has, and how often buyers used them.
    #[command(after_help = "Example:\n  doorbuster code list spring")]
    List {
        /// The sale's id.
        #[arg(value_parser = values::name, add = complete::sales())]
        sale: String,
    },
    /// Revoke codes, so that no more buyers can use them.
    #[command(after_help = "Example:\n  doorbuster code revoke spring 7K2M --yes")]
    Revoke {
        /// The sale's id.
        #[arg(value_parser = values::name, add = complete::sales())]
        sale: String,
        /// The first 1 to 4 characters of the codes to revoke, or one whole code.
        prefix: String,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}
