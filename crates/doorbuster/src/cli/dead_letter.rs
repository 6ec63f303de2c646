//! Arguments of `dead-letter`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use doorbuster_api::admin::dead_letters::DeadLetterKind;

use super::server::ServerArgs;

/// List, retry or discard dead letters: events, refunds and tickets that the server stopped
/// retrying.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster dead-letter list
  doorbuster dead-letter retry dlv_7")]
pub struct DeadLetterArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: DeadLetterCommand,
}

fn kind() -> impl TypedValueParser<Value = DeadLetterKind> {
    let kinds = [
        ("delivery", "An event that an endpoint did not accept"),
        ("refund", "A refund that a payment provider did not make"),
        ("ticket", "A ticket that could not be settled"),
    ];
    PossibleValuesParser::new(kinds.map(|(kind, help)| PossibleValue::new(kind).help(help)))
        .try_map(|kind| DeadLetterKind::parse(&kind).ok_or("there is no such kind"))
}

/// An operation on dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List the dead letters that no operator has resolved.
    #[command(after_help = "Example:\n  doorbuster dead-letter list --kind refund")]
    List {
        /// List only dead letters of this kind.
        #[arg(long, value_parser = kind())]
        kind: Option<DeadLetterKind>,
        /// Maximum number of entries.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// Continue after the page that printed this cursor.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one dead letter, with its event, refund or ticket.
    #[command(after_help = "Example:\n  doorbuster dead-letter show dlv_7")]
    Show {
        /// The dead letter's id.
        letter: String,
    },
    /// Retry one dead letter or many. Each retried dead letter again gets the full number of
    /// attempts.
    #[command(
        after_help = "Example:\n  doorbuster dead-letter retry dlv_7\n  doorbuster dead-letter retry --endpoint end_…"
    )]
    Retry {
        #[command(flatten)]
        which: SelectionArgs,
    },
    /// Discard one dead letter or many. The command removes them from the list. The server keeps
    /// your reason.
    #[command(
        after_help = "Example:\n  doorbuster dead-letter discard dlv_7 --reason 'taken from the export' --yes"
    )]
    Discard {
        #[command(flatten)]
        which: SelectionArgs,
        /// The reason, for other operators.
        #[arg(long, visible_alias = "why")]
        reason: String,
        /// Do not ask for confirmation. Without a terminal, this flag is required.
        #[arg(long)]
        yes: bool,
    },
}

/// The dead letters to change.
#[derive(Debug, Args)]
pub struct SelectionArgs {
    /// The dead letter's id.
    #[arg(required_unless_present_any = ["endpoint", "all"], conflicts_with_all = ["endpoint", "all"])]
    pub letter: Option<String>,
    /// All events that this endpoint did not accept.
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "all")]
    pub endpoint: Option<String>,
    /// All dead letters.
    #[arg(long)]
    pub all: bool,
    /// With --all: change only dead letters of this kind.
    #[arg(long, requires = "all", conflicts_with_all = ["letter", "endpoint"], value_parser = kind())]
    pub kind: Option<DeadLetterKind>,
}
