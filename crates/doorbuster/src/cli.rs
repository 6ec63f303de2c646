//! The arguments and help texts of every command.

mod audit;
mod block;
mod cluster;
mod complete;
mod csv;
mod dead_letter;
mod demo;
mod draw;
mod lab;
mod maintenance;
mod operators;
mod order;
mod page;
mod page_export;
mod payment;
mod reconcile;
mod sale;
mod sale_edit;
mod serve;
mod server;
mod settings;
mod storm;
mod token;
pub mod values;
mod webhook;

use clap::{Parser, Subcommand};

pub use audit::AuditArgs;
pub use block::{AddBlockArgs, BlockArgs, BlockCommand};
pub use cluster::{ClusterArgs, ClusterCommand, UpArgs};
pub use csv::CsvArgs;
pub use dead_letter::{DeadLetterArgs, DeadLetterCommand, SelectionArgs};
pub use demo::DemoArgs;
pub use draw::{DrawArgs, DrawCommand, VerifyArgs};
pub use lab::{ALL, HeadlineArgs, IncidentArgs, LabArgs, LabCommand, LabRunArgs};
pub use maintenance::{BackupArgs, MigrateArgs, PassphraseArgs, RestoreArgs};
pub use operators::{
    ActionsArgs, BuyerHistoryArgs, CodeArgs, CodeCommand, KeyArgs, KeyCommand, NodesArgs,
    StatusArgs, WaitlistArgs, WaitlistCommand,
};
pub use order::{
    EraseArgs, MoneyQuery, OrderArgs, OrderCommand, OrderQuery, OrderSelection, PayByArgs,
};
pub use page::{PageArgs, PageCommand};
pub use page_export::ExportArgs;
pub use payment::{PaymentArgs, PaymentCommand, TriggerArgs};
pub use reconcile::ReconcileArgs;
pub use sale::{
    AdjustArgs, AdmitArgs, CreateArgs, SaleArgs, SaleCommand, SeriesArgs, SetArgs, SpreadArgs,
};
pub use sale_edit::{CodesArgs, EditArgs};
pub use serve::ServeArgs;
pub use server::{AddressArg, ServerArgs};
pub use settings::{ConfigArgs, ConfigCommand, SettingsArgs};
pub use storm::StormArgs;
pub use token::{BuyerArgs, TokenArgs, TokenCommand};
pub use webhook::{EndpointCommand, ListenArgs, NewEndpointArgs, WebhookArgs, WebhookCommand};

/// A flash-sale engine that never sells more than the stock and never loses an accepted order.
#[derive(Debug, Parser)]
#[command(name = "doorbuster", version, long_version = LONG_VERSION.as_str(), arg_required_else_help = true, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The text that `--version` prints. `-V` prints only the version number.
static LONG_VERSION: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| doorbuster_node::version::details(env!("COMMIT")));

const FIRST_STEPS: &str = "\
First steps:
  doorbuster demo               10,000 buyers compete for 100 units; every result is checked
  doorbuster serve --demo       a sample sale with a page to try in a browser
  doorbuster config default     every setting, with its meaning and default";

/// The command to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(ServeArgs),
    Demo(DemoArgs),
    Storm(StormArgs),
    Audit(AuditArgs),
    Cluster(ClusterArgs),
    Lab(LabArgs),
    Status(StatusArgs),
    Nodes(NodesArgs),
    Sale(SaleArgs),
    Order(OrderArgs),
    Payment(PaymentArgs),
    Buyer(BuyerHistoryArgs),
    Waitlist(WaitlistArgs),
    Code(CodeArgs),
    Key(KeyArgs),
    Actions(ActionsArgs),
    Block(BlockArgs),
    Webhook(WebhookArgs),
    DeadLetter(DeadLetterArgs),
    Draw(DrawArgs),
    Csv(CsvArgs),
    Reconcile(ReconcileArgs),
    Page(PageArgs),
    Export(ExportArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Migrate(MigrateArgs),
    Config(ConfigArgs),
    Logs(LogsArgs),
    Token(TokenArgs),
    /// Write a manual page for each command into a directory.
    #[command(after_help = "Example:\n  doorbuster man ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print a completion script for a shell.
    ///
    /// Put the script where your shell looks for completions, or load it in the shell's startup
    /// file. The script also completes the ids of sales and items. It gets the ids from the server
    /// at --url or DOORBUSTER_URL, with the key from --key or DOORBUSTER_ADMIN_KEY.
    #[command(
        after_help = "Example:\n  doorbuster completions bash > ~/.local/share/bash-completion/completions/doorbuster"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Explain what the server logs.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    #[command(subcommand)]
    pub command: LogsCommand,
}

/// The part of the log to explain.
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// List every event code of the log, with its level and meaning.
    ///
    /// The field `event` of a log line contains one of these codes. The meaning of a code never
    /// changes.
    #[command(after_help = "Example:\n  doorbuster logs events --json")]
    Events {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The directory; it is created if it does not exist.
    pub dir: std::path::PathBuf,
    /// Print one JSON object with the names of the pages.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests;
