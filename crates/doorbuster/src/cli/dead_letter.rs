//! `dead-letter`: what was given up, from a shell.

use clap::{Args, Subcommand, ValueEnum};

use super::server::ServerArgs;

/// See what was given up: events, refunds, requests; try it again or let it be.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster dead-letter list
  doorbuster dead-letter retry dlv_7")]
pub struct DeadLetterArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLetterCommand,
}

/// A kind of dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// An event that an endpoint did not take.
    Delivery,
    /// Money that a provider did not give back.
    Refund,
    /// A request that could not be decided.
    Ticket,
}

impl KindArg {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Refund => "refund",
            Self::Ticket => "ticket",
        }
    }
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// List what was given up and that nobody has seen to.
    #[command(after_help = "Example:\n  doorbuster dead-letter list --kind refund")]
    List {
        /// Only of this kind.
        #[arg(long)]
        kind: Option<KindArg>,
        /// Most entries wanted.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// Read on where another list ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one, with the message, refund or request that it holds.
    #[command(after_help = "Example:\n  doorbuster dead-letter show dlv_7")]
    Show {
        /// The dead letter's id.
        letter: String,
    },
    /// Try one again, from the first try on, or many.
    #[command(
        after_help = "Example:\n  doorbuster dead-letter retry dlv_7\n  doorbuster dead-letter retry --endpoint end_…"
    )]
    Retry {
        #[command(flatten)]
        which: SelectionArgs,
    },
    /// Let one be, or many. It is not listed any more; why is kept.
    #[command(
        after_help = "Example:\n  doorbuster dead-letter discard dlv_7 --reason 'taken from the export'"
    )]
    Discard {
        #[command(flatten)]
        which: SelectionArgs,
        /// Why, for other operators.
        #[arg(long, visible_alias = "why")]
        reason: String,
    },
}

/// Which dead letters are meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SelectionArgs {
    /// The dead letter's id.
    pub letter: Option<String>,
    /// All events that this endpoint did not take.
    #[arg(long, value_name = "ENDPOINT")]
    pub endpoint: Option<String>,
    /// Everything that was given up.
    #[arg(long)]
    pub all: bool,
}
